// tomepublish to Kafka: a cluster that librdkafka plays in this process.
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <fstream>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "listening_port.h"
#include "publish_fixture.h"

namespace tome::testing {
namespace {

using std::chrono::steady_clock;

struct Destroy {
  void operator()(rd_kafka_t* client) const { rd_kafka_destroy(client); }
  void operator()(rd_kafka_mock_cluster_t* cluster) const {
    rd_kafka_mock_cluster_destroy(cluster);
  }
  void operator()(rd_kafka_message_t* message) const { rd_kafka_message_destroy(message); }
  void operator()(rd_kafka_topic_partition_list_t* list) const {
    rd_kafka_topic_partition_list_destroy(list);
  }
};
using Client = std::unique_ptr<rd_kafka_t, Destroy>;

Client make_client(rd_kafka_type_t type, const std::string& brokers) {
  rd_kafka_conf_t* config = rd_kafka_conf_new();
  std::array<char, 256> why{};
  rd_kafka_conf_set(config, "bootstrap.servers", brokers.c_str(), why.data(), why.size());
  if (type == RD_KAFKA_CONSUMER) {
    rd_kafka_conf_set(config, "group.id", "tests", why.data(), why.size());
  }
  rd_kafka_conf_set_log_cb(config, [](const rd_kafka_t*, int, const char*, const char*) {});
  Client client(rd_kafka_new(type, config, why.data(), why.size()));
  EXPECT_TRUE(client) << why.data();
  return client;
}

/// One broker, one topic of four partitions.
class Cluster {
 public:
  Cluster()
      : owner_(make_client(RD_KAFKA_PRODUCER, "none")),
        cluster_(rd_kafka_mock_cluster_new(owner_.get(), 1)) {
    rd_kafka_mock_topic_create(cluster_.get(), "tags", 4, 1);
  }
  std::string brokers() const { return rd_kafka_mock_cluster_bootstraps(cluster_.get()); }
  void set_up(bool up) {
    if (up) {
      rd_kafka_mock_broker_set_up(cluster_.get(), 1);
    } else {
      rd_kafka_mock_broker_set_down(cluster_.get(), 1);
    }
  }
  void fail_next(rd_kafka_resp_err_t code) {
    rd_kafka_mock_push_request_errors(cluster_.get(), /*Produce=*/0, 1, code);
  }

  /// Messages of all partitions without the time, once there are so many.
  std::vector<Json> consume(size_t number) const {
    const Client consumer = make_client(RD_KAFKA_CONSUMER, brokers());
    const std::unique_ptr<rd_kafka_topic_partition_list_t, Destroy> all(
        rd_kafka_topic_partition_list_new(4));
    for (int i = 0; i < 4; ++i) {
      rd_kafka_topic_partition_list_add(all.get(), "tags", i)->offset = RD_KAFKA_OFFSET_BEGINNING;
    }
    rd_kafka_assign(consumer.get(), all.get());
    std::vector<Json> found;
    const auto last = steady_clock::now() + std::chrono::seconds(20);
    while (found.size() < number && steady_clock::now() < last) {
      const std::unique_ptr<rd_kafka_message_t, Destroy> message(
          rd_kafka_consumer_poll(consumer.get(), 100));
      if (!message || message->err != RD_KAFKA_RESP_ERR_NO_ERROR) continue;
      found.push_back(
          Json::parse(std::string(static_cast<const char*>(message->payload), message->len)));
    }
    return found;
  }

