// Which requests make up a batch and when it starts: Note [Batches], Note [Fairness].
#include "engine/batch_policy.h"

#include <gtest/gtest.h>

#include "fake_session.h"

namespace tome {
namespace {

using std::chrono::milliseconds;

constexpr TimePoint kStart = TimePoint(std::chrono::hours(1));
const std::vector<int64_t> kNoMerging{0, 0};

struct PolicyTest : ::testing::Test {
  std::shared_ptr<StreamQueue> add(size_t max_pending = 100, std::vector<int64_t> r = kNoMerging) {
    auto stream = std::make_shared<StreamQueue>(max_pending, ScoreOptions{});
    stream->key = std::make_shared<const BatchKey>(BatchKey{std::move(r), PropAttn::kAuto});
    policy.add(stream);
    return stream;
  }
  std::shared_ptr<Task> queue(const std::shared_ptr<StreamQueue>& stream, TimePoint when = kStart,
                              size_t regions = 1) {
    auto task = std::make_shared<Task>();
    task->stream = stream;
    task->ticket = std::make_shared<Ticket>();
    task->enqueued = when;
    task->regions.resize(regions);
    task->results.resize(regions);
    stream->tasks.push_back(task);
    ++stream->pending;
    stream->last_active = 0;
    return task;
  }
  BatchPolicy::Decision decide(TimePoint now = kStart) const {
    return policy.decide(now, batch_number, milliseconds(10));
  }
  std::vector<StreamQueue*> served(const BatchKey& key) {
    std::vector<StreamQueue*> order;
    for (const Slot& slot : policy.take(key)) order.push_back(slot.task->stream.get());
    return order;
  }

