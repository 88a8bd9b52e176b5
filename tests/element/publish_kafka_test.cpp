// tomepublish to Kafka: a cluster that librdkafka plays in this process.
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include <array>
#include <memory>

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

void push(Harness& h, int from, int to) {
  for (int i = from; i < to; ++i) ASSERT_EQ(h.push(fresh_frame(i)), GST_FLOW_OK);
}

void expect_in_order(const std::vector<Json>& lines, int number) {
  ASSERT_EQ(lines.size(), static_cast<size_t>(number));
  for (int i = 0; i < number; ++i) EXPECT_NEAR(lines[i]["pts"], 0.1 * i, 1e-6);
}

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

}  // namespace
}  // namespace tome::testing
