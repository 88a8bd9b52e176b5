// The messages that a broker has not taken yet, and the thread that takes them there.
#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "broker_publisher.h"
#include "message_queue.h"
#include "publish_fixture.h"

namespace tome::testing {
namespace {

class Queue : public ::testing::Test {
 protected:
  std::vector<std::string> heard_;
};

TEST_F(Queue, ItsOldestMessagesGoWhenItIsFull) {
  gst::MessageQueue queue(3, "it", [this](const auto& text) { heard_.push_back(text); });
  for (const char* text : {"1", "2", "3", "4", "5"}) queue.push(text);
  EXPECT_EQ(queue.counts().dropped, 2U);
  EXPECT_EQ(queue.counts().queued, 3U);
  EXPECT_EQ(queue.take()->text, "3");
  EXPECT_EQ(heard_.size(), 1U) << "one outage";
}

TEST_F(Queue, WhatWasOnItsWayIsSentAgainInOrder) {
  gst::MessageQueue queue(3, "it", [this](const auto& text) { heard_.push_back(text); });
  for (const char* text : {"1", "2", "3"}) queue.push(text);
  const auto first = queue.take(), second = queue.take();
  queue.delivered(first->number);
  queue.give_back();
  queue.push("4");
  for (const char* text : {"2", "3", "4"}) EXPECT_EQ(queue.take()->text, text);
  EXPECT_FALSE(queue.take());
  queue.delivered(second->number);
  EXPECT_EQ(queue.counts().published, 2U);
  EXPECT_TRUE(heard_.empty());
}

TEST_F(Queue, WhatTheBrokerHangsUpAtGoesAloneAndNotAFourthTime) {
  gst::MessageQueue queue(10, "it", [this](const auto& text) { heard_.push_back(text); });
  for (const char* text : {"1", "2", "3"}) queue.push(text);
  while (queue.take()) {
  }
  queue.give_back(/*over_first=*/true);
  EXPECT_EQ(queue.take()->text, "1");
  EXPECT_FALSE(queue.take());
  queue.give_back(/*over_first=*/true);
  queue.give_back(/*over_first=*/true);  // before it was sent
  EXPECT_EQ(queue.take()->text, "1");
  EXPECT_EQ(queue.counts().lost, 0U);
  queue.give_back(/*over_first=*/true);
  EXPECT_EQ(queue.counts().lost, 1U);
  ASSERT_EQ(heard_.size(), 1U);
  EXPECT_EQ(heard_[0].rfind("It did not take a message: ", 0), 0U) << heard_[0];
  EXPECT_EQ(queue.take()->text, "2");
  EXPECT_EQ(queue.take()->text, "3");
}

TEST_F(Queue, WhatTheBrokerTakesAloneHoldsUpNoOther) {
  gst::MessageQueue queue(10, "it", [this](const auto& text) { heard_.push_back(text); });
  for (const char* text : {"1", "2", "3"}) queue.push(text);
  while (queue.take()) {
  }
  queue.give_back(/*over_first=*/true);
  queue.delivered(queue.take()->number);
  EXPECT_EQ(queue.take()->text, "2");
  EXPECT_EQ(queue.take()->text, "3");
  EXPECT_EQ(queue.counts().lost, 0U);
}

TEST_F(Queue, AnOutageIsToldOnceAndTheNextAgain) {
  gst::MessageQueue queue(
      10, "it", [this](const auto& text) { heard_.push_back(text); },
      /*calm=*/std::chrono::seconds(0));
  queue.push("1");
  queue.disconnected("gone");
  queue.disconnected("still gone");
  EXPECT_EQ(heard_, std::vector<std::string>{"It is not connected: gone"});
  queue.delivered(queue.take()->number);
  queue.disconnected("gone");
  EXPECT_EQ(heard_.size(), 2U);
}

TEST_F(Queue, WhatFailsAgainAtOnceIsTheSameOutage) {
  gst::MessageQueue queue(10, "it", [this](const auto& text) { heard_.push_back(text); });
  for (int i = 0; i < 5; ++i) {
    queue.push("1");
    queue.delivered(queue.take()->number);
    queue.disconnected("another client of this name came");
  }
  EXPECT_EQ(heard_.size(), 1U);
  queue.disconnected("it never will be", /*for_good=*/true);
  EXPECT_EQ(heard_.size(), 2U);
}

TEST_F(Queue, MessagesThatAreRefusedHideNoOutage) {
  gst::MessageQueue queue(3, "it", [this](const auto& text) { heard_.push_back(text); });
  for (int i = 0; i < 5; ++i) {
    queue.push("large");
    queue.refused(queue.take()->number, "too large");
    queue.push("small");
    queue.delivered(queue.take()->number);
  }
  EXPECT_EQ(heard_, std::vector<std::string>{"It did not take a message: too large"});
  queue.disconnected("gone");
  ASSERT_EQ(heard_.size(), 2U);
  EXPECT_EQ(heard_[1], "It is not connected: gone");
  queue.push("large");
  queue.refused(queue.take()->number, "too large");
  for (int i = 0; i < 10; ++i) queue.push("too many");
  EXPECT_EQ(heard_.size(), 2U);
}

TEST_F(Queue, AQueueThatIsFullHidesNoBrokerThatGoes) {
  gst::MessageQueue queue(3, "it", [this](const auto& text) { heard_.push_back(text); });
  for (int i = 0; i < 5; ++i) queue.push("many");
  ASSERT_EQ(heard_.size(), 1U);
  queue.delivered(queue.take()->number);
  for (int i = 0; i < 5; ++i) queue.push("many");
  for (int i = 0; i < 5; ++i) {  // and it comes and goes
    queue.disconnected("gone");
    for (int j = 0; j < 5; ++j) queue.push("many");
    queue.delivered(queue.take()->number);
    for (int j = 0; j < 5; ++j) queue.push("many");
  }
  ASSERT_EQ(heard_.size(), 2U);
  EXPECT_EQ(heard_[1], "It is not connected: gone");
}

TEST_F(Queue, ABrokerThatReturnsAndIsSlowIsToldToBe) {
  gst::MessageQueue queue(3, "it", [this](const auto& text) { heard_.push_back(text); });
  queue.disconnected("gone");
  for (int i = 0; i < 5; ++i) queue.push("many");
  EXPECT_EQ(heard_.size(), 1U) << "full because it is gone";
  queue.delivered(queue.take()->number);
  for (int i = 0; i < 5; ++i) queue.push("many");
  ASSERT_EQ(heard_.size(), 2U);
  EXPECT_NE(heard_[1].find("more slowly"), std::string::npos) << heard_[1];
}

TEST_F(Queue, ABrokerThatIsSlowAndGoesTwiceIsToldTwice) {
  gst::MessageQueue queue(
      3, "it", [this](const auto& text) { heard_.push_back(text); },
      /*calm=*/std::chrono::milliseconds(0));
  for (int i = 0; i < 6; ++i) queue.push("many");
  for (int i = 0; i < 2; ++i) {
    queue.delivered(queue.take()->number);
    for (int j = 0; j < 5; ++j) queue.push("many");
    queue.disconnected("gone");
    queue.disconnected("still gone");
  }
  EXPECT_EQ(heard_.size(), 3U);
}

TEST_F(Queue, ABrokerThatNeverCameIsOneOutage) {
  gst::MessageQueue queue(3, "it", [this](const auto& text) { heard_.push_back(text); });
  for (int i = 0; i < 5; ++i) {
    for (int j = 0; j < 5; ++j) queue.push("many");
    queue.disconnected("not there");
  }
  EXPECT_EQ(heard_.size(), 1U);
}

TEST_F(Queue, TheEndWaitsForDeliveryAndTellsWhatIsLeft) {
  gst::MessageQueue queue(10, "it", [this](const auto& text) { heard_.push_back(text); });
  queue.push("1");
  const auto message = queue.take();
  std::thread worker([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    queue.delivered(message->number);
  });
  queue.drain(std::chrono::seconds(10));
  worker.join();
  EXPECT_TRUE(heard_.empty());
  queue.push("2");
  queue.drain(std::chrono::milliseconds(1));
  ASSERT_EQ(heard_.size(), 1U);
  EXPECT_EQ(heard_[0].rfind("1 message was not delivered to it within 1 ms", 0), 0U) << heard_[0];
  queue.give_up();
  EXPECT_EQ(heard_.size(), 1U) << "told already";
  EXPECT_EQ(queue.counts().lost, 1U);
}

TEST_F(Queue, WhatComesAfterAnEndThatWasToldIsToldAtTheStop) {
  gst::MessageQueue queue(10, "it", [this](const auto& text) { heard_.push_back(text); });
  queue.push("1");
  queue.drain(std::chrono::milliseconds(1));
  queue.push("2");
  queue.give_up();
  ASSERT_EQ(heard_.size(), 2U);
  EXPECT_EQ(heard_[1], "2 messages were not delivered to it before the stop");
}

TEST_F(Queue, ABacklogThatIsWorkedOffIsNoOutage) {
  gst::MessageQueue queue(100, "it", [this](const auto& text) { heard_.push_back(text); });
  for (int i = 0; i < 10; ++i) queue.push("old");
  queue.disconnected("gone");
  std::this_thread::sleep_for(std::chrono::milliseconds(5100));
  for (int i = 0; i < 10; ++i) {
    queue.delivered(queue.take()->number);
    queue.push("new");
  }
  EXPECT_EQ(heard_.size(), 1U);
}

TEST_F(Queue, MayBeGivenUpByWhoeverIsWarned) {
  const auto given_up = std::make_shared<std::promise<void>>();
  auto done = given_up->get_future();
  // Left behind where it hangs.
  std::thread([given_up] {
    std::unique_ptr<gst::MessageQueue> queue;
    int heard = 0;
    queue = std::make_unique<gst::MessageQueue>(10, "it", [&](const auto&) {
      ++heard;
      queue->give_up();
    });
    queue->disconnected("gone");
    queue->disconnected("it never will be", /*for_good=*/true);
    EXPECT_EQ(heard, 1);
    given_up->set_value();
  }).detach();
  EXPECT_EQ(done.wait_for(std::chrono::seconds(20)), std::future_status::ready);
}

TEST_F(Queue, IsGivenUpWhileSomebodyIsBeingWarned) {
  struct Shared {
    std::promise<void> warned, given_up;
    gst::MessageQueue queue{10, "it", [this](const auto&) {
                              warned.set_value();
                              given_up.get_future().wait();
                            }};
  };
  const auto shared = std::make_shared<Shared>();
  std::thread([shared] { shared->queue.disconnected("gone"); }).detach();
  shared->warned.get_future().wait();
  EXPECT_TRUE(ends([shared] { shared->queue.give_up(); })) << "who is warned may wait for this";
  shared->given_up.set_value();
}

/// Its end takes long, as librdkafka's while a name server does not answer.
class SlowToEnd : public gst::BrokerLink {
 public:
  explicit SlowToEnd(std::atomic<bool>& ended) : ended_(ended) {}
  ~SlowToEnd() override {
    std::this_thread::sleep_for(std::chrono::seconds(4));
    ended_ = true;
  }
  void run(gst::MessageQueue& queue) override { queue.pause(std::chrono::hours(1)); }

