// Messages to an MQTT broker, with libmosquitto.
#include <mosquitto.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <unordered_map>
#include <utility>

#include "broker_publisher.h"
#include "broker_settings.h"

namespace tome::gst {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr uint16_t kMqttPort = 1883, kTlsPort = 8883;
constexpr int kKeepAlive = 15;  // s; after twice that a broker that is silent is gone
constexpr seconds kLongestGreeting{10};
constexpr milliseconds kFirstDelay{500}, kLongestDelay{10000};
static_assert(MessageQueue::kCalm > 2 * kLongestDelay);

struct MqttSettings : PublishSettings {
  BrokerAddress broker;
  PasswordFile password;
};

/// @param error  errno, where the library says no more than that the system failed
std::string text_of(int code, int error = errno) {
  // For which the library has no words.
  if (code == MOSQ_ERR_KEEPALIVE) return "no answer for " + std::to_string(2 * kKeepAlive) + " s";
  return code == MOSQ_ERR_ERRNO ? std::generic_category().message(error) : mosquitto_strerror(code);
}

/// Whether TLS failed; the library has two ways to say so, by when it happens.
bool is_tls_failure(int code, int error) {
  return code == MOSQ_ERR_TLS || (code == MOSQ_ERR_ERRNO && error == EPROTO);
}

/// Whether the other end hung up: within a message, or under TLS, the library says so otherwise.
bool is_hang_up(int code, int error) {
  return code == MOSQ_ERR_CONN_LOST || is_tls_failure(code, error) ||
         (code == MOSQ_ERR_ERRNO && error == EPIPE);
}

/// For a key that is encrypted; OpenSSL would ask at the terminal, if there is one.
int no_passphrase(char*, int, int, void*) { return 0; }

// Note [Connecting to nobody]
// Where packets vanish, as behind a cable that was pulled, connect() waits for two minutes, and
// looks ever more seldom, in the end once in a minute: a broker that is back is found so much
// later. The library can begin to connect, and not wait, but tries only the first address of a name
// then. So it does that where there is no other; of several (IPv6 and IPv4) the first may be dead
// for good. Until the broker has answered, the library's own watch is not asked: it counts from
// before the connection, and would end one that took long. Nor is, with TLS, whether it wants to
// write, which it then says all the time: it writes what it has to after each read.

/// @return what is wrong; "" if nothing
std::string count_addresses(const std::string& host, int* count) {
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_STREAM;  // else each comes once for each kind
  addrinfo* found = nullptr;
  const int code = ::getaddrinfo(host.c_str(), nullptr, &wanted, &found);
  if (code == EAI_SYSTEM) return std::generic_category().message(errno);
  if (code != 0) return ::gai_strerror(code);
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) ++*count;
  ::freeaddrinfo(found);
  return "";
}

/// One connection, from its begin to its end.
class MqttSession {
 public:
  MqttSession(const MqttSettings& settings, MessageQueue& queue);

  /// Delivers messages until the connection ends. @return why it did; "" if the queue is stopping
  std::string run();
  /// Whether the broker took a message, and the connection lasted.
  bool went_well() const {
    return delivered_ && steady_clock::now() - accepted_at_ >= MessageQueue::kCalm;
  }
  /// Whether the broker hung up, and has taken no message before.
  bool brought_nothing() const { return accepted_ && !delivered_ && hung_up_; }

 private:
  struct Destroy {
    void operator()(mosquitto* client) const { mosquitto_destroy(client); }
  };

  static void on_connect(mosquitto* client, void* self, int code);
  static void on_publish(mosquitto* client, void* self, int id);
  static void on_log(mosquitto* client, void* self, int level, const char* text);
  std::string set_up();
  int connect();
  int see_whether_connected();
  bool wants_to_write() const;
  int send_waiting();
  int send(const Message& message);
  int exchange_packets();

  const MqttSettings& settings_;
  MessageQueue& queue_;
  std::unique_ptr<mosquitto, Destroy> client_;
  bool connected_ = false, accepted_ = false, delivered_ = false, hung_up_ = false;
  steady_clock::time_point accepted_at_{};
  std::string refusal_;  // why not to go on, by the broker or by set_up()
  std::string logged_;   // errors
  // Message numbers by the library's identifiers; the one that is being sent may arrive before its
  // sending returns.
  std::unordered_map<int, uint64_t> numbers_;
  int sending_ = 0;
  uint64_t sending_number_ = 0;
};

MqttSession::MqttSession(const MqttSettings& settings, MessageQueue& queue)
    : settings_(settings), queue_(queue) {
  const char* id = settings.client_id.empty() ? nullptr : settings.client_id.c_str();
  client_.reset(mosquitto_new(id, true, this));
  if (!client_) throw std::system_error(errno, std::generic_category(), "mosquitto_new");
  refusal_ = set_up();
}

