// Note [One slow batch].
#include "engine/batch_duration.h"

#include <gtest/gtest.h>

namespace tome {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr size_t kBatchSize = 8;

/// Of full batches, unless a test says otherwise.
struct BatchDurationTest : ::testing::Test {
  void learn(Clock::duration took, int batches = 1) {
    for (int i = 0; i < batches; ++i) duration.learn(kBatchSize, took);
  }
  void expect(milliseconds least, milliseconds most) const {
    EXPECT_GE(duration.average(), least);
    EXPECT_LE(duration.average(), most);
  }
  BatchDuration duration{kBatchSize};
};

TEST_F(BatchDurationTest, TheFirstBatchCountsWholeWhereNothingIsKnown) {
  EXPECT_EQ(duration.average(), Clock::duration::zero());
  duration.learn(2, milliseconds(10));
  EXPECT_EQ(duration.average(), milliseconds(40));
}

TEST_F(BatchDurationTest, AveragesFullBatches) {
  duration.set(milliseconds(80));
  learn(milliseconds(96));
  EXPECT_EQ(duration.average(), milliseconds(82));
  learn(milliseconds(60), 40);
  expect(milliseconds(60), milliseconds(61));
}

TEST_F(BatchDurationTest, PartsOfABatchSayBetweenWhatAFullOneLies) {
  duration.set(milliseconds(80));
  duration.learn(4, milliseconds(50));
  EXPECT_EQ(duration.average(), milliseconds(80)) << "between 50 and 100";
  duration.learn(4, milliseconds(36));
  EXPECT_EQ(duration.average(), milliseconds(79)) << "72 at most";
  duration.set(milliseconds(80));
  duration.learn(1, milliseconds(88));
  EXPECT_EQ(duration.average(), milliseconds(81)) << "88 at least";
}

TEST_F(BatchDurationTest, AMachineThatStopsForSecondsHardlyShows) {
  duration.set(milliseconds(48));
  learn(milliseconds(48), 3);
  learn(seconds(4));
  EXPECT_EQ(duration.average(), milliseconds(54)) << "as if it had taken 96";
  learn(milliseconds(48), 20);
  expect(milliseconds(48), milliseconds(49));
  learn(seconds(4));
  expect(milliseconds(48), milliseconds(56));
}

TEST_F(BatchDurationTest, ASlowDownIsLearntFromTheSecondBatchOn) {
  duration.set(milliseconds(40));
  learn(milliseconds(400));
  expect(milliseconds(40), milliseconds(45));
  learn(milliseconds(400));
  expect(milliseconds(85), milliseconds(95));
  learn(milliseconds(400), 8);
  expect(milliseconds(280), milliseconds(400));
}

TEST_F(BatchDurationTest, UpToTwiceCountsWhole) {
  duration.set(milliseconds(40));
  learn(milliseconds(72));
  EXPECT_EQ(duration.average(), milliseconds(44));
}

}  // namespace
}  // namespace tome
