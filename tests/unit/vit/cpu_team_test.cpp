// The threads of a forward: Note [Threads of a forward]. With plain reads and writes of what the
// items touch, so that ThreadSanitizer sees a loop that ends too early.
#include "vit/cpu_team.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cfenv>
#include <chrono>
#include <numeric>
#include <thread>
#include <vector>

#include "vit/usable_cores.h"

namespace tome {
namespace {

/// Loops of many lengths on one team, whose items write without atomics; false if an item was left
/// out or done twice.
bool every_item_once(CpuTeam& team, int loops, bool let_helpers_sleep) {
  bool good = true;
  std::vector<int> done(499, 0);
  std::vector<int64_t> by_thread(static_cast<size_t>(team.threads()), 0);
  for (int loop = 0; loop < loops; ++loop) {
    const auto count = static_cast<size_t>(loop * 131 % 500);
    team.for_each(static_cast<int64_t>(count), [&](int64_t item, int thread) {
      ++done[static_cast<size_t>(item)];
      ++by_thread[static_cast<size_t>(thread)];
    });
    for (size_t i = 0; i < done.size(); ++i) good = good && done[i] == (i < count ? 1 : 0);
    good = good && std::accumulate(by_thread.begin(), by_thread.end(), int64_t{0}) ==
                       static_cast<int64_t>(count);
    std::fill(done.begin(), done.end(), 0);
    std::fill(by_thread.begin(), by_thread.end(), 0);
    // Helpers look for work for about 100 microseconds.
    if (let_helpers_sleep && loop % 8 == 0)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return good;
}

TEST(CpuTeamStress, WhatALoopWroteIsSeenAfterIt) {
  for (const int helpers : {0, 1, 3}) {
    CpuTeam team(helpers);
    EXPECT_TRUE(every_item_once(team, 400, false)) << helpers << " helpers";
    EXPECT_TRUE(every_item_once(team, 100, true)) << helpers << " helpers that sleep between";
  }
}

TEST(CpuTeamStress, ComesAndGoes) {
  for (int i = 0; i < 50; ++i) {
    CpuTeam team(2);
    EXPECT_TRUE(every_item_once(team, i % 3, false));
  }
}

TEST(CpuTeamStress, SeveralForwardsAtTheSameTime) {
  std::vector<std::thread> forwards;
  for (int forward = 0; forward < 4; ++forward) {
    forwards.emplace_back([forward] {
      for (int i = 0; i < 20; ++i) {
        LentTeam team(1 + (forward + i) % 4);
        EXPECT_TRUE(every_item_once(*team, 20, i % 4 == 0));
      }
    });
  }
  for (std::thread& forward : forwards) forward.join();
}

TEST(CpuTeam, HelpersRoundAsUsualThoughTheirStarterDoesNot) {
  const int usual = std::fegetround();
  std::fesetround(FE_TOWARDZERO);
  CpuTeam team(1);
  std::fesetround(usual);
  if (team.threads() < 2) GTEST_SKIP() << "the system gives no thread";
  std::atomic<int> of_helper{-1};
  // Until the helper has had one.
  while (of_helper < 0) {
    team.for_each(2, [&](int64_t, int thread) {
      if (thread == 1) of_helper = std::fegetround();
      std::this_thread::yield();
    });
  }
  EXPECT_EQ(of_helper, FE_TONEAREST);
}

TEST(CpuTeam, ForwardsTogetherShareTheCores) {
  const int cores = usable_cores();
  LentTeam first(cores);
  LentTeam second(cores);
  EXPECT_EQ(first->threads(), cores);
  EXPECT_EQ(second->threads(), std::max(1, cores / 2));
}

TEST(CpuTeam, LendsWhatIsFreeOrAFairShare) {
  EXPECT_EQ(threads_to_lend(2, 2, 0, 0), 2);
  EXPECT_EQ(threads_to_lend(2, 2, 2, 1), 1) << "two forwards on two cores";
  EXPECT_EQ(threads_to_lend(8, 8, 0, 0), 8);
  EXPECT_EQ(threads_to_lend(8, 8, 1, 1), 7) << "all that is free";
  EXPECT_EQ(threads_to_lend(8, 8, 8, 1), 4);
  EXPECT_EQ(threads_to_lend(8, 8, 12, 2), 2);
  EXPECT_EQ(threads_to_lend(3, 8, 8, 1), 3) << "no more than asked";
  EXPECT_EQ(threads_to_lend(8, 2, 0, 0), 8) << "more than there are cores, where asked alone";
  EXPECT_EQ(threads_to_lend(8, 2, 8, 1), 1);
}

TEST(CpuTeam, LendsTwoThreadsForACoreAtMostAndEvensOut) {
  for (const int cores : {1, 2, 3, 8, 64}) {
    std::vector<int> teams;
    int lent = 0;
    const auto lend = [&] {
      teams.push_back(threads_to_lend(cores, cores, lent, static_cast<int>(teams.size())));
      lent += teams.back();
    };
    for (int i = 0; i < 3 * cores; ++i) {
      lend();
      EXPECT_TRUE(teams.back() == 1 || lent <= 2 * cores) << lent << " of " << cores;
    }
    lent = 0;
    teams.clear();
    for (int i = 0; i < 3; ++i) lend();
    for (int i = 0; i < 9; ++i) {  // each ends and begins again
      lent -= teams.front();
      teams.erase(teams.begin());
      lend();
    }
    for (const int threads : teams) EXPECT_GE(threads, cores / 3);
    EXPECT_LE(lent, std::max(3, cores));
  }
}

}  // namespace
}  // namespace tome
