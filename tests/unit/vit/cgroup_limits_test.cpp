// What is left of a machine for a process in a container, on made-up folders of both versions.
#include "vit/cgroup_limits.h"

#include <gtest/gtest.h>

#include <climits>
#include <filesystem>
#include <fstream>
#include <string>

#include "temporary_folder.h"

namespace tome {
namespace {

constexpr uint64_t kMegabyte = uint64_t{1} << 20U;

class CgroupLimits : public ::testing::Test {
 protected:
  CgroupLimits() {
    write("proc/meminfo",
          "MemTotal:       16000000 kB\nMemFree:  1 kB\nMemAvailable:    8192000 kB\n");
  }

  void write(const std::string& file, const std::string& text) const {
    const std::filesystem::path path = root() / file;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }
  void groups(const std::string& text) const { write("proc/self/cgroup", text); }
  static std::string megabytes(uint64_t count) { return std::to_string(count * kMegabyte) + "\n"; }

  int cores() const { return quota_cores(root()); }
  uint64_t memory() const { return available_memory(root()) / kMegabyte; }
  const std::filesystem::path& root() const { return folder_.path(); }

 private:
  testing::TemporaryFolder folder_;
};

TEST_F(CgroupLimits, AreTheMachinesWhereNothingIsSaid) {
  EXPECT_EQ(cores(), INT_MAX);
  EXPECT_EQ(memory(), 8000U);
  groups("nonsense\n::\n1\n");
  EXPECT_EQ(cores(), INT_MAX);
  EXPECT_EQ(memory(), 8000U);
  std::filesystem::remove(root() / "proc/meminfo");
  EXPECT_EQ(memory(), 0U);
}

// Of a container's own: it sees its group as the topmost.
TEST_F(CgroupLimits, OfVersion2) {
  groups("0::/\n");
  for (const auto& [text, expected] : {std::pair{"200000 100000\n", 2},
                                       {"150000 100000\n", 2},
                                       {"50000 100000\n", 1},
                                       {"1000000 100000\n", 10},
                                       {"max 100000\n", INT_MAX},
                                       {"100000 0\n", INT_MAX},
                                       {"", INT_MAX}}) {
    write("sys/fs/cgroup/cpu.max", text);
    EXPECT_EQ(cores(), expected) << text;
  }
  write("sys/fs/cgroup/memory.max", megabytes(4000));
  write("sys/fs/cgroup/memory.current", megabytes(1500));
  EXPECT_EQ(memory(), 2500U);
  // Of what is in use, what the kernel can drop.
  write("sys/fs/cgroup/memory.stat",
        "anon 7\nactive_file 8\ninactive_file " + megabytes(1000) + "slab 9\n");
  EXPECT_EQ(memory(), 3500U);
  write("sys/fs/cgroup/memory.max", megabytes(100));
  EXPECT_EQ(memory(), 0U);
  write("sys/fs/cgroup/memory.max", megabytes(64000));
  EXPECT_EQ(memory(), 8000U);
  write("sys/fs/cgroup/memory.max", "max\n");
  EXPECT_EQ(memory(), 8000U);
}

TEST_F(CgroupLimits, OfParentsCountAsWell) {
  groups("0::/pod/box/job\n");
  write("sys/fs/cgroup/pod/box/job/cpu.max", "max 100000\n");
  write("sys/fs/cgroup/pod/box/cpu.max", "800000 100000\n");
  write("sys/fs/cgroup/pod/cpu.max", "300000 100000\n");
  EXPECT_EQ(cores(), 3);
  write("sys/fs/cgroup/pod/box/job/cpu.max", "100000 100000\n");
  EXPECT_EQ(cores(), 1);
  write("sys/fs/cgroup/pod/box/memory.max", "max\n");
  write("sys/fs/cgroup/pod/box/memory.current", megabytes(1));
  write("sys/fs/cgroup/pod/memory.max", megabytes(2000));
  write("sys/fs/cgroup/pod/memory.current", megabytes(500));
  EXPECT_EQ(memory(), 1500U);
}

TEST_F(CgroupLimits, OfVersion1) {
  groups("9:name=systemd:/\n4:memory:/docker/1:2\n2:cpu,cpuacct:/docker/1:2\n0::/\n");
  // As a container sees it: its path is the machine's, and the topmost group is its own.
  write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "250000\n");
  write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  write("sys/fs/cgroup/memory/memory.limit_in_bytes", megabytes(3000));
  write("sys/fs/cgroup/memory/memory.usage_in_bytes", megabytes(1000));
  write("sys/fs/cgroup/memory/memory.stat",
        "inactive_file 5\ntotal_inactive_file " + megabytes(400));
  EXPECT_EQ(cores(), 3);
  EXPECT_EQ(memory(), 2400U);
  // As the machine does.
  write("sys/fs/cgroup/cpu/docker/1:2/cpu.cfs_quota_us", "100000\n");
  write("sys/fs/cgroup/cpu/docker/1:2/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(cores(), 1);
  write("sys/fs/cgroup/memory/docker/memory.limit_in_bytes", megabytes(1000));
  write("sys/fs/cgroup/memory/docker/memory.usage_in_bytes", megabytes(900));
  EXPECT_EQ(memory(), 100U);
  std::filesystem::remove_all(root() / "sys/fs/cgroup/cpu/docker");
  write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(cores(), INT_MAX);
  std::filesystem::remove_all(root() / "sys/fs/cgroup/memory/docker");
  write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(memory(), 8000U);
}

// Of a process that a container did not begin.
TEST_F(CgroupLimits, OfAPathThatLeadsOut) {
  groups("0::/../../elsewhere\n");
  write("sys/fs/cgroup/cpu.max", "200000 100000\n");
  EXPECT_EQ(cores(), 2);
}

}  // namespace
}  // namespace tome
