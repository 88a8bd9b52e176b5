// tomepublish: what its settings mean, and what it says of those that make no sense.
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>

#include "broker_settings.h"
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

TEST_F(Password, HasNoMoreBytesThanMqttCanSay) {
  std::ofstream(file_) << std::string(65535, 'a') << "\n";
  gst::PasswordFile password(file_);
  EXPECT_EQ(password.password().size(), 65535U);
  std::ofstream(file_) << std::string(65536, 'b') << "\n";
  EXPECT_FALSE(password.refresh());
  EXPECT_THROW(gst::PasswordFile{file_}, gst::PublishError);
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

/// The error of a tomepublish with one more property, which may be no UTF-8; "" if it starts.
[[maybe_unused]] std::string error_with(const LoneElement::Properties& properties, const char* name,
                                        const std::string& value) {
  LoneElement e(properties, "tomepublish");
  g_object_set(e.element(), name, value.c_str(), nullptr);
  const bool starts = e.set_state(GST_STATE_PAUSED);
  const std::string text = starts ? "" : e.error_text();
  EXPECT_EQ(starts, text.empty());
  EXPECT_TRUE(g_utf8_validate(text.c_str(), -1, nullptr));
  return text;
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

TEST(BrokerSettings, TextsThatMqttDoesNotTake) {
  const std::string longest(65535, 'a');
  for (const char* property : {"client-id", "username", "topic"}) {
    const auto error = [&](const std::string& text) {
      return error_with({{"method", "mqtt"}, {"address", "127.0.0.1:1"}, {"topic", "t"}}, property,
                        text);
    };
    const std::string name = property;
    for (const char* text : {"\xff", "a\x01z"}) {
      EXPECT_NE(error(text).find(name + ": found '"), std::string::npos) << text;
    }
    EXPECT_EQ(error(longest + "a"), name + ": found 65536 bytes, expected at most 65535");
    EXPECT_EQ(error(longest), "");
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

TEST(BrokerSettings, TextsThatAreTooLongForKafka) {
  const LoneElement::Properties properties = {
      {"method", "kafka"}, {"address", "127.0.0.1:1"}, {"topic", "t"}};
  EXPECT_EQ(error_with(properties, "client-id", std::string(32767, 'a')), "");
  EXPECT_EQ(error_with(properties, "client-id", std::string(32768, 'a')),
            "client-id: found 32768 bytes, expected at most 32767");
  EXPECT_EQ(error_with(properties, "topic", std::string(249, 'a')), "");
  EXPECT_EQ(error_with(properties, "topic", std::string(250, 'a')),
            "topic: found 250 bytes, expected at most 249");
}
#else
TEST(BrokerSettings, KafkaWasNotBuiltIn) {
  expect_error(
      {{{"method", "kafka"}, {"address", "a"}, {"topic", "t"}}, {"found kafka", "without"}});
}
#endif

}  // namespace
}  // namespace tome::testing
