// Note [Batches that do not fit].
#include "engine/memory_limit.h"

#include <gtest/gtest.h>

namespace tome {
namespace {

using std::chrono::seconds;

const TimePoint kStart{seconds(1000)};

TEST(MemoryLimit, AllAreTriedUntilTheyDoNotFit) {
  MemoryLimit limit(16);
  EXPECT_EQ(limit.most(kStart), 16U);
  EXPECT_EQ(limit.most(kStart + seconds(1000)), 16U);
}

TEST(MemoryLimit, HalvesAreKept) {
  MemoryLimit limit(16);
  limit.refuse(16, kStart);
  EXPECT_EQ(limit.most(kStart), 8U);
  limit.refuse(8, kStart);
  limit.refuse(5, kStart) /* another part */;
  EXPECT_EQ(limit.most(kStart), 3U);
  limit.refuse(2, kStart);
  EXPECT_EQ(limit.most(kStart), 1U);
}

TEST(MemoryLimit, MoreAreTriedAfterAWhile) {
  MemoryLimit limit(12);
  limit.refuse(12, kStart);
  limit.refuse(6, kStart);
  EXPECT_EQ(limit.most(kStart + MemoryLimit::kTryAgain - seconds(1)), 3U);
  const TimePoint later = kStart + MemoryLimit::kTryAgain;
  EXPECT_EQ(limit.most(later), 6U);
  EXPECT_EQ(limit.most(later), 6U) << "twice at a time";
  EXPECT_EQ(limit.most(later + MemoryLimit::kTryAgain), 12U);
  EXPECT_EQ(limit.most(later + 9 * MemoryLimit::kTryAgain), 12U);
}

}  // namespace
}  // namespace tome
