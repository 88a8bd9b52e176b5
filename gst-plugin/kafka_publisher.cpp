// Messages to Kafka, with librdkafka.
#include <librdkafka/rdkafka.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "broker_publisher.h"
#include "broker_settings.h"

GST_DEBUG_CATEGORY_STATIC(tome_kafka_debug);
#define GST_CAT_DEFAULT tome_kafka_debug

namespace tome::gst {
namespace {

using std::chrono::steady_clock;

constexpr uint16_t kKafkaPort = 9092;
constexpr int kPause = 1000;  // ms
constexpr std::chrono::seconds kBetweenLooks{1};

struct FreeConfig {
  void operator()(rd_kafka_conf_t* config) const { rd_kafka_conf_destroy(config); }
};
using Config = std::unique_ptr<rd_kafka_conf_t, FreeConfig>;

struct FreeProducer {
  void operator()(rd_kafka_t* producer) const { rd_kafka_destroy(producer); }
};
struct FreeQueue {
  void operator()(rd_kafka_queue_t* queue) const { rd_kafka_queue_destroy(queue); }
};

/// Who the producer is at the broker; without a name nobody.
struct User {
  std::string name;
  PasswordFile password;
};

class KafkaLink : public BrokerLink {
 public:
  /// @param settings of them the topic, and the stream, which is the key of all messages, so that
  ///   one partition gets them and keeps their order
  /// @param user whose password may change while it runs
  KafkaLink(Config config, const PublishSettings& settings, User user);

  void run(MessageQueue& queue) override;

 private:
  static void on_delivery(rd_kafka_t*, const rd_kafka_message_t* message, void* self);
  static void on_error(rd_kafka_t*, int code, const char* reason, void* self);
  void look_for_password();
  void send_waiting();
  void send(const Message& message);

