// What changes about a stream while it runs: how often, and how much of a result is told.
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <string>
#include <thread>

#include "fake_session.h"

namespace tome {
namespace {

using testing::FakeModel;
using testing::occupy;
using testing::stream_config;
using testing::submit;

constexpr uint32_t kAll = 5;

/// Of frames that come one after the other: 'r' for a result, '-' where nothing was due, '?' else.
std::string outcomes(Stream& stream, int frames) {
  std::string found;
  for (int i = 0; i < frames; ++i) {
    const Outcome outcome = submit(stream, i)->wait();
    found += outcome == Outcome::kResult ? 'r' : outcome == Outcome::kNone ? '-' : '?';
  }
  return found;
}

TEST(Adjust, ALongerIntervalCountsFromTheLastInference) {
  const FakeModel model(1);
  const auto stream = model.stream();
  EXPECT_EQ(outcomes(*stream, 3), "rrr");
  stream->adjust({kAll, 0, 5});
  EXPECT_EQ(outcomes(*stream, 11), "----r----r-");
}

TEST(Adjust, AShorterIntervalCountsAtOnce) {
  const FakeModel model(1);
  StreamConfig config;
  config.inference_interval = 1000;
  const auto stream = model.stream(config);
  EXPECT_EQ(outcomes(*stream, 4), "r---");
  stream->adjust({kAll, 0, 6});
  EXPECT_EQ(outcomes(*stream, 3), "--r") << "the sixth behind the first";
  EXPECT_EQ(outcomes(*stream, 5), "-----");
  stream->adjust({kAll, 0, 2});
  EXPECT_EQ(outcomes(*stream, 4), "r-r-") << "more than two have come already";
}

TEST(Adjust, TheFirstFrameIsDueWhateverTheInterval) {
  const FakeModel model(1);
  const auto stream = model.stream();
  stream->adjust({kAll, 0, 3});
  EXPECT_EQ(outcomes(*stream, 4), "r--r");
  stream->flush();
  EXPECT_EQ(outcomes(*stream, 4), "r--r");
}

TEST(Adjust, SkippedFramesAreTheLastThatWereDue) {
  const FakeModel model(1);
  const auto stream = model.stream();
  FrameOptions skip;
  skip.no_inference = true;
  EXPECT_EQ(submit(*stream, 0, skip)->wait(), Outcome::kSkipped);
  stream->adjust({kAll, 0, 3});
  EXPECT_EQ(outcomes(*stream, 3), "--r");
}

/// The fake's softmax is 1 for one class and 0 for the three others.
TEST(Adjust, ResultsOfLaterFramesHaveTheNewTags) {
  const FakeModel model(1);
  const auto stream = model.stream(stream_config(3));
  const auto tags = [](const std::shared_ptr<Ticket>& ticket) {
    EXPECT_EQ(ticket->wait(), Outcome::kResult);
    return ticket->results().at(0).scores.size();
  };
  const auto running = occupy(model, *stream);
  const auto before = submit(*stream, 1);
  stream->adjust({2, 0, 1});
  const auto after = submit(*stream, 2);
  model.device->forward_door.open();
  EXPECT_EQ(tags(before), 4U) << "submitted before, though not yet classified";
  EXPECT_EQ(tags(after), 2U);
  stream->adjust({3, 0.5, 1});
  EXPECT_EQ(tags(submit(*stream, 3)), 1U);
  stream->adjust({3, 0, 1});
  EXPECT_EQ(tags(submit(*stream, 4)), 3U);
}

TEST(Adjust, OfClipsEveryNthWindow) {
  const FakeModel model(1, 2);
  const auto stream = model.stream();
  EXPECT_EQ(outcomes(*stream, 4), "-r-r");
  stream->adjust({kAll, 0, 3});
  EXPECT_EQ(outcomes(*stream, 14), "-----r-----r--");
  EXPECT_EQ(model.device->preprocessed.size(), 8U)
      << "frames of windows that are not due cost none";
}

TEST(Adjust, AWindowThatHasBegunStaysAsItIs) {
  const FakeModel model(1, 2);
  const auto stream = model.stream();
  EXPECT_EQ(outcomes(*stream, 3), "-r-");
  stream->adjust({kAll, 0, 1000});
  EXPECT_EQ(outcomes(*stream, 6), "r-----");
  stream->adjust({kAll, 0, 1});
  EXPECT_EQ(outcomes(*stream, 4), "--r-") << "its first frame was not pre-processed";
}

TEST(Adjust, TheLastWindowHasTheNewTags) {
  const FakeModel model(1, 2);
  const auto stream = model.stream();
  EXPECT_EQ(outcomes(*stream, 1), "-");
  stream->adjust({1, 0, 1});
  const auto last = stream->drain();
  ASSERT_NE(last, nullptr);
  ASSERT_EQ(last->wait(), Outcome::kResult);
  EXPECT_EQ(last->results().at(0).scores.size(), 1U);
}

TEST(Adjust, RefusesWhatOpeningRefuses) {
  const FakeModel model(1);
  const auto stream = model.stream();
  EXPECT_EQ(outcomes(*stream, 1), "r");
  stream->adjust({kAll, 0, 2});
  EXPECT_THROW(stream->adjust({0, 0, 1}), Error);
  EXPECT_THROW(stream->adjust({kAll, std::nan(""), 1}), Error);
  EXPECT_THROW(stream->adjust({kAll, 0, 0}), Error);
  EXPECT_EQ(outcomes(*stream, 3), "-r-") << "nothing changes then";
}

TEST(Adjust, MayBeCalledWhileSubmitBlocks) {
  const FakeModel model(1, 1, 0, std::chrono::milliseconds(1));
  const Batcher& batcher = model.instance->batcher();
  const auto other = model.stream();
  const auto stream = model.stream(stream_config(1));
  const auto running = occupy(model, *stream);
  // It counts again for the longest wait from the moment on in which submit begins to wait for
  // room, which there is none of.
  stream->drain();
  const Clock::duration without = batcher.longest_wait();
  std::thread blocked([&] { EXPECT_EQ(submit(*stream, 1)->wait(), Outcome::kResult); });
  while (batcher.longest_wait() == without) std::this_thread::yield();
  stream->adjust({1, 0, 1});
  model.device->forward_door.open();
  blocked.join();
  EXPECT_EQ(submit(*stream, 2)->wait(), Outcome::kResult);
}

/// Three streams of a model whose batches hold one request each.
TEST(LongestWait, LeavesOutStreamsThatHaveEnded) {
  const FakeModel model(1);
  const Batcher& batcher = model.instance->batcher();
  const auto rounds = [&] {
    EXPECT_GT(batcher.batch_duration().count(), 0);
    return batcher.longest_wait() / batcher.batch_duration();
  };
  const auto a = model.stream(), b = model.stream(), c = model.stream(stream_config(2));
  for (const auto* stream : {&a, &b, &c}) submit(**stream, 1)->wait();
  EXPECT_EQ(rounds(), 3);
  a->drain();
  EXPECT_EQ(rounds(), 2);
  const auto running = occupy(model, *b);
  const auto last = submit(*c, 2);
  c->drain();
  EXPECT_EQ(rounds(), 2) << "what it has queued still takes its turn";
  model.device->forward_door.open();
  last->wait();
  EXPECT_EQ(rounds(), 1);
  submit(*a, 3)->wait();
  EXPECT_EQ(rounds(), 2) << "it has begun anew";
  c->flush();
  EXPECT_EQ(rounds(), 2) << "a flush alone begins nothing";
}

/// A window's frames are the stream's, too, long before the window is full.
TEST(LongestWait, CountsAClipAtItsFirstFrame) {
  const FakeModel model(1, 4);
  const auto a = model.stream(), b = model.stream();
  const Batcher& batcher = model.instance->batcher();
  for (int i = 0; i < 4; ++i) submit(*a, i)->wait();
  b->drain();
  EXPECT_EQ(batcher.longest_wait(), batcher.batch_duration());
  submit(*b, 0)->wait();
  EXPECT_EQ(batcher.longest_wait(), 2 * batcher.batch_duration());
}

}  // namespace
}  // namespace tome