 private:
  Client owner_;
  std::unique_ptr<rd_kafka_mock_cluster_t, Destroy> cluster_;
};

TEST(Kafka, MessagesOfAStreamArriveInOrder) {
  const Cluster cluster;
  Harness h({{"method", "kafka"},
             {"address", cluster.brokers().c_str()},
             {"topic", "tags"},
             {"stream", "door"},
             {"config", "linger.ms=1,acks=all"}},
            "tomepublish");
  h.set_caps();
  push(h, 0, 300);
  h.push_event(gst_event_new_eos());
  EXPECT_EQ(count(h, "published"), 300U);
  const auto lines = cluster.consume(300);
  expect_in_order(lines, 300);
  EXPECT_EQ(lines.at(0)["stream"], "door");
  EXPECT_TRUE(warnings(h).empty());
}

TEST(Kafka, ABrokerThatGoesAndReturnsMissesNothing) {
  Cluster cluster;
  Harness h({{"method", "kafka"},
             {"address", cluster.brokers().c_str()},
             {"topic", "tags"},
             {"config", "reconnect.backoff.max.ms=500"}},
            "tomepublish");
  h.set_caps();
  push(h, 0, 10);
  ASSERT_TRUE(comes([&] { return count(h, "published") == 10; }));
  cluster.set_up(false);
  push(h, 10, 30);
  EXPECT_TRUE(comes([&] { return h.has_message(GST_MESSAGE_WARNING); }));
  cluster.set_up(true);
  ASSERT_TRUE(comes([&] { return count(h, "published") == 30; }));
  push(h, 30, 40);
  h.push_event(gst_event_new_eos());
  expect_in_order(cluster.consume(40), 40);
  EXPECT_TRUE(warnings(h).empty()) << "one outage";
}

TEST(Kafka, AMessageThatIsRefusedIsLostAndTheNextIsNot) {
  Cluster cluster;
  Harness h({{"method", "kafka"}, {"address", cluster.brokers().c_str()}, {"topic", "tags"}},
            "tomepublish");
  h.set_caps();
  push(h, 0, 1);
  ASSERT_TRUE(comes([&] { return count(h, "published") == 1; }));
  cluster.fail_next(RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
  push(h, 1, 2);
  ASSERT_TRUE(comes([&] { return count(h, "lost") == 1; }));
  const auto heard = warnings(h);
  ASSERT_EQ(heard.size(), 1U);
  EXPECT_NE(heard[0].find("too large"), std::string::npos) << heard[0];
  push(h, 2, 3);
  EXPECT_TRUE(comes([&] { return count(h, "published") == 2; }));
}

TEST(Kafka, AnAbsentBrokerHoldsNothingUp) {
  const std::string address = "127.0.0.1:" + std::to_string(free_port());
  Harness h({{"method", "kafka"},
             {"address", address.c_str()},
             {"topic", "tags"},
             {"queue-size", "200"},
             {"drain-timeout", "300"}},
            "tomepublish");
  h.set_caps();
  const auto began = steady_clock::now();
  push(h, 0, 2000);
  EXPECT_LT(steady_clock::now() - began, std::chrono::seconds(2));
  const guint64 queued = count(h, "queued");
  EXPECT_GE(queued, 200U);
  EXPECT_LE(queued, 300U) << "up to 100 are on their way";
  EXPECT_EQ(queued + count(h, "dropped"), 2000U);
  std::this_thread::sleep_for(std::chrono::seconds(2));
  const auto heard = warnings(h);
  ASSERT_EQ(heard.size(), 1U);
  EXPECT_NE(heard[0].find(address), std::string::npos) << heard[0];
  h.push_event(gst_event_new_eos());
  EXPECT_EQ(warnings(h).size(), 1U);
  EXPECT_TRUE(ends([&] { gst_element_set_state(h.element(), GST_STATE_NULL); }));
  EXPECT_EQ(count(h, "lost"), queued);
}

class KafkaLogin : public Publish {};

/// A number as Kafka sends it.
std::string sent(unsigned value, int bytes) {
  std::string text;
  for (int i = bytes - 1; i >= 0; --i) text += static_cast<char>(value >> (8 * i) & 0xff);
  return text;
}

/// A broker that asks everybody for a password, keeps it and hangs up.
class Doorkeeper {
 public:
  Doorkeeper() : port_(8) {
    serving_ = std::jthread([this] { serve(); });
  }
  ~Doorkeeper() {
    shutdown(port_.socket_number(), SHUT_RDWR);  // ends the accept
    serving_.join();
  }
  Doorkeeper(const Doorkeeper&) = delete;
  Doorkeeper& operator=(const Doorkeeper&) = delete;

  std::string address() const { return port_.address(); }
  /// What was said last: a zero, the name, a zero, the password.
  std::string last_heard() {
    const std::scoped_lock lock(mutex_);
    return last_heard_;
  }

 private:
  void serve() {
    const int port = port_.socket_number();
    for (int caller = 0; (caller = accept(port, nullptr, nullptr)) >= 0; close(caller)) {
      while (answer(caller)) {
      }
    }
  }

  /// "" if the caller has gone.
  static std::string next_from(int caller) {
    uint32_t size = 0;
    if (recv(caller, &size, sizeof size, MSG_WAITALL) != sizeof size) return "";
    std::string text(ntohl(size), '\0');
    const ssize_t got = recv(caller, text.data(), text.size(), MSG_WAITALL);
    return got == static_cast<ssize_t>(text.size()) ? text : "";
  }

  bool answer(int caller) {
    const std::string request = next_from(caller);
    if (request.size() < 8) return false;
    const bool is_handshake = request[1] == 17, is_oldest = request[3] == 0;
    std::string text = request.substr(4, 4);  // says which it answers
    if (is_handshake) {
      text += sent(0, 2) + sent(1, 4) + sent(5, 2) + "PLAIN";
    } else if (is_oldest) {  // what it can do: send messages, tell of topics, handshakes, and this
      text += sent(0, 2) + sent(4, 4);
      for (const unsigned key : {0, 3, 17, 18}) text += sent(key, 2) + sent(0, 2) + sent(0, 2);
    } else {
      text += sent(35, 2) + sent(0, 4);  // the version is not known
    }
    text = sent(static_cast<unsigned>(text.size()), 4) + text;
    if (send(caller, text.data(), text.size(), MSG_NOSIGNAL) < 0) return false;
    if (!is_handshake) return true;
    const std::string said = next_from(caller);
    const std::scoped_lock lock(mutex_);
    if (!said.empty()) last_heard_ = said;
    return false;
  }

  ListeningPort port_;
  std::mutex mutex_;
  std::string last_heard_;
  std::jthread serving_;
};

TEST_F(KafkaLogin, ABrokerThatRefusesThePasswordHearsTheOneThatComesInItsPlace) {
  Doorkeeper broker;
  std::ofstream(file_) << "secret\n";
  Harness h({{"method", "kafka"},
             {"address", broker.address().c_str()},
             {"topic", "tags"},
             {"username", "door"},
             {"password-file", file_.c_str()},
             {"config", "reconnect.backoff.max.ms=200"}},
            "tomepublish");
  h.set_caps();
  push(h, 0, 1);
  const auto last_is = [&](const std::string& password) {
    return broker.last_heard().ends_with("door" + std::string(1, '\0') + password);
  };
  ASSERT_TRUE(comes([&] { return last_is("secret"); }));
  const std::string heard = h.error_text(nullptr, GST_MESSAGE_WARNING);
  EXPECT_NE(heard, "");
  EXPECT_EQ(heard.find("secret"), std::string::npos) << heard;
  std::ofstream(file_) << "changed\n";
  EXPECT_TRUE(comes([&] { return last_is("changed"); }));
}

}  // namespace
}  // namespace tome::testing
