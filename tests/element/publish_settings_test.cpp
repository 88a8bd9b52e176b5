// tomepublish: what its settings mean, and what it says of those that make no sense.
#include <unistd.h>

#include <array>
#include <atomic>
#include <filesystem>
#include <fstream>

#include "broker_publisher.h"
#include "broker_settings.h"
#include "message_queue.h"
#include "publish_backend.h"
#include "publish_fixture.h"

namespace tome::testing {
namespace {

using gst::parse_address;
using gst::parse_config;

TEST(BrokerSettings, Addresses) {
  EXPECT_EQ(parse_address("broker", 1883).host, "broker");
  EXPECT_EQ(parse_address("broker", 1883).port, 1883);
  EXPECT_EQ(parse_address("10.0.0.1:99", 1883).port, 99);
  EXPECT_EQ(parse_address("[fe80::1%eth0]", 1883).host, "fe80::1%eth0");
  EXPECT_EQ(parse_address("[::1]:99", 1883).port, 99);
  EXPECT_EQ(gst::parse_addresses("a,b:7", 9092).size(), 2U);
  for (const char* bad : {"", ":1", "a:", "a:0", "a:65536", "a:x", "a:1x", "a b", "tcp://a", "[::1",
                          "[]:1", "[::1]9"}) {
    EXPECT_THROW(parse_address(bad, 1), gst::PublishError) << bad;
  }
  for (const char* bad : {"", ",", "a,", "a,,b", "a,b:0"}) {
    EXPECT_THROW(gst::parse_addresses(bad, 1), gst::PublishError) << bad;
  }
}

TEST(BrokerSettings, ConfigOfSeveralValues) {
  using Pairs = std::vector<std::pair<std::string, std::string>>;
  EXPECT_EQ(parse_config(""), Pairs());
  EXPECT_EQ(parse_config("a=1,debug=broker,topic,b=x=y,c="),
            (Pairs{{"a", "1"}, {"debug", "broker,topic"}, {"b", "x=y"}, {"c", ""}}));
  for (const char* bad : {"a", "=1", "a=1,=2"}) {
    EXPECT_THROW(parse_config(bad), gst::PublishError) << bad;
  }
}

class Password : public Publish {};

TEST_F(Password, IsReadAgainFromAFileWhereItIsOne) {
  std::ofstream(file_) << "secret\r\nand more\n";
  gst::PasswordFile password(file_);
  EXPECT_EQ(password.password(), "secret");
  EXPECT_FALSE(password.refresh());
  std::ofstream(file_) << "changed\n";
  EXPECT_TRUE(password.refresh());
  EXPECT_EQ(password.password(), "changed");
  std::ofstream(file_) << "";
  EXPECT_FALSE(password.refresh()) << "half written";
  std::filesystem::remove(file_);
  EXPECT_FALSE(password.refresh());
  EXPECT_EQ(password.password(), "changed");
  EXPECT_FALSE(gst::PasswordFile().refresh());
}

TEST_F(Password, ThatIsHalfWrittenIsNotTaken) {
  std::ofstream(file_) << "secret\n";
  gst::PasswordFile password(file_);
  std::ofstream(file_) << "chan";
  EXPECT_FALSE(password.refresh());
  EXPECT_EQ(password.password(), "secret");
  std::ofstream(file_) << "changed\n";
  EXPECT_TRUE(password.refresh());
  EXPECT_EQ(password.password(), "changed");
}

TEST_F(Password, WithoutANewlineIsTakenOnceItStays) {
  std::ofstream(file_) << "secret";
  gst::PasswordFile password(file_);
  EXPECT_EQ(password.password(), "secret");
  for (const char* part : {"cha", "", "cha", "changed"}) {
    std::ofstream(file_) << part;
    EXPECT_FALSE(password.refresh()) << part;
    EXPECT_EQ(password.password(), "secret");
  }
  EXPECT_TRUE(password.refresh());
  EXPECT_EQ(password.password(), "changed");
  EXPECT_FALSE(password.refresh());
}

TEST_F(Password, IsReadFromAPipeOnce) {
  std::array<int, 2> ends{};
  ASSERT_EQ(pipe(ends.data()), 0);
  ASSERT_EQ(write(ends[1], "secret\n", 7), 7);
  close(ends[1]);
  gst::PasswordFile password("/dev/fd/" + std::to_string(ends[0]));
  EXPECT_EQ(password.password(), "secret");
  EXPECT_FALSE(password.refresh());
  EXPECT_EQ(password.password(), "secret");
  close(ends[0]);
}

struct Mistake {
  std::vector<std::pair<const char*, const char*>> properties;
  std::vector<std::string> words;  // in the error
};

void expect_error(const Mistake& mistake) {
  LoneElement e({}, "tomepublish");
  std::string described;
  for (const auto& [name, value] : mistake.properties) {
    gst_util_set_object_arg(G_OBJECT(e.element()), name, value);
    described += std::string(name) + "=" + value + " ";
  }
  EXPECT_FALSE(e.set_state(GST_STATE_PAUSED)) << described;
  GError* error = nullptr;
  const std::string text = e.error_text(&error);
  const Ptr<GError> owned(error);
  EXPECT_TRUE(g_error_matches(error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS)) << described;
  for (const auto& word : mistake.words) {
    EXPECT_NE(text.find(word), std::string::npos) << described << ": " << text;
  }
}

TEST(BrokerSettings, WhatAnotherMethodHasIsAnError) {
  for (const Mistake& mistake : std::vector<Mistake>{
           {{{"address", "localhost"}}, {"address", "found 'localhost'", "method=mqtt or kafka"}},
           {{{"topic", "tags"}}, {"topic", "method=mqtt or kafka"}},
           {{{"method", "mqtt"}, {"location", "/tmp/x"}}, {"location", "method=file"}},
           {{{"queue-size", "7"}}, {"queue-size", "found '7'", "method=mqtt or kafka"}},
           {{{"drain-timeout", "0"}}, {"drain-timeout", "found '0'", "method=mqtt or kafka"}},
           {{{"mqtt-qos", "0"}}, {"mqtt-qos", "found '0'", "method=mqtt only"}},
           {{{"method", "kafka"}, {"mqtt-qos", "2"}},
            {"mqtt-qos", "found '2'", "method=mqtt only"}},
           {{{"method", "kafka"}, {"append", "true"}}, {"append", "method=file"}},
           {{{"method", "mqtt"}, {"config", "a=b"}}, {"config", "method=kafka"}},
           {{{"method", "mqtt"}, {"password-file", "/dev/null"}}, {"username"}},
           {{{"method", "mqtt"}, {"ca-file", "/nonexistent"}}, {"ca-file", "/nonexistent"}},
           {{{"cert-file", "/dev/null"}}, {"cert-file", "method=mqtt or kafka"}},
           {{{"method", "mqtt"}, {"cert-file", "/dev/null"}}, {"cert-file", "a key-file"}},
           {{{"method", "mqtt"}, {"key-file", "/dev/null"}}, {"key-file", "a cert-file"}},
           {{{"method", "mqtt"}, {"cert-file", "/dev/null"}, {"key-file", "/dev/null"}},
            {"cert-file", "a ca-file"}},
           {{{"method", "mqtt"},
             {"ca-file", "/dev/null"},
             {"cert-file", "/dev/null"},
             {"key-file", "/nonexistent"}},
            {"key-file: found '/nonexistent'"}},
       }) {
    expect_error(mistake);
  }
}

#ifdef TOME_HAVE_MQTT
TEST(BrokerSettings, MistakesOfMqtt) {
  for (const Mistake& mistake : std::vector<Mistake>{
           {{{"method", "mqtt"}, {"topic", "t"}}, {"address: found none", "expected host"}},
           {{{"method", "mqtt"}, {"address", "mqtt://a"}, {"topic", "t"}}, {"found 'mqtt://a'"}},
           {{{"method", "mqtt"}, {"address", "a"}}, {"topic: found ''", "MQTT topic"}},
           {{{"method", "mqtt"}, {"address", "a"}, {"topic", "a/#"}}, {"found 'a/#'"}},
           {{{"method", "mqtt"},
             {"address", "a"},
             {"topic", "t"},
             {"username", "u"},
             {"password-file", "/nonexistent"}},
            {"password-file: cannot read '/nonexistent'", "No such file"}},
           {{{"method", "mqtt"},
             {"address", "a"},
             {"topic", "t"},
             {"username", "u"},
             {"password-file", "/dev/null"}},
            {"'/dev/null' is empty"}},
       }) {
    expect_error(mistake);
  }
}
#else
TEST(BrokerSettings, MqttWasNotBuiltIn) {
  expect_error({{{"method", "mqtt"}, {"address", "a"}, {"topic", "t"}}, {"found mqtt", "without"}});
}
#endif

#ifdef TOME_HAVE_KAFKA
TEST(BrokerSettings, MistakesOfKafka) {
  for (const Mistake& mistake : std::vector<Mistake>{
           {{{"method", "kafka"}, {"address", "a,b:0"}, {"topic", "t"}}, {"found 'b:0'"}},
           {{{"method", "kafka"}, {"address", "a"}, {"topic", "a/b"}}, {"found 'a/b'", "Kafka"}},
           {{{"method", "kafka"}, {"address", "a"}, {"topic", "t"}, {"config", "no.such=1"}},
            {"found 'no.such'", "expected a setting of librdkafka"}},
           {{{"method", "kafka"}, {"address", "a"}, {"topic", "t"}, {"config", "acks=many"}},
            {"found 'acks'"}},
           {{{"method", "kafka"},
             {"address", "a"},
             {"topic", "t"},
             {"config", "security.protocol=ssl,ssl.ca.location=/nonexistent"}},
            {"ssl.ca.location"}},
           {{{"method", "kafka"},
             {"address", "a"},
             {"topic", "t"},
             {"ca-file", "/dev/null"},
             {"cert-file", "/dev/null"},
             {"key-file", "/dev/null"},
             {"config", "ssl.ca.location=probe"}},
            {"ssl.certificate.location"}},
       }) {
    expect_error(mistake);
  }
}
#else
TEST(BrokerSettings, KafkaWasNotBuiltIn) {
  expect_error(
      {{{"method", "kafka"}, {"address", "a"}, {"topic", "t"}}, {"found kafka", "without"}});
}
#endif

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

}  // namespace
}  // namespace tome::testing
