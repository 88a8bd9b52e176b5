// A key's last user goes while the next one comes.
#include "engine/shared_cache.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace tome {
namespace {

using Clock = std::chrono::steady_clock;

TEST(SharedCache, UsersThatComeAndGoAtOnceAllGetTheThing) {
  SharedCache<int> cache;
  std::atomic<bool> stop = false;
  std::atomic<int> acquired = 0;
  std::atomic<int> wrong = 0;
  const auto come_and_go = [&] {
    while (!stop) {
      try {
        const auto value = cache.acquire(
            "key", "content", [] { return std::make_shared<int>(7); }, [](const std::string&) {});
        if (*value != 7) ++wrong;
        ++acquired;
      } catch (const std::exception& error) {
        if (wrong++ == 0) ADD_FAILURE() << error.what();
        stop = true;
      }
    }
  };
  std::vector<std::thread> users;
  for (int i = 0; i < 3; ++i) users.emplace_back(come_and_go);
  const Clock::time_point end = Clock::now() + std::chrono::seconds(1);
  while (!stop && Clock::now() < end) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  stop = true;
  for (std::thread& user : users) user.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_GT(acquired, 0);
}

TEST(SharedCache, AThingThatIsGoneConflictsWithNothing) {
  SharedCache<int> cache;
  const auto make = [] { return std::make_shared<int>(1); };
  int conflicts = 0;
  const auto conflict = [&](const std::string& content) {
    EXPECT_EQ(content, "one");
    ++conflicts;
  };
  auto one = cache.acquire("key", "one", make, conflict);
  EXPECT_EQ(cache.acquire("key", "other", make, conflict), one);
  EXPECT_EQ(conflicts, 1);
  one.reset();
  EXPECT_NE(cache.acquire("key", "other", make, conflict), nullptr);
  EXPECT_EQ(conflicts, 1);
}

}  // namespace
}  // namespace tome
