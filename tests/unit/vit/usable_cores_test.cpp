#include "vit/usable_cores.h"

#include <gtest/gtest.h>

#include <thread>

#include "vit/cgroup_limits.h"

#if defined(__linux__)
#include <sched.h>

#include <cstdlib>
#endif

namespace tome {
namespace {

TEST(UsableCores, AreThoseOfTheMachineAtMost) {
  EXPECT_GE(usable_cores(), 1);
  EXPECT_LE(usable_cores(), static_cast<int>(std::thread::hardware_concurrency()));
  EXPECT_LE(usable_cores(), quota_cores());
}

#if defined(__linux__)
TEST(UsableCores, AreThoseThatTheProcessIsTiedTo) {
  // A process of its own: the number is asked for once.
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto tie_and_exit = [] {
    cpu_set_t now, one;
    sched_getaffinity(0, sizeof(now), &now);
    int core = 0;
    while (!CPU_ISSET(core, &now)) ++core;
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    sched_setaffinity(0, sizeof(one), &one);
    std::exit(usable_cores());
  };
  EXPECT_EXIT(tie_and_exit(), ::testing::ExitedWithCode(1), "");
}
#endif

}  // namespace
}  // namespace tome