/// @return what is wrong with the settings now; they were checked, but files come and go. A session
///   goes no further then: it would go on without TLS, and send the password in the clear.
std::string MqttSession::set_up() {
  mosquitto* client = client_.get();
  mosquitto_connect_callback_set(client, on_connect);
  mosquitto_publish_callback_set(client, on_publish);
  mosquitto_log_callback_set(client, on_log);
  if (!settings_.username.empty()) {
    const std::string& password = settings_.password.password();
    const int code = mosquitto_username_pw_set(client, settings_.username.c_str(),
                                               password.empty() ? nullptr : password.c_str());
    if (code != MOSQ_ERR_SUCCESS) return "username: " + text_of(code);
  }
  if (!settings_.ca_file.empty()) {
    const bool shows = !settings_.cert_file.empty();
    const int code = mosquitto_tls_set(client, settings_.ca_file.c_str(), nullptr,
                                       shows ? settings_.cert_file.c_str() : nullptr,
                                       shows ? settings_.key_file.c_str() : nullptr, no_passphrase);
    if (code != MOSQ_ERR_SUCCESS) {
      return "TLS with the certificates in ca-file, cert-file and key-file is not to be had: " +
             text_of(code);
    }
  }
  return "";
}

std::string MqttSession::run() {
  if (!refusal_.empty()) return refusal_;
  int code = connect();
  const auto began = steady_clock::now();
  while (code == MOSQ_ERR_SUCCESS && refusal_.empty()) {
    if (queue_.stopping()) {
      mosquitto_disconnect(client_.get());
      return "";
    }
    if (!accepted_ && steady_clock::now() - began > kLongestGreeting) {
      return "no answer for " + std::to_string(kLongestGreeting.count()) + " s";
    }
    code = exchange_packets();
    if (code == MOSQ_ERR_SUCCESS && accepted_) code = send_waiting();
  }
  const int error = errno;
  hung_up_ = is_hang_up(code, error);
  if (!refusal_.empty()) return refusal_;
  if (is_tls_failure(code, error)) {
    // What is wrong, a certificate that nobody here trusts, say, is told in the log alone.
    if (!logged_.empty()) return logged_;
    // It tries to begin with TLS before it is connected.
    if (!connected_) return text_of(MOSQ_ERR_ERRNO, ECONNREFUSED);
  }
  return text_of(code, error);
}

/// See Note [Connecting to nobody].
int MqttSession::connect() {
  int addresses = 0;
  refusal_ = count_addresses(settings_.broker.host, &addresses);
  if (!refusal_.empty()) return MOSQ_ERR_EAI;
  errno = 0;
  const auto begin = addresses == 1 ? mosquitto_connect_async : mosquitto_connect;
  return begin(client_.get(), settings_.broker.host.c_str(), settings_.broker.port, kKeepAlive);
}

/// To be called once its socket has something to tell.
int MqttSession::see_whether_connected() {
  const int number = mosquitto_socket(client_.get());
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(number, SOL_SOCKET, SO_ERROR, &error, &size);
  sockaddr_storage peer{};
  size = sizeof peer;
  // An attempt to begin with TLS takes the error, and the library tells nobody.
  if (error == 0 && ::getpeername(number, reinterpret_cast<sockaddr*>(&peer), &size) != 0) {
    error = errno == ENOTCONN ? ECONNREFUSED : errno;
  }
  errno = error;
  if (error != 0) return MOSQ_ERR_ERRNO;
  connected_ = true;
  return mosquitto_loop_read(client_.get(), 1);  // which begins with TLS
}

/// See Note [Connecting to nobody].
bool MqttSession::wants_to_write() const {
  if (!connected_) return true;
  return mosquitto_want_write(client_.get()) && (accepted_ || settings_.ca_file.empty());
}

/// Waits for the broker, a new message or a second, and does what there is to do.
int MqttSession::exchange_packets() {
  mosquitto* client = client_.get();
  const short wanted = wants_to_write() ? POLLIN | POLLOUT : POLLIN;
  std::array<pollfd, 2> both = {pollfd{mosquitto_socket(client), wanted, 0},
                                pollfd{queue_.wake_up().descriptor(), POLLIN, 0}};
  ::poll(both.data(), both.size(), 1000);
  queue_.wake_up().clear();
  errno = 0;
  if (!connected_) return both[0].revents == 0 ? MOSQ_ERR_SUCCESS : see_whether_connected();
  int code = MOSQ_ERR_SUCCESS;
  if ((both[0].revents & (POLLIN | POLLHUP | POLLERR)) != 0) code = mosquitto_loop_read(client, 1);
  if (code == MOSQ_ERR_SUCCESS && mosquitto_want_write(client)) {
    code = mosquitto_loop_write(client, 1);
  }
  return code == MOSQ_ERR_SUCCESS && accepted_ ? mosquitto_loop_misc(client) : code;
}

