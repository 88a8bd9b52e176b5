// Streams on one model, with a device that the test controls. Nothing here waits for time to pass.
#include "engine/stream.h"

#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "fake_session.h"

namespace tome {
namespace {

using testing::FakeModel;
using testing::occupy;
using testing::stream_config;
using testing::submit;
using testing::tagged_frame;
using testing::Tags;

TEST(Stream, ResultOfOneFrame) {
  const FakeModel model(1);
  const auto stream = model.stream();
  FrameOptions options;
  options.pts = 1234;
  const auto ticket = submit(*stream, 6, options);
  ASSERT_EQ(ticket->wait(), Outcome::kResult);
  ASSERT_EQ(ticket->results().size(), 1U);
  const Classification& result = ticket->results()[0];
  ASSERT_EQ(result.scores.size(), 4U);  // top 5 of 4 classes
  EXPECT_EQ(result.scores[0].id, 2);    // 6 % 4
  EXPECT_FLOAT_EQ(result.scores[0].score, 1);
  EXPECT_EQ(result.clip_start_pts, 1234);
  EXPECT_EQ(result.clip_end_pts, 1234);
  EXPECT_EQ(result.region.width, 0);
  EXPECT_EQ(result.frames, 1U);
  EXPECT_EQ(result.tokens_in, 17);
  EXPECT_EQ(result.tokens_out, 9);
  EXPECT_EQ(result.batch, 1U);
}

TEST(Stream, OneStreamFillsBatchesInOrder) {
  const FakeModel model(4);
  const auto stream = model.stream(stream_config(12));
  std::vector<std::shared_ptr<Ticket>> tickets;
  for (int i = 0; i < 12; ++i) tickets.push_back(submit(*stream, i));
  for (int i = 0; i < 12; ++i) {
    EXPECT_EQ(tickets[i]->wait(), Outcome::kResult);
    EXPECT_EQ(tickets[i]->results()[0].scores[0].id, i % 4);
    EXPECT_EQ(tickets[i]->results()[0].batch, 4U);
  }
  const auto batches = model.device->ran();
  ASSERT_EQ(batches.size(), 3U);
  EXPECT_EQ(tags(batches[2]), (Tags{8, 9, 10, 11}));
}

TEST(Stream, StreamsShareBatchesFairly) {
  const FakeModel model(4);
  const auto busy = model.stream(stream_config(8));
  const auto plug = model.stream(stream_config(1));
  const auto calm = model.stream(stream_config(1));
  const auto plugged = occupy(model, *plug);
  std::vector<std::shared_ptr<Ticket>> tickets;
  for (int i = 1; i <= 7; ++i) tickets.push_back(submit(*busy, i));
  tickets.push_back(submit(*calm, 100));
  model.device->forward_door.open();
  for (const auto& ticket : tickets) ticket->wait();
  const auto batches = model.device->ran();
  // The calm stream came last and is in the first batch all the same.
  EXPECT_EQ(tags(batches.at(1)), (Tags{1, 100, 2, 3}));
  EXPECT_EQ(tags(batches.at(2)), (Tags{4, 5, 6, 7}));
}

TEST(Stream, APartOfABatchStartsAfterTheTimeout) {
  const FakeModel model(8, 1, 20);
  const auto stream = model.stream(stream_config(8));
  const auto started = Clock::now();
  const auto ticket = submit(*stream, 1);
  EXPECT_EQ(ticket->wait(), Outcome::kResult);
  EXPECT_GE(Clock::now() - started, std::chrono::milliseconds(20));
}

TEST(Stream, AnIdleStreamDelaysNobody) {
  const FakeModel model(8);  // with a timeout of an hour
  const auto idle = model.stream();
  const auto active = model.stream(stream_config(3));
  std::vector<std::shared_ptr<Ticket>> tickets;
  for (int i = 0; i < 3; ++i) tickets.push_back(submit(*active, i));
  for (const auto& ticket : tickets) EXPECT_EQ(ticket->wait(), Outcome::kResult);
}

TEST(Stream, ADrainedStreamIsNotWaitedFor) {
  const FakeModel model(8);
  const auto stream = model.stream(stream_config(8));
  const auto ticket = submit(*stream, 1);
  EXPECT_EQ(stream->drain(), nullptr);
  EXPECT_EQ(ticket->wait(), Outcome::kResult);
}

TEST(Stream, AHurriedStreamDoesNotWaitUntilItSubmitsAgain) {
  const FakeModel model(3);
  const auto stream = model.stream(stream_config(8));
  const auto first = submit(*stream, 1);
  stream->hurry();
  EXPECT_EQ(first->wait(), Outcome::kResult);
  const auto second = submit(*stream, 2);
  const auto third = submit(*stream, 3);
  const auto fourth = submit(*stream, 0);
  EXPECT_EQ(fourth->wait(), Outcome::kResult);
  EXPECT_EQ(fourth->results()[0].batch, 3U);
}

TEST(Stream, AClosedStreamIsNotWaitedFor) {
  const FakeModel model(8);
  const auto stream = model.stream(stream_config(2));
  auto other = model.stream(stream_config(8));
  const auto lost = submit(*other, 5);
  const auto first = submit(*stream, 1);
  const auto second = submit(*stream, 2);
  other.reset();
  EXPECT_EQ(lost->wait(), Outcome::kCancelled);
  EXPECT_EQ(first->wait(), Outcome::kResult);
  EXPECT_EQ(second->wait(), Outcome::kResult);
}

TEST(Stream, SubmitBlocksAtMaxPendingUntilATicketIsReady) {
  const FakeModel model(1);
  const auto stream = model.stream(stream_config(2));
  const auto first = occupy(model, *stream);
  const auto second = submit(*stream, 1);
  std::atomic<bool> opened = false;
  auto third = std::async(std::launch::async, [&] {
    const auto ticket = submit(*stream, 2);
    EXPECT_TRUE(opened) << "submit returned with two tickets pending";
    return ticket;
  });
  opened = true;
  model.device->forward_door.open();
  EXPECT_EQ(third.get()->wait(), Outcome::kResult);
  EXPECT_EQ(first->wait(), Outcome::kResult);
  EXPECT_EQ(second->wait(), Outcome::kResult);
}

TEST(Stream, FlushWakesWaitersWhileAForwardRuns) {
  const FakeModel model(1);
  const auto stream = model.stream(stream_config(3));
  const auto running = occupy(model, *stream);
  const auto queued = submit(*stream, 1);
  auto waiter = std::async(std::launch::async, [&] { return queued->wait(); });
  auto runner = std::async(std::launch::async, [&] { return running->wait(); });
  stream->flush();
  EXPECT_EQ(waiter.get(), Outcome::kCancelled);
  EXPECT_EQ(runner.get(), Outcome::kCancelled);  // though its forward has not returned
  model.device->forward_door.open();
  EXPECT_EQ(submit(*stream, 2)->wait(), Outcome::kResult);
}

TEST(Stream, FlushUnblocksSubmit) {
  const FakeModel model(1);
  const auto stream = model.stream(stream_config(1));
  const auto running = occupy(model, *stream);
  auto blocked = std::async(std::launch::async, [&] { return submit(*stream, 1); });
  // The forward does not return before the end, so that only a flush can end this wait: the one
  // that finds submit blocked, or, if it came too early for that, by the room that it made.
  stream->flush();
  const auto ticket = blocked.get();
  EXPECT_EQ(running->wait(), Outcome::kCancelled);
  model.device->forward_door.open();
  EXPECT_NE(ticket->wait(), Outcome::kFailed);
}

TEST(Stream, FlushedStreamDoesNotDelayAnother) {
  const FakeModel model(2);
  const auto flushed = model.stream(stream_config(4));
  const auto other = model.stream(stream_config(1));
  const auto lost = submit(*flushed, 1);
  flushed->flush();
  EXPECT_EQ(lost->wait(), Outcome::kCancelled);
  EXPECT_EQ(submit(*other, 2)->wait(), Outcome::kResult);
}

TEST(Stream, PixelsAreReleasedBeforeTheTicketIsReady) {
  const FakeModel model(1);
  const auto stream = model.stream(stream_config(2));
  const auto released = std::make_shared<std::atomic<int>>(0);
  model.device->forward_door.shut();
  const auto ticket = stream->submit(tagged_frame(1, released), {});
  model.device->forward_door.wait_arrivals(1);
  EXPECT_EQ(*released, 1) << "as soon as they have been read, before the forward is over";
  model.device->forward_door.open();
  ticket->wait();
  EXPECT_EQ(*released, 1);
}

TEST(Stream, CancellingWhilePixelsAreReadWaitsForThem) {
  const FakeModel model(1);
  const auto stream = model.stream(stream_config(2));
  const auto released = std::make_shared<std::atomic<int>>(0);
  model.device->preprocess_door.shut();
  const auto ticket = stream->submit(tagged_frame(1, released), {});
  model.device->preprocess_door.wait_arrivals(1);
  stream->flush();
  EXPECT_FALSE(ticket->ready());
  EXPECT_EQ(*released, 0);
  model.device->preprocess_door.open();
  EXPECT_EQ(ticket->wait(), Outcome::kCancelled);
  EXPECT_EQ(*released, 1);
  EXPECT_TRUE(model.device->ran().empty()) << "a cancelled request needs no forward";
}

TEST(Stream, IntervalPerStream) {
  const FakeModel model(1);
  StreamConfig config;
  config.inference_interval = 3;
  const auto stream = model.stream(config);
  std::vector<Outcome> outcomes;
  for (int i = 0; i < 7; ++i) outcomes.push_back(submit(*stream, i)->wait());
  const auto r = Outcome::kResult;
  const auto n = Outcome::kNone;
  EXPECT_EQ(outcomes, (std::vector{r, n, n, r, n, n, r}));
  submit(*stream, 7)->wait();
  stream->flush();
  EXPECT_EQ(submit(*stream, 8)->wait(), r) << "the first frame after a flush is due";
}

TEST(Stream, SkippedFramesCountForTheInterval) {
  const FakeModel model(1);
  StreamConfig config;
  config.inference_interval = 2;
  const auto stream = model.stream(config);
  FrameOptions skip;
  skip.no_inference = true;
  const auto released = std::make_shared<std::atomic<int>>(0);
  const auto ticket = stream->submit(tagged_frame(0, released), skip);
  EXPECT_TRUE(ticket->ready());
  EXPECT_EQ(*released, 1);
  EXPECT_EQ(ticket->wait(), Outcome::kSkipped);
  EXPECT_EQ(submit(*stream, 1, skip)->wait(), Outcome::kNone) << "it was not due anyway";
  EXPECT_EQ(submit(*stream, 2)->wait(), Outcome::kResult);
}

TEST(Stream, LateRequestsAreSkippedWhenTheirBatchForms) {
  const FakeModel model(1);
  const auto stream = model.stream(stream_config(4));
  const auto first = occupy(model, *stream);
  FrameOptions soon;
  soon.deadline = Clock::now() + std::chrono::milliseconds(50);
  const auto late = submit(*stream, 1, soon);
  const auto patient = submit(*stream, 2);
  while (Clock::now() < *soon.deadline) std::this_thread::yield();
  EXPECT_FALSE(late->ready());
  model.device->forward_door.open();
  EXPECT_EQ(late->wait(), Outcome::kSkipped);
  EXPECT_EQ(patient->wait(), Outcome::kResult);
  FrameOptions past;
  past.deadline = Clock::now();
  EXPECT_EQ(submit(*stream, 3, past)->wait(), Outcome::kSkipped);
  EXPECT_EQ(model.device->preprocessed, (Tags{0, 2})) << "late frames cost nothing";
}

TEST(Stream, OverloadSkipsWhatANewerFrameMakesSuperfluous) {
  const FakeModel model(1);
  const auto stream = model.stream(stream_config(4));
  const auto first = occupy(model, *stream);
  FrameOptions live;
  live.deadline = Clock::now() + std::chrono::hours(1);
  const auto released = std::make_shared<std::atomic<int>>(0);
  const auto second = submit(*stream, 1, live);
  const auto older = stream->submit(tagged_frame(2, released), live);
  const auto newest = submit(*stream, 3, live);
  model.device->forward_door.open();
  EXPECT_EQ(second->wait(), Outcome::kResult) << "the first batch that leaves something behind";
  EXPECT_EQ(older->wait(), Outcome::kSkipped);
  EXPECT_EQ(*released, 1);
  EXPECT_EQ(newest->wait(), Outcome::kResult);
  EXPECT_EQ(model.device->preprocessed, (Tags{0, 1, 3}));
}

TEST(Stream, ABadFrameFailsAlone) {
  const FakeModel model(3);
  model.device->bad_frames = {7};
  const auto stream = model.stream(stream_config(3));
  const auto released = std::make_shared<std::atomic<int>>(0);
  const auto good = submit(*stream, 1);
  const auto bad = stream->submit(tagged_frame(7, released), {});
  const auto also_good = submit(*stream, 2);
  EXPECT_EQ(bad->wait(), Outcome::kFailed);
  EXPECT_EQ(*released, 1);
  EXPECT_EQ(bad->error_kind(), ErrorKind::kFormat);
  EXPECT_EQ(bad->error_text(), "a bad frame");
  EXPECT_EQ(good->wait(), Outcome::kResult);
  EXPECT_EQ(also_good->wait(), Outcome::kResult);
  EXPECT_EQ(also_good->results()[0].batch, 2U);
}

TEST(Stream, AFailedForwardFailsItsBatchOnly) {
  const FakeModel model(1);
  model.device->bad_requests = {7};
  const auto stream = model.stream();
  const auto bad = submit(*stream, 7);
  EXPECT_EQ(bad->wait(), Outcome::kFailed);
  EXPECT_EQ(bad->error_text(), "a bad forward");
  EXPECT_EQ(submit(*stream, 1)->wait(), Outcome::kResult);
}

TEST(Stream, ABatchTooLargeForTheMemoryIsHalved) {
  const FakeModel model(8);
  model.device->most_in_memory = 3;
  const auto stream = model.stream(stream_config(8));
  std::vector<std::shared_ptr<Ticket>> tickets;
  for (int i = 0; i < 8; ++i) tickets.push_back(submit(*stream, i));
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(tickets[i]->wait(), Outcome::kResult);
    EXPECT_EQ(tickets[i]->results()[0].scores[0].id, i % 4);
    EXPECT_EQ(tickets[i]->results()[0].batch, 2U);
  }
  // What does not fit is not tried again with the next batch.
  const int before = model.device->forward_door.arrivals();
  tickets.clear();
  for (int i = 0; i < 8; ++i) tickets.push_back(submit(*stream, i));
  for (const auto& ticket : tickets) EXPECT_EQ(ticket->wait(), Outcome::kResult);
  EXPECT_EQ(model.device->forward_door.arrivals(), before + 4);
  model.device->most_in_memory = 0;
  std::vector<std::shared_ptr<Ticket>> hopeless;
  for (int i = 0; i < 8; ++i) hopeless.push_back(submit(*stream, i));
  for (const auto& ticket : hopeless) {
    EXPECT_EQ(ticket->wait(), Outcome::kFailed);
    EXPECT_EQ(ticket->error_kind(), ErrorKind::kOutOfMemory);
  }
}

TEST(Stream, APreprocessingTooLargeForTheMemoryIsHalved) {
  const FakeModel model(8);
  model.device->most_staged = 3;
  const auto stream = model.stream(stream_config(8));
  for (const int tried : {2 + 4, 4}) {  // what does not fit is not tried with the next batch
    const int before = model.device->preprocess_door.arrivals();
    std::vector<std::shared_ptr<Ticket>> tickets;
    for (int i = 0; i < 8; ++i) tickets.push_back(submit(*stream, i));
    for (int i = 0; i < 8; ++i) {
      ASSERT_EQ(tickets[i]->wait(), Outcome::kResult) << tickets[i]->error_text();
      EXPECT_EQ(tickets[i]->results()[0].scores[0].id, i % 4);
      EXPECT_EQ(tickets[i]->results()[0].batch, 2U);
    }
    EXPECT_EQ(model.device->preprocess_door.arrivals(), before + tried);
  }
  model.device->most_staged = 0;
  std::vector<std::shared_ptr<Ticket>> hopeless;
  for (int i = 0; i < 8; ++i) hopeless.push_back(submit(*stream, i));
  for (const auto& ticket : hopeless) {
    EXPECT_EQ(ticket->wait(), Outcome::kFailed);
    EXPECT_EQ(ticket->error_kind(), ErrorKind::kOutOfMemory);
  }
}

/// Pixels of the parts to come are not read any more, and are let go before the ticket is ready.
TEST(Stream, WhatFailsInOnePartOfABatchIsTakenOutOfTheNext) {
  const FakeModel model(4);
  model.device->most_staged = 2;
  model.device->bad_requests = {7};
  const auto stream = model.stream(stream_config(2));
  const auto released = std::make_shared<std::atomic<int>>(0);
  FrameOptions options;
  options.regions = {{0, 0, 2, 2}, {2, 0, 2, 2}, {4, 0, 2, 2}};
  const auto bad = stream->submit(tagged_frame(7, released), options);
  const auto good = submit(*stream, 1);
  EXPECT_EQ(bad->wait(), Outcome::kFailed);
  EXPECT_EQ(released->load(), 1);
  EXPECT_EQ(good->wait(), Outcome::kResult);
  EXPECT_EQ(model.device->preprocessed, (Tags{7, 7, 1}));
}

TEST(Stream, WhatIsFlushedIsTakenOutOfTheNextPartOfItsBatch) {
  const FakeModel model(4);
  model.device->most_staged = 2;
  const auto plug = model.stream(stream_config(1));
  const auto other = model.stream(stream_config(1));
  const auto stream = model.stream(stream_config(1));
  const auto released = std::make_shared<std::atomic<int>>(0);
  FrameOptions options;
  options.regions = {{0, 0, 2, 2}, {2, 0, 2, 2}, {4, 0, 2, 2}};
  const auto plugged = occupy(model, *plug);
  const auto kept = submit(*other, 1);
  const auto flushed = stream->submit(tagged_frame(7, released), options);
  model.device->preprocess_door.shut();
  model.device->forward_door.open();
  model.device->preprocess_door.wait_arrivals(2);
  model.device->forward_door.shut();
  model.device->preprocess_door.open();
  model.device->forward_door.wait_arrivals(2);
  stream->flush();
  model.device->forward_door.open();
  EXPECT_EQ(flushed->wait(), Outcome::kCancelled);
  EXPECT_EQ(released->load(), 1);
  EXPECT_EQ(kept->wait(), Outcome::kResult);
  EXPECT_EQ(model.device->preprocessed, (Tags{0, 1, 7}));
}

TEST(Stream, RefusesSettingsAndFramesThatMakeNoSense) {
  const FakeModel model(1);
  const auto refuses = [&](auto change) {
    StreamConfig config;
    change(config);
    EXPECT_THROW(model.stream(config), Error);
  };
  refuses([](StreamConfig& config) { config.top_k = 0; });
  refuses([](StreamConfig& config) { config.frame_stride = 0; });
  refuses([](StreamConfig& config) { config.inference_interval = 0; });
  refuses([](StreamConfig& config) { config.smoothing = 1; });
  refuses([](StreamConfig& config) { config.smoothing = -0.1; });
  refuses([](StreamConfig& config) { config.threshold = std::nan(""); });
  refuses([](StreamConfig& config) { config.schedule = "x"; });
  const auto stream = model.stream();
  Frame empty = tagged_frame(1);
  empty.width = 0;
  EXPECT_THROW(stream->submit(empty, {}), Error);
  Frame no_pixels = tagged_frame(1);
  no_pixels.format = PixelFormat::kI420;
  EXPECT_THROW(stream->submit(no_pixels, {}), Error);
  EXPECT_EQ(submit(*stream, 1)->wait(), Outcome::kResult) << "the stream goes on";
}

TEST(Stream, ClosingWaitsForWhatRuns) {
  const FakeModel model(1);
  auto stream = model.stream();
  const auto running = occupy(model, *stream);
  std::atomic<bool> opened = false;
  auto closing = std::async(std::launch::async, [&] {
    stream.reset();
    EXPECT_TRUE(opened) << "closed while its request was running";
  });
  EXPECT_EQ(running->wait(), Outcome::kCancelled) << "the ticket need not wait";
  opened = true;
  model.device->forward_door.open();
  closing.get();
}

TEST(Stream, ManyStreamsComeAndGoWhileOthersRun) {
  const FakeModel model(4, 1, 1);
  std::vector<std::future<int>> users;
  for (int user = 0; user < 4; ++user) {
    users.push_back(std::async(std::launch::async, [&model, user] {
      int results = 0;
      for (int round = 0; round < 50; ++round) {
        const auto stream = model.stream(stream_config(3));
        std::vector<std::shared_ptr<Ticket>> tickets;
        for (int i = 0; i < 5; ++i) tickets.push_back(submit(*stream, user * 5 + i));
        if (round % 3 == 1) stream->flush();
        if (round % 3 == 2) continue;  // closed with tickets pending
        for (const auto& ticket : tickets) results += ticket->wait() == Outcome::kResult;
      }
      return results;
    }));
  }
  for (auto& user : users) EXPECT_GE(user.get(), 17 * 5);  // of every third round all
}

}  // namespace
}  // namespace tome