  const std::string topic_, key_;
  User user_;
  std::unique_ptr<rd_kafka_t, FreeProducer> producer_;
  MessageQueue* queue_ = nullptr;  // while run() runs
  std::string last_error_;
  bool user_refused_ = false;
  steady_clock::time_point next_look_{};  // at the password
};

/// librdkafka would print to stderr.
void log(const rd_kafka_t*, int level, const char* facility, const char* text) {
  if (level <= 4) {
    GST_INFO("%s: %s", facility, text);
  } else {
    GST_DEBUG("%s: %s", facility, text);
  }
}

KafkaLink::KafkaLink(Config config, const PublishSettings& settings, User user)
    : topic_(settings.topic), key_(settings.stream_name), user_(std::move(user)) {
  rd_kafka_conf_set_opaque(config.get(), this);
  rd_kafka_conf_set_dr_msg_cb(config.get(), on_delivery);
  rd_kafka_conf_set_error_cb(config.get(), on_error);
  rd_kafka_conf_set_log_cb(config.get(), log);
  std::array<char, 512> why{};
  producer_.reset(rd_kafka_new(RD_KAFKA_PRODUCER, config.get(), why.data(), why.size()));
  if (!producer_)
    refuse_settings(std::string("Kafka's settings do not fit together: ") + why.data());
  static_cast<void>(config.release());  // the producer's now
}

void KafkaLink::run(MessageQueue& queue) {
  queue_ = &queue;
  const std::unique_ptr<rd_kafka_queue_t, FreeQueue> reports(
      rd_kafka_queue_get_main(producer_.get()));
  const uint64_t one = 1;
  const int wake_up = queue.wake_up().descriptor();
  rd_kafka_queue_io_event_enable(reports.get(), wake_up, &one, sizeof one);
  while (!queue.stopping()) {
    send_waiting();
    queue.wake_up().wait(kPause);
    queue.wake_up().clear();
    rd_kafka_poll(producer_.get(), 0);
    if (user_refused_) look_for_password();
  }
  rd_kafka_queue_io_event_enable(reports.get(), -1, nullptr, 0);
  queue_ = nullptr;
}

/// The library connects again by itself, with the password that it has then, but does not tell each
/// time that it was refused. The file is not read after every message: some lie on a network.
void KafkaLink::look_for_password() {
#if RD_KAFKA_VERSION >= 0x02000000
  const auto now = steady_clock::now();
  if (now < next_look_) return;
  next_look_ = now + kBetweenLooks;
  if (!user_.password.refresh()) return;
  rd_kafka_error_t* error = rd_kafka_sasl_set_credentials(producer_.get(), user_.name.c_str(),
                                                          user_.password.password().c_str());
  if (error == nullptr) return;
  GST_WARNING("the new password was not set: %s", rd_kafka_error_string(error));
  rd_kafka_error_destroy(error);
#endif
}

void KafkaLink::send_waiting() {
  while (const auto message = queue_->take()) send(*message);
}

void KafkaLink::send(const Message& message) {
  // The library's own queue holds far more than the messages on their way, so it is never full.
  // It copies the text, and const is lost on its macros.
  const rd_kafka_resp_err_t code = rd_kafka_producev(
      producer_.get(), RD_KAFKA_V_TOPIC(topic_.c_str()), RD_KAFKA_V_KEY(key_.data(), key_.size()),
      RD_KAFKA_V_VALUE(const_cast<char*>(message.text.data()), message.text.size()),
      RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
      RD_KAFKA_V_OPAQUE(reinterpret_cast<void*>(static_cast<uintptr_t>(message.number))),
      RD_KAFKA_V_END);
  if (code != RD_KAFKA_RESP_ERR_NO_ERROR) queue_->refused(message.number, rd_kafka_err2str(code));
}

void KafkaLink::on_delivery(rd_kafka_t*, const rd_kafka_message_t* message, void* self) {
  auto* link = static_cast<KafkaLink*>(self);
  MessageQueue* queue = link->queue_;
  if (queue == nullptr) return;
  const auto number = static_cast<uint64_t>(reinterpret_cast<uintptr_t>(message->_private));
  if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
    link->user_refused_ = false;
    queue->delivered(number);
  } else {
    queue->refused(number, rd_kafka_err2str(message->err));
  }
}

void KafkaLink::on_error(rd_kafka_t*, int code, const char* reason, void* self) {
  auto* link = static_cast<KafkaLink*>(self);
  GST_INFO("%s: %s", rd_kafka_err2name(static_cast<rd_kafka_resp_err_t>(code)), reason);
  if (link->queue_ == nullptr) return;
  switch (code) {
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:  // says how many, and the one before it why
      link->queue_->disconnected(link->last_error_.empty() ? reason : link->last_error_);
      break;
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
      link->user_refused_ = true;
      link->queue_->disconnected(reason);
      break;
    case RD_KAFKA_RESP_ERR__SSL:
      link->queue_->disconnected(reason);
      break;
    case RD_KAFKA_RESP_ERR__FATAL:
      link->queue_->disconnected(reason, /*for_good=*/true);
      break;
    default:
      link->last_error_ = reason;
  }
}

void set(rd_kafka_conf_t* config, const std::string& name, const std::string& value) {
  std::array<char, 512> why{};
  const auto result =
      rd_kafka_conf_set(config, name.c_str(), value.c_str(), why.data(), why.size());
  if (result == RD_KAFKA_CONF_OK) return;
  // The value may be a secret.
  refuse_settings("config: found '" + name +
                  "', expected a setting of librdkafka and a value for it: " + why.data());
}

/// What the properties say, in librdkafka's words; `config` may say otherwise.
void set_defaults(rd_kafka_conf_t* config, const PublishSettings& settings, const User& user) {
  // Or a message that is sent again would come behind later ones.
  set(config, "max.in.flight.requests.per.connection", "1");
  if (!settings.client_id.empty()) set(config, "client.id", settings.client_id);
  const bool tls = !settings.ca_file.empty(), sasl = !user.name.empty();
  if (tls) set(config, "ssl.ca.location", settings.ca_file);
  if (!settings.cert_file.empty()) {
    set(config, "ssl.certificate.location", settings.cert_file);
    set(config, "ssl.key.location", settings.key_file);
  }
  if (sasl) {
    set(config, "sasl.mechanisms", "PLAIN");
    set(config, "sasl.username", user.name);
    set(config, "sasl.password", user.password.password());
  }
  if (tls || sasl) {
    set(config, "security.protocol", sasl ? (tls ? "sasl_ssl" : "sasl_plaintext") : "ssl");
  }
}

void check_topic(const std::string& topic) {
  const auto allowed = [](char c) {
    return g_ascii_isalnum(c) != FALSE || c == '.' || c == '_' || c == '-';
  };
  expect_at_most(249, "topic", topic);
  if (!topic.empty() && std::all_of(topic.begin(), topic.end(), allowed)) return;
  refuse_settings("topic: found '" + topic +
                  "', expected a Kafka topic: up to 249 of a-z, A-Z, 0-9, ., _, -");
}

/// librdkafka takes any, but never connects with one whose length Kafka cannot say.
void check_client_id(const std::string& id) { expect_at_most(32767, "client-id", id); }

}  // namespace

std::unique_ptr<BrokerLink> make_kafka_link(const PublishSettings& settings) {
  GST_DEBUG_CATEGORY_INIT(tome_kafka_debug, "tomepublish-kafka", 0, "What librdkafka says");
  std::string brokers;
  for (const auto& [host, port] : parse_addresses(settings.address, kKafkaPort)) {
    const bool is_ipv6 = host.find(':') != std::string::npos;
    brokers += (brokers.empty() ? "" : ",") + (is_ipv6 ? "[" + host + "]" : host) + ":" +
               std::to_string(port);
  }
  check_topic(settings.topic);
  check_client_id(settings.client_id);
  Config config(rd_kafka_conf_new());
  User user{settings.username, PasswordFile(settings.password_file)};
  set_defaults(config.get(), settings, user);
  for (const auto& [name, value] : parse_config(settings.config)) {
    set(config.get(), name, value);
    if (name == "sasl.username") user.name = value;
    if (name == "sasl.password") user.password = PasswordFile();
  }
  set(config.get(), "bootstrap.servers", brokers);
  // Each message's fate is counted.
  set(config.get(), "delivery.report.only.error", "false");
  return std::make_unique<KafkaLink>(std::move(config), settings, std::move(user));
}

}  // namespace tome::gst
