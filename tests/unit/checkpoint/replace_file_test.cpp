// A file that is replaced is the old one or the new one, whatever happens in between.
#include "checkpoint/replace_file.h"

#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <string>

#include "checkpoint_test_util.h"

namespace tome {
namespace {

using testing::expect_error;
using testing::read_file;
using testing::write_file;

class ReplaceFile : public ::testing::Test {
 protected:
  static void replace(const std::filesystem::path& path, const std::string& text) {
    replace_file(path, [&](const ByteSink& write) {
      write(text.data(), text.size() / 2);
      write(text.data() + text.size() / 2, text.size() - text.size() / 2);
    });
  }
  size_t files() const {
    return std::distance(std::filesystem::directory_iterator(folder_.path()), {});
  }
  static void make_old(const std::filesystem::path& file) {
    const auto now = std::filesystem::file_time_type::clock::now();
    std::filesystem::last_write_time(file, now - std::chrono::hours(1));
  }
  std::filesystem::path folder() const { return folder_.path(); }
  std::filesystem::path path() const { return folder_.path() / "x"; }
  std::filesystem::path beside(const char* name) const { return folder_.path() / name; }

 private:
  testing::TemporaryFolder folder_;
};

TEST_F(ReplaceFile, LeavesTheNewFileAlone) {
  replace(path(), "first");
  replace(path(), "new");
  EXPECT_EQ(read_file(path()), "new");
  replace(path(), "");
  EXPECT_EQ(read_file(path()), "");
  EXPECT_EQ(files(), 1U);
}

TEST_F(ReplaceFile, RemovesWhatAKillLeftAndNothingElse) {
  for (const char* name : {"x.part999999999-7", "x.part999999998-10"})
    write_file(beside(name), "half");
  const std::string living = "x.part" + std::to_string(getppid()) + "-0";
  const char* others[] = {living.c_str(),
                          "x.part",
                          "x.partial",
                          "y.part999999999-7",
                          "x.part02",
                          "x.part999999999",
                          "x.part999999999-",
                          "x.part999999999.bak",
                          "x.part999999999-7.bak",
                          "x.part999999999-7-8",
                          "x.part999999999--7",
                          "x.part0999999999-7",
                          "x.part-999999999-7",
                          "x.part999999999-99999999999999999999"};
  for (const char* name : others) write_file(beside(name), "other");
  replace(path(), "new");
  EXPECT_EQ(read_file(path()), "new");
  for (const char* name : others) EXPECT_EQ(read_file(beside(name)), "other") << name;
  EXPECT_EQ(files(), std::size(others) + 1);
}

// As one in a container has, where numbers begin at 1 again.
TEST_F(ReplaceFile, GoesOnThoughAKilledProcessHadOurNumber) {
  const auto part = [&](int number) {
    return beside(("x.part" + std::to_string(getpid()) + "-" + std::to_string(number)).c_str());
  };
  constexpr int kParts = 300, kOldParts = 310;  // other tests took some of the first numbers
  for (int i = 0; i < kOldParts; ++i) write_file(part(i), "half");
  for (int i = kParts; i < kOldParts; ++i) make_old(part(i));
  replace(path(), "new");
  EXPECT_EQ(read_file(path()), "new");
  // What is older than this process is none of its own, and the rest may be somebody else's.
  for (int i = 0; i < kParts; ++i) EXPECT_EQ(read_file(part(i)), "half") << i;
  for (int i = kParts; i < kOldParts; ++i) EXPECT_FALSE(std::filesystem::exists(part(i))) << i;
}

// As where the clock of a disk's machine is behind.
TEST_F(ReplaceFile, LeavesItsOwnPartsAloneHoweverOldTheySeem) {
  replace_file(path(), [&](const ByteSink& write) {
    write("first", 5);
    ASSERT_EQ(files(), 1U);
    make_old(*std::filesystem::directory_iterator(folder()));
    replace(path(), "meanwhile");
    EXPECT_EQ(read_file(path()), "meanwhile");
  });
  EXPECT_EQ(read_file(path()), "first");
  EXPECT_EQ(files(), 1U);
}

TEST_F(ReplaceFile, ALinkGivesWayAndWhatItNamesStays) {
  write_file(beside("blob"), "old");
  std::filesystem::create_symlink("blob", path());
  replace(path(), "new");
  EXPECT_FALSE(std::filesystem::is_symlink(path()));
  EXPECT_EQ(read_file(path()), "new");
  EXPECT_EQ(read_file(beside("blob")), "old");
}

TEST_F(ReplaceFile, KeepsTheOldFileWhereTheNewOneFails) {
  write_file(path(), "old");
  EXPECT_THROW(replace_file(path(),
                            [](const ByteSink& write) {
                              write("half", 4);
                              throw std::runtime_error("no more");
                            }),
               std::runtime_error);
  EXPECT_EQ(read_file(path()), "old");
  EXPECT_EQ(files(), 1U);
  std::filesystem::remove(path());
  std::filesystem::create_directory(path());
  expect_error([&] { replace(path(), "new"); }, ErrorKind::kFailed, {"x: cannot be written: "});
  EXPECT_EQ(files(), 1U);
}

// As a full disk does, in the middle of a write.
TEST_F(ReplaceFile, KeepsTheOldFileWhereTheDiskIsFull) {
  write_file(path(), "old");
  rlimit kept{};
  ::getrlimit(RLIMIT_FSIZE, &kept);
  auto* const handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = kept;
  small.rlim_cur = 1000;
  ::setrlimit(RLIMIT_FSIZE, &small);
  expect_error([&] { replace(path(), std::string(5000, 'x')); }, ErrorKind::kFailed,
               {"x: cannot be written: File too large"});
  ::setrlimit(RLIMIT_FSIZE, &kept);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(read_file(path()), "old");
  EXPECT_EQ(files(), 1U);
}

TEST_F(ReplaceFile, OfTwoWhoWriteAtOnceEachIsWhole) {
  replace_file(path(), [&](const ByteSink& write) {
    write("fir", 3);
    replace(path(), "second");
    EXPECT_EQ(read_file(path()), "second");
    write("st", 2);
  });
  EXPECT_EQ(read_file(path()), "first");
  EXPECT_EQ(files(), 1U);
}

}  // namespace
}  // namespace tome
