// Clips and regions of a stream.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "fake_session.h"

namespace tome {
namespace {

using testing::FakeModel;
using testing::stream_config;
using testing::submit;
using testing::tagged_frame;
using Tags = std::vector<int>;

std::vector<Outcome> outcomes_of(Stream& stream, int first, int n) {
  std::vector<Outcome> outcomes;
  for (int i = first; i < first + n; ++i) {
    FrameOptions options;
    options.pts = 100 * i;
    outcomes.push_back(submit(stream, i, options)->wait());
  }
  return outcomes;
}

constexpr auto kR = Outcome::kResult;
constexpr auto kN = Outcome::kNone;

TEST(ClipStream, ClassifiesWindowsOnTheirLastFrame) {
  const FakeModel model(1, 3);
  const auto stream = model.stream();
  EXPECT_EQ(outcomes_of(*stream, 0, 7), (std::vector{kN, kN, kR, kN, kN, kR, kN}));
  const auto batches = model.device->ran();
  ASSERT_EQ(batches.size(), 2U);
  EXPECT_EQ(batches[1].requests, (std::vector<Tags>{{3, 4, 5}}));
}

TEST(ClipStream, FramesInsideAWindowLeaveAtOnceAndWithoutTheirPixels) {
  const FakeModel model(1, 2);
  const auto stream = model.stream();
  const auto released = std::make_shared<std::atomic<int>>(0);
  const auto ticket = stream->submit(tagged_frame(1, released), {});
  EXPECT_TRUE(ticket->ready());
  EXPECT_EQ(*released, 1);
}

TEST(ClipStream, FramesArePreprocessedOnce) {
  const FakeModel model(1, 4);
  StreamConfig config;
  config.clip_stride = 1;
  const auto stream = model.stream(config);
  EXPECT_EQ(outcomes_of(*stream, 0, 6), (std::vector{kN, kN, kN, kR, kR, kR}));
  EXPECT_EQ(model.device->preprocessed, (Tags{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(model.device->ran().back().requests, (std::vector<Tags>{{2, 3, 4, 5}}));
}

TEST(ClipStream, ResultSpansItsWindow) {
  const FakeModel model(1, 2);
  StreamConfig config;
  config.frame_stride = 2;
  const auto stream = model.stream(config);
  FrameOptions options;
  for (const int64_t pts : {100, 200, 300}) {
    options.pts = pts;
    const auto ticket = submit(*stream, static_cast<int>(pts / 100), options);
    if (pts < 300) continue;
    ASSERT_EQ(ticket->wait(), kR);
    EXPECT_EQ(ticket->results()[0].clip_start_pts, 100);
    EXPECT_EQ(ticket->results()[0].clip_end_pts, 300);
    EXPECT_EQ(ticket->results()[0].frames, 2U);
  }
}

TEST(ClipStream, WindowsDoNotOverlapUnlessAskedTo) {
  const FakeModel model(1, 2);
  StreamConfig config;
  config.frame_stride = 2;
  const auto stream = model.stream(config);
  EXPECT_EQ(outcomes_of(*stream, 0, 8), (std::vector{kN, kN, kR, kN, kN, kN, kR, kN}));
}

TEST(ClipStream, DiscontAndFlushStartANewWindow) {
  const FakeModel model(1, 3);
  const auto stream = model.stream();
  outcomes_of(*stream, 0, 2);
  FrameOptions jump;
  jump.discont = true;
  EXPECT_EQ(submit(*stream, 10, jump)->wait(), kN);
  EXPECT_EQ(outcomes_of(*stream, 11, 3), (std::vector{kN, kR, kN}));
  stream->flush();
  EXPECT_EQ(outcomes_of(*stream, 20, 3), (std::vector{kN, kN, kR}));
  const auto batches = model.device->ran();
  EXPECT_EQ(batches.at(0).requests[0], (Tags{10, 11, 12}));
  EXPECT_EQ(batches.at(1).requests[0], (Tags{20, 21, 22}));
}

TEST(ClipStream, DrainClassifiesAHalfWindowOnce) {
  const FakeModel model(1, 4);
  const auto stream = model.stream();
  outcomes_of(*stream, 0, 2);
  const auto ticket = stream->drain();
  ASSERT_NE(ticket, nullptr);
  ASSERT_EQ(ticket->wait(), kR);
  EXPECT_EQ(ticket->results()[0].frames, 2U);
  EXPECT_EQ(ticket->results()[0].clip_end_pts, 100);
  EXPECT_EQ(model.device->ran().back().requests[0], (Tags{0, 1, 1, 1}));
  EXPECT_EQ(stream->drain(), nullptr);
  outcomes_of(*stream, 0, 1);
  EXPECT_EQ(stream->drain(), nullptr) << "less than half";
}

TEST(ClipStream, ALateWindowIsSkippedAndALateFrameInsideIsNot) {
  const FakeModel model(1, 2);
  const auto stream = model.stream();
  FrameOptions late;
  late.no_inference = true;
  EXPECT_EQ(submit(*stream, 0, late)->wait(), kN);
  EXPECT_EQ(submit(*stream, 1)->wait(), kR);
  EXPECT_EQ(submit(*stream, 2)->wait(), kN);
  EXPECT_EQ(submit(*stream, 3, late)->wait(), Outcome::kSkipped);
  EXPECT_EQ(outcomes_of(*stream, 4, 2), (std::vector{kN, kR}));
}

TEST(ClipStream, WindowsOfStreamsShareABatch) {
  const FakeModel model(2, 2);
  const auto a = model.stream(stream_config(1));
  const auto b = model.stream(stream_config(2));
  submit(*b, 10);
  const auto first = [&] {
    model.device->forward_door.shut();
    submit(*a, 0);
    auto ticket = submit(*a, 1);
    model.device->forward_door.wait_arrivals(1);
    return ticket;
  }();
  const auto second = submit(*b, 11);
  submit(*b, 12);
  const auto third = submit(*b, 13);
  model.device->forward_door.open();
  for (const auto& ticket : {first, second, third}) EXPECT_EQ(ticket->wait(), kR);
  EXPECT_EQ(model.device->ran().at(1).requests, (std::vector<Tags>{{10, 11}, {12, 13}}));
}

TEST(ClipStream, ABadFrameDropsItsWindow) {
  const FakeModel model(1, 2);
  model.device->bad_frames = {9};
  const auto stream = model.stream();
  submit(*stream, 1);
  EXPECT_THROW(submit(*stream, 9), Error);
  EXPECT_EQ(outcomes_of(*stream, 2, 2), (std::vector{kN, kR}));
}

TEST(ClipStream, RegionsAreRefused) {
  const FakeModel model(1, 2);
  const auto stream = model.stream();
  FrameOptions options;
  options.regions = {{0, 0, 4, 4}};
  EXPECT_THROW(submit(*stream, 1, options), Error);
}

TEST(Regions, AreCutToTheFrame) {
  const auto cut = [](Region region) {
    const auto inside = cut_region(region, 8, 6);
    return inside ? std::vector<int32_t>{inside->x, inside->y, inside->width, inside->height}
                  : std::vector<int32_t>{};
  };
  using V = std::vector<int32_t>;
  EXPECT_EQ(cut({1, 2, 3, 4}), (V{1, 2, 3, 4}));
  EXPECT_EQ(cut({-2, -3, 5, 5}), (V{0, 0, 3, 2}));
  EXPECT_EQ(cut({5, 4, 100, 100}), (V{5, 4, 3, 2}));
  EXPECT_EQ(cut({8, 0, 1, 1}), V{});
  EXPECT_EQ(cut({-5, 0, 5, 1}), V{});
  EXPECT_EQ(cut({2, 2, 0, 3}), V{});
  EXPECT_EQ(cut({2, 2, -3, 3}), V{});
  EXPECT_EQ(cut({0, 0, 0, 0}), (V{0, 0, 0, 0})) << "the full frame";
  constexpr int32_t kMax = std::numeric_limits<int32_t>::max();
  EXPECT_EQ(cut({kMax, kMax, kMax, kMax}), V{});
  EXPECT_EQ(cut({1, 1, kMax, kMax}), (V{1, 1, 7, 5}));
}

TEST(Regions, OneResultForEachThatLiesInTheFrame) {
  const FakeModel model(8);
  const auto stream = model.stream(stream_config(1));
  FrameOptions options;
  options.regions = {{0, 0, 4, 4}, {20, 20, 4, 4}, {6, 6, 9, 9}, {3, 3, 0, 5}};
  const auto ticket = submit(*stream, 1, options);
  ASSERT_EQ(ticket->wait(), kR);
  ASSERT_EQ(ticket->results().size(), 2U);
  EXPECT_EQ(ticket->results()[0].region.width, 4);
  EXPECT_EQ(ticket->results()[1].region.width, 9) << "as submitted";
  EXPECT_EQ(ticket->results()[1].batch, 2U);
  ASSERT_EQ(model.device->regions.size(), 2U);
  EXPECT_EQ(model.device->regions[1].x, 6);
  EXPECT_EQ(model.device->regions[1].width, 2) << "as looked at";
}

TEST(Regions, NoneInsideIsAnEmptyResult) {
  const FakeModel model(1);
  const auto stream = model.stream();
  FrameOptions options;
  options.regions = std::vector<Region>{{50, 50, 3, 3}};
  const auto released = std::make_shared<std::atomic<int>>(0);
  const auto outside = stream->submit(tagged_frame(1, released), options);
  EXPECT_EQ(*released, 1);
  EXPECT_EQ(outside->wait(), kR);
  EXPECT_TRUE(outside->results().empty());
  options.regions->clear();
  const auto none = submit(*stream, 1, options);
  EXPECT_EQ(none->wait(), kR);
  EXPECT_TRUE(none->results().empty());
}

TEST(Regions, ThousandsRunInBatchesAndOthersAreServedBetween) {
  const FakeModel model(16);
  const auto crowd = model.stream(stream_config(1));
  const auto other = model.stream(stream_config(1));
  FrameOptions options;
  options.regions.emplace(5000, Region{1, 1, 4, 4});
  model.device->forward_door.shut();
  const auto released = std::make_shared<std::atomic<int>>(0);
  const auto ticket = crowd->submit(tagged_frame(1, released), options);
  model.device->forward_door.wait_arrivals(1);
  EXPECT_EQ(*released, 0) << "most regions have not been read";
  const auto between = submit(*other, 2);
  model.device->forward_door.open();
  EXPECT_EQ(between->wait(), kR);
  EXPECT_EQ(between->results()[0].batch, 16U) << "with 15 regions of the crowd";
  EXPECT_EQ(ticket->wait(), kR);
  EXPECT_EQ(*released, 1);
  EXPECT_EQ(ticket->results().size(), 5000U);
  const auto batches = model.device->ran();
  EXPECT_EQ(batches.size(), 313U);  // 5001 requests by 16
  EXPECT_EQ(batches[1].requests.size(), 16U);
  EXPECT_NE(std::find(batches[1].requests.begin(), batches[1].requests.end(), Tags{2}),
            batches[1].requests.end());
}

TEST(Regions, FlushInTheMiddleCancelsTheRest) {
  const FakeModel model(4);
  const auto stream = model.stream(stream_config(1));
  FrameOptions options;
  options.regions.emplace(100, Region{1, 1, 4, 4});
  model.device->forward_door.shut();
  const auto released = std::make_shared<std::atomic<int>>(0);
  const auto ticket = stream->submit(tagged_frame(1, released), options);
  model.device->forward_door.wait_arrivals(1);
  stream->flush();
  EXPECT_EQ(ticket->wait(), Outcome::kCancelled);
  EXPECT_EQ(*released, 1);
  model.device->forward_door.open();
  EXPECT_EQ(submit(*stream, 2)->wait(), kR);
  EXPECT_EQ(model.device->ran().size(), 2U);
}

TEST(Regions, ABadRegionFailsTheFrame) {
  const FakeModel model(4);
  model.device->bad_frames = {9};
  const auto stream = model.stream(stream_config(1));
  FrameOptions options;
  options.regions.emplace(100, Region{1, 1, 4, 4});
  const auto ticket = submit(*stream, 9, options);
  EXPECT_EQ(ticket->wait(), Outcome::kFailed);
  EXPECT_EQ(submit(*stream, 2)->wait(), kR);
  EXPECT_EQ(model.device->preprocessed.size(), 5U) << "the other 96 regions were let go";
}

}  // namespace
}  // namespace tome
