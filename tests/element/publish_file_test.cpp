// tomepublish: several writers of one file, and what happens when it fails.
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <sstream>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>

#include "criticals.h"
#include "publish_fixture.h"

namespace tome::testing {
namespace {

std::string text_of(const std::filesystem::path& file) {
  std::stringstream text;
  text << std::ifstream(file).rdbuf();
  return text.str();
}

TEST_F(Publish, AppendsOrStartsAnew) {
  for (const char* append : {"false", "true", "false"}) {
    Harness h({{"location", file_.c_str()}, {"append", append}}, "tomepublish");
    h.set_caps();
    ASSERT_EQ(h.push(frame_with({result()})), GST_FLOW_OK);
    EXPECT_EQ(lines().size(), std::string(append) == "true" ? 2U : 1U);
  }
}

TEST_F(Publish, ALineThatWasCutStaysApartFromThoseThatAreAppended) {
  for (const auto& [before, expected] :
       {std::pair{"", ""}, {"whole\n", "whole\n"}, {"whole\ncut", "whole\ncut\n"}}) {
    std::ofstream(file_) << before;
    {
      Harness one({{"location", file_.c_str()}, {"append", "true"}}, "tomepublish");
      Harness other({{"location", file_.c_str()}, {"append", "true"}}, "tomepublish");
      for (Harness* h : {&other, &one}) {
        h->set_caps();
        ASSERT_EQ(h->push(frame_with({result()})), GST_FLOW_OK);
      }
    }
    const std::string text = text_of(file_);
    ASSERT_TRUE(text.starts_with(expected)) << text;
    const std::string lines = text.substr(std::string(expected).size());
    EXPECT_TRUE(lines.starts_with("{")) << text;
    EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 2) << text;
  }
}

TEST_F(Publish, AFileThatCannotBeOpenedFailsWithItsName) {
  LoneElement e({{"location", "/nonexistent/tags.jsonl"}}, "tomepublish");
  EXPECT_FALSE(e.set_state(GST_STATE_PAUSED));
  GError* error = nullptr;
  const std::string text = e.error_text(&error);
  EXPECT_NE(text.find("/nonexistent/tags.jsonl"), std::string::npos) << text;
  const Ptr<GError> owned(error);
  EXPECT_TRUE(g_error_matches(error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_OPEN_WRITE));
}

/// What tomepublish says of a standard output that is `descriptor`; nothing if it takes it.
std::string error_with_standard_output(int descriptor, int flags) {
  std::fflush(stdout);
  const int kept = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
  EXPECT_EQ(dup3(descriptor, STDOUT_FILENO, flags), STDOUT_FILENO);
  std::string text;
  {
    LoneElement e({}, "tomepublish");
    GError* error = nullptr;
    if (!e.set_state(GST_STATE_PAUSED)) text = e.error_text(&error);
    const Ptr<GError> owned(error);
  }
  dup2(kept, STDOUT_FILENO);
  close(kept);
  return text;
}

TEST_F(Publish, AStandardOutputThatIsALibrarysOwnFileIsClosed) {
  // As GLib's and GStreamer's may be, where the program began without one.
  const int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  int pair[2] = {-1, -1}, mine[2] = {-1, -1}, pipe_ends[2] = {-1, -1};
  // A program's own, whose other end a reader has that it started. Not next to others' numbers.
  close(socket(AF_UNIX, SOCK_STREAM, 0));
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, mine), 0);
  ASSERT_EQ(close(mine[1]), 0);
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  ASSERT_EQ(pipe(pipe_ends), 0);
  const std::string closed = "Cannot open standard output: it is closed";
  EXPECT_NE(error_with_standard_output(event, O_CLOEXEC).find(closed), std::string::npos);
  EXPECT_NE(error_with_standard_output(pair[0], 0).find(closed), std::string::npos);
  EXPECT_EQ(error_with_standard_output(mine[0], 0), "");
  EXPECT_EQ(error_with_standard_output(pipe_ends[1], 0), "");
  EXPECT_EQ(error_with_standard_output(pipe_ends[1], O_CLOEXEC), "");
  for (const int descriptor : {event, pair[0], pair[1], mine[0], pipe_ends[0], pipe_ends[1]}) {
    close(descriptor);
  }
}

