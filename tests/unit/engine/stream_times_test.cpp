// The times that results tell, and what the time of a batch decides.
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "fake_session.h"

namespace tome {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using testing::FakeModel;
using testing::occupy;
using testing::stream_config;
using testing::submit;

const Classification& result_of(const Ticket& ticket) {
  EXPECT_EQ(ticket.wait(), Outcome::kResult);
  return ticket.results().at(0);
}

TEST(Times, OfWaitingInTheQueue) {
  const FakeModel model(1);
  const auto stream = model.stream(stream_config(2));
  const auto running = occupy(model, *stream);
  const TimePoint before = Clock::now();
  const auto queued = submit(*stream, 1);
  const TimePoint after = Clock::now();
  while (Clock::now() == after) std::this_thread::yield();
  const double least = tome::milliseconds(Clock::now() - after);
  model.device->forward_door.open();
  const double queue_ms = result_of(*queued).queue_ms;
  EXPECT_GE(queue_ms, least);
  EXPECT_LE(queue_ms, tome::milliseconds(Clock::now() - before));
}

/// Frames of a clip are pre-processed where they come in, all other frames with their batch.
TEST(Times, OfPreprocessing) {
  constexpr auto kFrame = std::chrono::milliseconds(20);
  for (const int64_t clip_length : {1, 2}) {
    const FakeModel model(1, clip_length);
    model.device->a_frame_takes = kFrame;
    const auto stream = model.stream();
    for (int64_t i = 1; i < clip_length; ++i) submit(*stream, 0)->wait();
    const auto last = submit(*stream, 1);
    EXPECT_GE(result_of(*last).preprocess_ms, tome::milliseconds(kFrame)) << clip_length;
  }
}

TEST(Times, AFrameThatCannotBeInTimeIsSkippedBeforeTheBatchThatLeavesItBehind) {
  const FakeModel model(1, 1, 0, hours(1));
  const auto stream = model.stream(stream_config(3));
  const auto running = occupy(model, *stream);
  const auto next = submit(*stream, 1);
  FrameOptions soon;
  soon.deadline = Clock::now() + minutes(30);
  const auto hopeless = submit(*stream, 2, soon);
  model.device->preprocess_door.shut();
  model.device->forward_door.open();
  model.device->preprocess_door.wait_arrivals(2);
  EXPECT_TRUE(hopeless->ready()) << "the batch of the frame before it has only begun";
  model.device->preprocess_door.open();
  EXPECT_EQ(hopeless->wait(), Outcome::kSkipped);
  EXPECT_EQ(next->wait(), Outcome::kResult);
}

}  // namespace
}  // namespace tome
