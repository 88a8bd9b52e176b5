// Note [Batches that do not fit].
#include "engine/memory_limit.h"

#include <gtest/gtest.h>

namespace tome {
namespace {

using std::chrono::seconds;

const TimePoint kBegin{seconds(1000)};

TEST(MemoryLimit, AllAreTriedUntilTheyDoNotFit) {
  MemoryLimit limit(16);
  EXPECT_EQ(limit.most(kBegin), 16U);
  EXPECT_EQ(limit.most(kBegin + seconds(1000)), 16U);
}

TEST(MemoryLimit, HalvesAreKept) {
  MemoryLimit limit(16);
  limit.refuse(16, kBegin);
  EXPECT_EQ(limit.most(kBegin), 8U);
  limit.refuse(8, kBegin);
  limit.refuse(5, kBegin) /* another part */;
  EXPECT_EQ(limit.most(kBegin), 3U);
  limit.refuse(2, kBegin);
  EXPECT_EQ(limit.most(kBegin), 1U);
}

TEST(MemoryLimit, MoreAreTriedAfterAWhile) {
  MemoryLimit limit(12);
  limit.refuse(12, kBegin);
  limit.refuse(6, kBegin);
  EXPECT_EQ(limit.most(kBegin + MemoryLimit::kTryAgain - seconds(1)), 3U);
  const TimePoint later = kBegin + MemoryLimit::kTryAgain;
  EXPECT_EQ(limit.most(later), 6U);
  EXPECT_EQ(limit.most(later), 6U) << "twice at a time";
  EXPECT_EQ(limit.most(later + MemoryLimit::kTryAgain), 12U);
  EXPECT_EQ(limit.most(later + 9 * MemoryLimit::kTryAgain), 12U);
}

}  // namespace
}  // namespace tome