TEST_F(Publish, AFullDiskIsAnError) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  Harness h({{"location", "/dev/full"}}, "tomepublish");
  h.set_caps();
  EXPECT_EQ(h.push(frame_with({result()})), GST_FLOW_ERROR);
  GError* error = nullptr;
  EXPECT_NE(h.error_text(&error).find("/dev/full"), std::string::npos);
  const Ptr<GError> owned(error);
  EXPECT_TRUE(g_error_matches(error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NO_SPACE_LEFT));
}

TEST_F(Publish, TwoWritersOfOneFileKeepEachOthersLines) {
  Harness one({{"location", file_.c_str()}, {"stream", "one"}}, "tomepublish");
  Harness other({{"location", file_.c_str()}, {"stream", "other, longer"}}, "tomepublish");
  one.set_caps();
  other.set_caps();
  for (int i = 0; i < 10; ++i) {
    Classification next = result();
    next.clip_start = next.clip_end = static_cast<GstClockTime>(i) * kFrame;
    ASSERT_EQ(one.push(frame_with({next}, i)), GST_FLOW_OK);
    ASSERT_EQ(other.push(frame_with({next}, i)), GST_FLOW_OK);
  }
  EXPECT_EQ(lines().size(), 20U);
}

TEST_F(Publish, AWriterThatComesLaterLosesNobodysLines) {
  std::ofstream(file_) << "of an earlier run\n";
  Harness one({{"location", file_.c_str()}, {"stream", "one"}}, "tomepublish");
  one.set_caps();
  ASSERT_EQ(one.push(fresh_frame(1)), GST_FLOW_OK);
  Harness later({{"location", file_.c_str()}, {"stream", "later"}}, "tomepublish");
  later.set_caps();
  ASSERT_EQ(later.push(fresh_frame(1)), GST_FLOW_OK);
  EXPECT_EQ(lines().size(), 2U);
}

TEST_F(Publish, ReadyAndBackAppendsAndNullStartsAnew) {
  constexpr size_t kFrames = 5;
  const Ptr<GstElement> pipeline(gst_parse_launch(
      ("videotestsrc num-buffers=" + std::to_string(kFrames) + " ! " + kGrayCaps +
       " ! tomeclassify model=fake ! tomepublish location=" + file_.string() + " ! fakesink")
          .c_str(),
      nullptr));
  const Ptr<GstBus> bus(gst_element_get_bus(pipeline.get()));
  FakeCore::instance().reset();
  const auto lines_after = [&](GstState before) {
    gst_element_set_state(pipeline.get(), before);
    gst_element_set_state(pipeline.get(), GST_STATE_PLAYING);
    const Ptr<GstMessage> end(gst_bus_timed_pop_filtered(
        bus.get(), 10 * GST_SECOND,
        static_cast<GstMessageType>(GST_MESSAGE_EOS | GST_MESSAGE_ERROR)));
    EXPECT_TRUE(end && GST_MESSAGE_TYPE(end.get()) == GST_MESSAGE_EOS);
    return lines().size();
  };
  std::ofstream(file_) << "of an earlier run\n";
  EXPECT_EQ(lines_after(GST_STATE_NULL), kFrames);
  EXPECT_EQ(lines_after(GST_STATE_READY), 2 * kFrames);
  EXPECT_EQ(lines_after(GST_STATE_READY), 3 * kFrames);
  EXPECT_EQ(lines_after(GST_STATE_NULL), kFrames);
  gst_element_set_state(pipeline.get(), GST_STATE_NULL);
}

