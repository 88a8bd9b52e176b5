// The worker is told something while it calls out and does not hold the lock.
#include <gtest/gtest.h>

#include "fake_session.h"

namespace tome {
namespace {

using testing::Door;
using testing::FakeModel;
using testing::occupy;
using testing::stream_config;
using testing::tagged_frame;

constexpr auto kFarTooLong = std::chrono::seconds(10);

/// A frame whose release passes `door`.
Frame frame_behind(const std::shared_ptr<Door>& door, int tag) {
  Frame frame = tagged_frame(tag);
  frame.keep_alive = std::shared_ptr<const void>(
      frame.keep_alive.get(), [pixels = frame.keep_alive, door](const void*) { door->pass(); });
  return frame;
}

TEST(Worker, StopsThoughItIsToldWhileItReleasesALateFrame) {
  const FakeModel model(1);
  const auto stream = model.stream(stream_config(2));
  Batcher& batcher = model.instance->batcher();
  const auto running = occupy(model, *stream);
  const auto release = std::make_shared<Door>();
  FrameOptions soon;
  soon.deadline = Clock::now() + std::chrono::milliseconds(50);
  const auto late = stream->submit(frame_behind(release, 1), soon);
  release->shut();
  while (Clock::now() < *soon.deadline) std::this_thread::yield();
  model.device->forward_door.open();
  release->wait_arrivals(1);
  batcher.ask_to_stop();
  release->open();
  const TimePoint asked = Clock::now();
  batcher.wait_stopped(kFarTooLong);
  EXPECT_LT(Clock::now() - asked, kFarTooLong);
  EXPECT_EQ(late->wait(), Outcome::kSkipped);
  EXPECT_EQ(running->wait(), Outcome::kResult);
  // Where the worker sleeps all the same, the destructor's word wakes it.
}

}  // namespace
}  // namespace tome