 private:
  std::atomic<bool>& ended_;
};

TEST(BrokerPublisher, WaitsForNoLinkToEnd) {
  std::atomic<bool> ended{false};
  {
    gst::BrokerPublisher publisher(std::make_unique<SlowToEnd>(ended), {}, nullptr);
    publisher.open();
    publisher.close();
  }
  EXPECT_FALSE(ended);
  EXPECT_TRUE(comes([&] { return ended.load(); })) << "but it does";
}

/// Ends although nobody stopped it, after an outage.
class Failing : public gst::BrokerLink {
 public:
  void run(gst::MessageQueue& queue) override {
    queue.disconnected("away");
    throw std::runtime_error("no thread is left");
  }
};

TEST(BrokerPublisher, ClosedByItsOwnWarningIsNotWaitedFor) {
  struct Shared {
    std::promise<void> opened;
    std::promise<std::chrono::steady_clock::duration> closed;
    std::unique_ptr<gst::BrokerPublisher> publisher;
  };
  const auto shared = std::make_shared<Shared>();
  shared->publisher = std::make_unique<gst::BrokerPublisher>(
      std::make_unique<Failing>(), gst::PublishSettings(), [shared](const auto&) {
        shared->opened.get_future().wait();
        const auto began = std::chrono::steady_clock::now();
        shared->publisher->close();
        shared->closed.set_value(std::chrono::steady_clock::now() - began);
      });
  shared->publisher->open();
  shared->opened.set_value();
  auto closed = shared->closed.get_future();
  ASSERT_EQ(closed.wait_for(std::chrono::seconds(20)), std::future_status::ready);
  EXPECT_LT(closed.get(), std::chrono::milliseconds(250));
}

TEST(BrokerPublisher, TellsThatALinkHasEndedAlsoInAnOutage) {
  std::mutex mutex;
  std::vector<std::string> heard;
  const auto told = [&] {
    const std::scoped_lock lock(mutex);
    return heard;
  };
  gst::PublishSettings settings;
  settings.address = "a";
  gst::BrokerPublisher publisher(std::make_unique<Failing>(), settings, [&](const auto& text) {
    const std::scoped_lock lock(mutex);
    heard.push_back(text);
  });
  publisher.open();
  EXPECT_TRUE(comes([&] { return told().size() == 2; }));
  EXPECT_EQ(told(),
            (std::vector<std::string>{"The broker at 'a' is not connected: away",
                                      "The broker at 'a' is not connected: no thread is left"}));
  publisher.close();
}

}  // namespace
}  // namespace tome::testing
