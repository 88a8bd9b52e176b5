// Which schedule, and what else a forward is asked for, the batches of a stream run with.
#include <gtest/gtest.h>

#include <algorithm>

#include "fake_session.h"

namespace tome {
namespace {

using testing::FakeModel;
using testing::occupy;
using testing::RanBatch;
using testing::stream_config;
using testing::submit;
using testing::Tags;

TEST(StreamSchedule, SchedulesShareNoBatch) {
  const FakeModel model(4);
  const auto plug = model.stream(stream_config(1));
  const auto plain = model.stream(stream_config(2, "0"));
  const auto merged = model.stream(stream_config(2, "3"));
  auto config = stream_config(2, "3");
  config.prop_attn = PropAttn::kOff;
  const auto other_attention = model.stream(config);
  config = stream_config(2, "3");
  config.static_threshold = 1.5;
  const auto other_threshold = model.stream(config);
  occupy(model, *plug);
  plug->drain();  // its schedule is that of `plain`, whose batch need not wait for it
  std::vector<std::shared_ptr<Ticket>> tickets;
  for (int i = 0; i < 2; ++i) {
    tickets.push_back(submit(*plain, 10 + i));
    tickets.push_back(submit(*merged, 20 + i));
    tickets.push_back(submit(*other_attention, 30 + i));
    tickets.push_back(submit(*other_threshold, 40 + i));
  }
  model.device->forward_door.open();
  for (const auto& ticket : tickets) EXPECT_EQ(ticket->wait(), Outcome::kResult);
  auto batches = model.device->ran();
  ASSERT_EQ(batches.size(), 5U);
  batches.erase(batches.begin());
  std::sort(batches.begin(), batches.end(),
            [](const RanBatch& a, const RanBatch& b) { return tags(a) < tags(b); });
  EXPECT_EQ(tags(batches[0]), (Tags{10, 11}));
  EXPECT_EQ(batches[0].r, (std::vector<int64_t>{0, 0}));
  EXPECT_EQ(tags(batches[1]), (Tags{20, 21}));
  EXPECT_EQ(batches[1].r, (std::vector<int64_t>{3, 3}));
  EXPECT_EQ(tags(batches[2]), (Tags{30, 31}));
  EXPECT_EQ(batches[2].prop_attn, PropAttn::kOff);
  EXPECT_EQ(tags(batches[3]), (Tags{40, 41}));
  EXPECT_EQ(batches[3].static_threshold, 1.5);
}

TEST(StreamSchedule, ASchedulesWarmUpIsDoneWhenItsFirstStreamOpens) {
  const FakeModel model(1);
  const auto warmed_up = [&] {
    const std::lock_guard lock(model.device->mutex);
    std::vector<std::vector<int64_t>> r;
    for (const BatchKey& key : model.device->warmed_up) r.push_back(key.r);
    return r;
  };
  using Schedules = std::vector<std::vector<int64_t>>;
  auto first = model.stream(stream_config(1, "3"));
  EXPECT_EQ(warmed_up(), (Schedules{{3, 3}}));
  auto second = model.stream(stream_config(1, "3"));
  EXPECT_EQ(warmed_up(), (Schedules{{3, 3}}));
  auto third = model.stream(stream_config(1, "1"));
  EXPECT_EQ(warmed_up(), (Schedules{{3, 3}, {1, 1}}));
  EXPECT_EQ(submit(*third, 1)->wait(), Outcome::kResult);
  auto late = model.stream(stream_config(1, "2"));
  EXPECT_EQ(warmed_up().size(), 2U) << "streams that run must not wait for one that opens";
  for (auto* stream : {&first, &second, &third, &late}) stream->reset();
  model.device->warm_up_fails = true;
  late = model.stream(stream_config(1, "2"));
  EXPECT_EQ(warmed_up(), (Schedules{{3, 3}, {1, 1}, {2, 2}}));
  EXPECT_EQ(submit(*late, 2)->wait(), Outcome::kResult) << "it can do without";
}

TEST(StreamSchedule, ANewScheduleHoldsFromTheNextBatch) {
  const FakeModel model(1);
  const auto stream = model.stream(stream_config(3, "1"));
  const auto running = occupy(model, *stream);
  const auto queued = submit(*stream, 1);
  stream->set_schedule("2");
  EXPECT_THROW(stream->set_schedule("nonsense"), Error);
  EXPECT_THROW(stream->set_schedule("1,2,3"), Error) << "the model has two blocks";
  model.device->forward_door.open();
  queued->wait();
  const auto batches = model.device->ran();
  EXPECT_EQ(batches.at(0).r, (std::vector<int64_t>{1, 1}));
  EXPECT_EQ(batches.at(1).r, (std::vector<int64_t>{2, 2}));
}

TEST(StreamSchedule, ANewScheduleLeavesTheRestAsItWasAskedFor) {
  const FakeModel model(1);
  StreamConfig config = stream_config(1, "1");
  config.prop_attn = PropAttn::kOff;
  config.static_threshold = 2;
  const auto stream = model.stream(config);
  submit(*stream, 1)->wait();
  stream->set_schedule("2");
  submit(*stream, 2)->wait();
  const auto batches = model.device->ran();
  ASSERT_EQ(batches.size(), 2U);
  EXPECT_EQ(batches[1].r, (std::vector<int64_t>{2, 2}));
  for (const RanBatch& batch : batches) {
    EXPECT_EQ(batch.prop_attn, PropAttn::kOff);
    EXPECT_EQ(batch.static_threshold, 2);
  }
}

}  // namespace
}  // namespace tome