TEST_F(Publish, InReadyAFileStaysTheElementsAndAnotherLocationIsBegun) {
  LoneElement e({{"location", file_.c_str()}}, "tomepublish");
  const auto start = [&](const std::filesystem::path& location) {
    ASSERT_TRUE(e.set_state(GST_STATE_READY));
    g_object_set(e.element(), "location", location.c_str(), nullptr);
    ASSERT_TRUE(e.set_state(GST_STATE_PLAYING));
  };
  const std::filesystem::path other = file_.string() + "-other";
  std::ofstream(other) << "old\n";
  start(file_);
  std::ofstream(file_) << "a line\n";
  start(other);
  EXPECT_EQ(std::filesystem::file_size(other), 0U);
  start(file_);
  EXPECT_EQ(std::filesystem::file_size(file_), 7U) << "it began this one";
  ASSERT_TRUE(e.set_state(GST_STATE_READY));
  {
    LoneElement later({{"location", file_.c_str()}}, "tomepublish");
    ASSERT_TRUE(later.set_state(GST_STATE_PLAYING));
    EXPECT_EQ(std::filesystem::file_size(file_), 7U) << "the first one may go on with it";
  }
  ASSERT_TRUE(e.set_state(GST_STATE_NULL));
  ASSERT_TRUE(e.set_state(GST_STATE_PLAYING));
  EXPECT_EQ(std::filesystem::file_size(file_), 0U);
  std::filesystem::remove(other);
}

TEST_F(Publish, AFileWithTheNumberOfADeletedOneIsNotInUse) {
  // Some file systems give a deleted file's inode number to the next file, as ext4 does. On others,
  // such as tmpfs, this holds either way.
  const std::filesystem::path other = file_.string() + "-other";
  for (const auto& [append, before, expected] :
       {std::tuple{"false", "old\n", ""}, {"true", "cut", "cut\n"}}) {
    LoneElement first({{"location", file_.c_str()}}, "tomepublish");
    ASSERT_TRUE(first.set_state(GST_STATE_PLAYING));
    ASSERT_TRUE(first.set_state(GST_STATE_READY));
    ASSERT_TRUE(std::filesystem::remove(file_));
    std::ofstream(other) << before;
    LoneElement later({{"location", other.c_str()}, {"append", append}}, "tomepublish");
    ASSERT_TRUE(later.set_state(GST_STATE_PLAYING));
    EXPECT_EQ(text_of(other), expected);
    std::filesystem::remove(other);
  }
}

/// The descriptor with which this process writes to a file; -1 if it has none.
int descriptor_of(const std::filesystem::path& file) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    if (std::filesystem::read_symlink(entry, gone) != std::filesystem::canonical(file)) continue;
    const int descriptor = std::stoi(entry.path().filename());
    if ((fcntl(descriptor, F_GETFL) & O_ACCMODE) == O_WRONLY) return descriptor;
  }
  return -1;
}

TEST_F(Publish, AFileThatFailsToCloseIsAnErrorAndNoObstacle) {
  // As on a network's disk that is full: the element's close(2) fails.
  const Criticals criticals;
  LoneElement e({{"location", file_.c_str()}}, "tomepublish");
  ASSERT_TRUE(e.set_state(GST_STATE_PLAYING));
  const int descriptor = descriptor_of(file_);
  ASSERT_GE(descriptor, 0);
  ASSERT_EQ(close(descriptor), 0);
  EXPECT_TRUE(e.set_state(GST_STATE_READY));
  const Ptr<GstPad> sink(gst_element_get_static_pad(e.element(), "sink"));
  EXPECT_FALSE(gst_pad_is_active(sink.get()));
  GError* error = nullptr;
  EXPECT_NE(e.error_text(&error).find(file_), std::string::npos);
  const Ptr<GError> owned(error);
  EXPECT_TRUE(g_error_matches(error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_CLOSE));
  EXPECT_TRUE(e.set_state(GST_STATE_PLAYING)) << "and it starts again";
  EXPECT_EQ(criticals.number(), 0);
}

}  // namespace
}  // namespace tome::testing