  BatchPolicy policy{BatchLimits{4, milliseconds(5)}};
  uint64_t batch_number = 0;
};

TEST_F(PolicyTest, NothingQueuedNothingToDo) {
  EXPECT_EQ(decide().key, nullptr);
  EXPECT_EQ(decide().wake, TimePoint::max());
  add();
  EXPECT_EQ(decide().wake, TimePoint::max());
}

TEST_F(PolicyTest, StartsWhenFull) {
  const auto stream = add();
  for (int i = 0; i < 3; ++i) queue(stream);
  EXPECT_EQ(decide().key, nullptr);
  queue(stream);
  EXPECT_EQ(decide().key, stream->key);
}

TEST_F(PolicyTest, RegionsFillABatchToo) {
  const auto stream = add();
  queue(stream, kStart, 4);
  EXPECT_EQ(decide().key, stream->key);
}

TEST_F(PolicyTest, StartsWhenTheOldestHasWaitedTheTimeout) {
  const auto stream = add();
  queue(stream, kStart);
  queue(stream, kStart + milliseconds(4));
  EXPECT_EQ(decide(kStart).wake, kStart + milliseconds(5));
  EXPECT_EQ(decide(kStart + milliseconds(4)).key, nullptr);
  EXPECT_EQ(decide(kStart + milliseconds(5)).key, stream->key);
}

TEST_F(PolicyTest, StartsEarlyForADeadlineThatWouldBeMissed) {
  const auto stream = add();
  queue(stream)->deadline = kStart + milliseconds(12);
  EXPECT_EQ(decide(kStart).wake, kStart + milliseconds(2));  // 12 less the 10 of a batch
}

TEST_F(PolicyTest, DoesNotWaitForStreamsThatCannotAdd) {
  const auto full = add(2);
  queue(full);
  EXPECT_EQ(decide().key, nullptr) << "it may add one more";
  queue(full);
  EXPECT_EQ(decide().key, full->key) << "max_pending is reached";

  const auto other = add();
  EXPECT_EQ(decide().key, full->key) << "a stream that has never submitted is not waited for";
  other->last_active = 0;
  EXPECT_EQ(decide().key, nullptr) << "one that has just been served is";
  batch_number = 2;
  EXPECT_EQ(decide().key, nullptr) << "one that was active two batches ago, too";
  batch_number = 3;
  EXPECT_EQ(decide().key, full->key) << "one that has been silent for two batches is not";
  batch_number = 0;
  other->ended = true;
  EXPECT_EQ(decide().key, full->key) << "one that has ended is not";
  other->ended = false;
  other->key = std::make_shared<const BatchKey>(BatchKey{{1, 1}, PropAttn::kAuto});
  EXPECT_EQ(decide().key, full->key) << "one of another schedule is not";
}

TEST_F(PolicyTest, DoesNotWaitWhereAStreamCanOnlyGoOnAfterTheBatch) {
  const auto stuck = add();
  const auto other = add();
  queue(other);
  stuck->hurried = true;
  EXPECT_EQ(decide().key, nullptr) << "it has nothing queued";
  queue(stuck);
  EXPECT_EQ(decide().key, stuck->key);
  EXPECT_EQ(served(*stuck->key).size(), 2U) << "the batch takes what others have queued";
}

TEST_F(PolicyTest, TakesOneOfEachStreamInTurn) {
  const auto a = add();
  const auto b = add();
  const auto c = add();
  for (int i = 0; i < 5; ++i) queue(a);
  for (int i = 0; i < 2; ++i) queue(b);
  queue(c);
  EXPECT_EQ(served(*a->key), (std::vector{a.get(), b.get(), c.get(), a.get()}));
  // The stream after the last one served goes first.
  EXPECT_EQ(served(*a->key), (std::vector{b.get(), a.get(), a.get(), a.get()}));
  EXPECT_TRUE(served(*a->key).empty());
}

TEST_F(PolicyTest, NoStreamStarvesAmongMoreStreamsThanABatchHolds) {
  std::vector<std::shared_ptr<StreamQueue>> streams;
  for (int i = 0; i < 10; ++i) streams.push_back(add());
  std::map<StreamQueue*, int> count;
  for (int batch = 0; batch < 25; ++batch) {
    for (const auto& stream : streams) {
      while (stream->tasks.size() < 4) queue(stream);
    }
    for (StreamQueue* stream : served(*streams[0]->key)) ++count[stream];
  }
  for (const auto& stream : streams)
    EXPECT_EQ(count[stream.get()], 10);  // 100 requests, 10 streams
}

TEST_F(PolicyTest, TheTurnSurvivesARemoval) {
  const auto a = add();
  const auto b = add();
  const auto c = add();
  const auto d = add();
  queue(a);
  queue(b);
  EXPECT_EQ(served(*a->key), (std::vector{a.get(), b.get()}));
  // A batch that is not full goes round once and ends where it began: after b.
  policy.remove(a);
  for (const auto& stream : {b, c, d}) queue(stream);
  EXPECT_EQ(served(*b->key), (std::vector{c.get(), d.get(), b.get()}));
  policy.remove(d);
  policy.remove(c);
  policy.remove(b);
  EXPECT_EQ(decide().wake, TimePoint::max());
}

TEST_F(PolicyTest, SchedulesAreKeptApartAndAFullGroupPassesAWaitingOne) {
  const auto plain = add();
  const auto merged = add(100, {4, 4});
  queue(plain);
  for (int i = 0; i < 4; ++i) queue(merged);
  EXPECT_EQ(decide().key, merged->key);
  EXPECT_EQ(served(*merged->key), std::vector<StreamQueue*>(4, merged.get()));
  EXPECT_EQ(decide().wake, kStart + milliseconds(5));
  EXPECT_EQ(decide(kStart + milliseconds(5)).key, plain->key);
}

TEST_F(PolicyTest, EqualSchedulesSpeltApartShareABatch) {
  const auto a = add(100, {2, 2});
  const auto b = add(100, {2, 2});
  ASSERT_NE(a->key, b->key);
  queue(a);
  queue(b);
  EXPECT_EQ(served(*a->key).size(), 2U);
}

TEST_F(PolicyTest, ExpiredTasksLeaveUnlessBegun) {
  const auto stream = add();
  const auto begun = queue(stream, kStart, 6);
  const auto late = queue(stream);
  const auto in_time = queue(stream);
  const auto patient = queue(stream);
  begun->deadline = late->deadline = kStart;
  in_time->deadline = kStart + milliseconds(1);
  policy.take(*stream->key);  // four of the six regions
  EXPECT_EQ(policy.take_expired(kStart), std::vector{late});
  EXPECT_EQ(policy.take_expired(kStart + milliseconds(1)), std::vector{in_time});
  EXPECT_EQ(stream->tasks.size(), 2U);
}

/// Each live stream queues `each` frames while a batch runs.
struct OverloadTest : PolicyTest {
  std::vector<std::shared_ptr<Task>> queue_live(const std::shared_ptr<StreamQueue>& stream,
                                                int frames, size_t regions = 1) {
    std::vector<std::shared_ptr<Task>> tasks;
    for (int i = 0; i < frames; ++i) {
      tasks.push_back(queue(stream, kStart, regions));
      tasks.back()->deadline = kStart + milliseconds(15);
    }
    return tasks;
  }
  /// A batch that finds more than it holds, so that the next one is the second.
  void crowd(const std::shared_ptr<StreamQueue>& stream) {
    queue_live(stream, 5);
    EXPECT_TRUE(policy.take_surplus(*stream->key).empty());
    stream->tasks.clear();
  }
};

TEST_F(OverloadTest, ABurstIsWorkedOff) {
  const auto a = add();
  queue_live(a, 7);
  EXPECT_TRUE(policy.take_surplus(*a->key).empty());
  EXPECT_EQ(served(*a->key).size(), 4U);
  EXPECT_TRUE(policy.take_surplus(*a->key).empty()) << "the rest fits";
  EXPECT_EQ(served(*a->key).size(), 3U);
}

TEST_F(OverloadTest, TheSecondCrowdedBatchKeepsTheNewestOfEachStream) {
  const auto a = add();
  const auto b = add();
  crowd(a);
  const auto of_a = queue_live(a, 4);
  const auto of_b = queue_live(b, 3);
  const std::vector<std::shared_ptr<Task>> surplus{of_a[0], of_a[1], of_b[0]};
  EXPECT_EQ(policy.take_surplus(*a->key), surplus);
  std::vector<std::shared_ptr<Task>> taken;
  for (const Slot& slot : policy.take(*a->key)) taken.push_back(slot.task);
  EXPECT_EQ(taken, (std::vector{of_a[2], of_b[1], of_a[3], of_b[2]})) << "in order, in turn";
}

TEST_F(OverloadTest, SchedulesAreCrowdedEachByItself) {
  const auto plain = add();
  const auto merged = add(100, {3, 3});
  crowd(plain);
  crowd(merged);
  queue_live(plain, 6);
  queue_live(merged, 4);
  EXPECT_TRUE(policy.take_surplus(*merged->key).empty()) << "its second batch holds all";
  EXPECT_EQ(policy.take_surplus(*plain->key).size(), 2U) << "batches of another schedule between";
}

TEST_F(OverloadTest, ABatchThatIsNotCrowdedEndsIt) {
  const auto a = add();
  crowd(a);
  queue_live(a, 4);
  EXPECT_TRUE(policy.take_surplus(*a->key).empty());
  queue_live(a, 2);
  EXPECT_TRUE(policy.take_surplus(*a->key).empty()) << "the first of a new row";
  EXPECT_EQ(policy.take_surplus(*a->key).size(), 2U);
}

TEST_F(OverloadTest, EveryBatchIsFullAndTurnsAreKept) {
  std::vector<std::shared_ptr<StreamQueue>> streams;
  for (int i = 0; i < 10; ++i) streams.push_back(add());
  std::map<StreamQueue*, int> count;
  for (int batch = 0; batch < 25; ++batch) {
    for (const auto& stream : streams) queue_live(stream, 1);
    policy.take_surplus(*streams[0]->key);
    const auto order = served(*streams[0]->key);
    EXPECT_EQ(order.size(), 4U);
    for (StreamQueue* stream : order) ++count[stream];
  }
  for (const auto& stream : streams) EXPECT_EQ(count[stream.get()], 10);
  // Three batches serve each stream once: what waits is no more than the next two hold.
  for (const auto& stream : streams) EXPECT_LE(stream->tasks.size(), 2U);
  size_t left = 0;
  for (const auto& stream : streams) left += stream->tasks.size();
  EXPECT_LE(left, 8U) << "nobody waits for a second round";
}

TEST_F(OverloadTest, MoreStreamsThanPlacesAreNoOverload) {
  std::vector<std::shared_ptr<StreamQueue>> streams;
  for (int i = 0; i < 10; ++i) streams.push_back(add());
  for (int round = 0; round < 8; ++round) {
    for (const auto& stream : streams) queue_live(stream, 1);
    size_t inferred = 0;
    for (int batch = 0; batch < 3; ++batch) {
      EXPECT_TRUE(policy.take_surplus(*streams[0]->key).empty()) << round << "." << batch;
      inferred += served(*streams[0]->key).size();
    }
    EXPECT_EQ(inferred, streams.size());
  }
}

TEST_F(PolicyTest, NoScheduleStarvesAnother) {
  for (const size_t backlogged : {2, 4, 8, 9, 16}) {
    policy = BatchPolicy(BatchLimits{8, milliseconds(5)});
    std::vector<std::shared_ptr<StreamQueue>> streams;
    for (size_t i = 0; i < backlogged; ++i) streams.push_back(add());
    queue(streams[0]);
    served(*streams[0]->key);  // before there were others
    streams.push_back(add(100, {4, 4}));
    std::map<StreamQueue*, size_t> last;
    for (size_t batch = 0; batch < 60; ++batch) {
      for (const auto& stream : streams) {
        while (stream->tasks.size() < 9) queue(stream);
      }
      const auto key = decide(kStart + milliseconds(100)).key;
      ASSERT_NE(key, nullptr);
      for (StreamQueue* stream : served(*key)) last[stream] = batch;
      for (const auto& stream : streams) {
        EXPECT_LE(batch - last[stream.get()], policy.round_length()) << backlogged;
      }
    }
  }
}

TEST_F(PolicyTest, ARoundServesEachStreamOnce) {
  EXPECT_EQ(policy.round_length(), 1U);
  for (int i = 0; i < 4; ++i) add();
  EXPECT_EQ(policy.round_length(), 1U);
  const auto fifth = add();
  EXPECT_EQ(policy.round_length(), 2U);
  add(100, {4, 4});
  EXPECT_EQ(policy.round_length(), 3U) << "schedules share no batch";
  fifth->ended = true;
  EXPECT_EQ(policy.round_length(), 2U) << "one at its end has no turn";
  queue(fifth);
  EXPECT_EQ(policy.round_length(), 3U) << "but for what it has queued";
  fifth->ended = false;
  policy.remove(fifth);
  EXPECT_EQ(policy.round_length(), 2U);
}

TEST_F(OverloadTest, WhatHasNoDeadlineNeitherCrowdsNorGoes) {
  const auto file = add();
  const auto live = add();
  for (int i = 0; i < 20; ++i) queue(file);
  for (int batch = 0; batch < 3; ++batch) {
    queue_live(live, 2);
    EXPECT_TRUE(policy.take_surplus(*live->key).empty()) << "the live ones fit";
    served(*live->key);
  }
  ASSERT_EQ(file->tasks.size(), 14U);
  crowd(live);
  queue_live(live, 6);
  EXPECT_EQ(policy.take_surplus(*live->key).size(), 4U) << "two places are the file's";
  EXPECT_EQ(file->tasks.size(), 14U);
}

TEST_F(OverloadTest, RegionsOfAFrameStayTogetherAndBegunFramesAreFinished) {
  const auto a = add();
  crowd(a);
  const auto frames = queue_live(a, 3, 3);
  EXPECT_EQ(policy.take_surplus(*a->key), std::vector{frames[0]}) << "two are needed to fill four";
  EXPECT_EQ(served(*a->key).size(), 4U);
  const auto more = queue_live(a, 2, 3);
  EXPECT_EQ(policy.take_surplus(*a->key), std::vector{more[0]}) << "two regions are still to come";
  EXPECT_EQ(a->tasks.front(), frames[2]);
}

TEST_F(OverloadTest, AnotherScheduleIsNotTouched) {
  const auto a = add();
  const auto merged = add(100, {4, 4});
  crowd(a);
  queue_live(a, 6);
  queue_live(merged, 6);
  EXPECT_EQ(policy.take_surplus(*a->key).size(), 2U);
  EXPECT_EQ(merged->tasks.size(), 6U);
}

TEST_F(PolicyTest, PixelsGoWithTheLastRegion) {
  const auto stream = add();
  const auto task = queue(stream, kStart, 5);
  task->frame = testing::tagged_frame(1);
  task->regions[4] = {1, 2, 3, 4};
  const std::weak_ptr<const void> pixels = task->frame.keep_alive;
  auto first = policy.take(*stream->key);
  EXPECT_EQ(first.size(), 4U);
  EXPECT_NE(task->frame.keep_alive, nullptr);
  auto second = policy.take(*stream->key);
  ASSERT_EQ(second.size(), 1U);
  EXPECT_EQ(second[0].frame.region.width, 3);
  EXPECT_EQ(task->frame.keep_alive, nullptr);
  first.clear();
  second.clear();
  EXPECT_TRUE(pixels.expired());
}

}  // namespace
}  // namespace tome