int MqttSession::send_waiting() {
  while (auto message = queue_.take()) {
    const int code = send(*message);
    if (code != MOSQ_ERR_SUCCESS) return code;
  }
  return MOSQ_ERR_SUCCESS;
}

int MqttSession::send(const Message& message) {
  sending_number_ = message.number;
  sending_ = 0;
  const int code = mosquitto_publish(client_.get(), &sending_, settings_.topic.c_str(),
                                     static_cast<int>(message.text.size()), message.text.data(),
                                     static_cast<int>(settings_.qos),
                                     /*retain=*/false);
  if (code == MOSQ_ERR_PAYLOAD_SIZE || code == MOSQ_ERR_OVERSIZE_PACKET) {
    queue_.refused(message.number, text_of(code));
    return MOSQ_ERR_SUCCESS;
  }
  if (code == MOSQ_ERR_SUCCESS && sending_number_ != 0) numbers_[sending_] = message.number;
  return code;
}

void MqttSession::on_connect(mosquitto*, void* self, int code) {
  auto* session = static_cast<MqttSession*>(self);
  session->accepted_ = code == 0;
  session->accepted_at_ = steady_clock::now();
  if (code != 0) session->refusal_ = mosquitto_connack_string(code);
}

void MqttSession::on_publish(mosquitto*, void* self, int id) {
  auto* session = static_cast<MqttSession*>(self);
  session->delivered_ = true;
  const auto known = session->numbers_.find(id);
  if (known != session->numbers_.end()) {
    session->queue_.delivered(known->second);
    session->numbers_.erase(known);
  } else if (id == session->sending_) {
    session->queue_.delivered(std::exchange(session->sending_number_, 0));
  }
}

void MqttSession::on_log(mosquitto*, void* self, int level, const char* text) {
  if (level != MOSQ_LOG_ERR) return;
  std::string& logged = static_cast<MqttSession*>(self)->logged_;
  logged += (logged.empty() ? "" : "; ") + std::string(text);
}

class MqttLink : public BrokerLink {
 public:
  explicit MqttLink(MqttSettings settings) : settings_(std::move(settings)) {}

  void run(MessageQueue& queue) override {
    milliseconds delay = kFirstDelay;
    while (!queue.stopping()) {
      settings_.password.refresh();
      MqttSession session(settings_, queue);
      const std::string why = session.run();
      if (why.empty()) return;
      queue.disconnected(why);
      queue.give_back(session.brought_nothing());
      // Not where it is only let in: some brokers close the connection at the first message, and
      // all do when another client of this name comes.
      if (session.went_well()) delay = kFirstDelay;
      if (queue.pause(delay)) return;
      delay = std::min(2 * delay, kLongestDelay);
    }
  }

 private:
  MqttSettings settings_;
};

[[noreturn]] void refuse(const char* property, const std::string& found, const char* expected) {
  throw PublishError(GST_RESOURCE_ERROR_SETTINGS,
                     std::string(property) + ": found '" + found + "', expected " + expected);
}

/// What MQTT takes for a text; the library itself says so at each connection or message only.
void check_text(const char* property, const std::string& text) {
  expect_at_most(65535, property, text);
  if (mosquitto_validate_utf8(text.data(), static_cast<int>(text.size())) != MOSQ_ERR_SUCCESS) {
    refuse(property, text, "UTF-8 without control characters");
  }
}

}  // namespace

std::unique_ptr<BrokerLink> make_mqtt_link(const PublishSettings& settings) {
  // Never undone: others in this process may use the library too.
  static std::once_flag once;
  std::call_once(once, mosquitto_lib_init);
  check_text("client-id", settings.client_id);
  check_text("username", settings.username);
  check_text("topic", settings.topic);
  const BrokerAddress broker =
      parse_address(settings.address, settings.ca_file.empty() ? kMqttPort : kTlsPort);
  if (settings.topic.empty() ||
      mosquitto_pub_topic_check(settings.topic.c_str()) != MOSQ_ERR_SUCCESS) {
    refuse("topic", settings.topic, "an MQTT topic without the wildcards + and #");
  }
  return std::make_unique<MqttLink>(
      MqttSettings{settings, broker, PasswordFile(settings.password_file)});
}

}  // namespace tome::gst
