// tomepublish to a real MQTT broker, mosquitto, which each test starts for itself.
#include <mosquitto.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>
#include <vector>

#include "mosquitto_broker.h"
#include "publish_fixture.h"

namespace tome::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// Keeps what arrives at a topic, through restarts of the broker.
class Subscriber {
 public:
  Subscriber(int port, const char* user = nullptr, const char* password = nullptr)
      : client_(mosquitto_new("subscriber", /*clean_session=*/false, this)) {
    mosquitto_connect_callback_set(client_.get(), [](mosquitto* client, void*, int) {
      mosquitto_subscribe(client, nullptr, "cameras/door", 1);
    });
    mosquitto_subscribe_callback_set(client_.get(),
                                     [](mosquitto*, void* self, int, int, const int*) {
                                       static_cast<Subscriber*>(self)->ready_ = true;
                                     });
    mosquitto_message_callback_set(client_.get(),
                                   [](mosquitto*, void* self, const mosquitto_message* message) {
                                     static_cast<Subscriber*>(self)->keep(message);
                                   });
    mosquitto_reconnect_delay_set(client_.get(), 1, 1, false);
    if (user != nullptr) mosquitto_username_pw_set(client_.get(), user, password);
    mosquitto_connect(client_.get(), "127.0.0.1", port, 60);
    mosquitto_loop_start(client_.get());
    EXPECT_TRUE(comes([this] { return ready_.load(); }));
  }
  ~Subscriber() {
    mosquitto_disconnect(client_.get());
    mosquitto_loop_stop(client_.get(), false);
  }
  Subscriber(const Subscriber&) = delete;
  Subscriber& operator=(const Subscriber&) = delete;

  /// Messages without the time, once there are so many.
  std::vector<Json> wait_for(size_t number) {
    EXPECT_TRUE(comes([&] { return messages().size() >= number; })) << messages().size();
    return messages();
  }
  /// The same, each once: the broker delivers again what it was not told had arrived.
  std::vector<Json> wait_for_distinct(size_t number) {
    const auto distinct = [this] {
      std::vector<Json> found;
      for (auto& line : messages()) {
        if (std::find(found.begin(), found.end(), line) == found.end()) found.push_back(line);
      }
      return found;
    };
    EXPECT_TRUE(comes([&] { return distinct().size() >= number; })) << distinct().size();
    return distinct();
  }

 private:
  struct Destroy {
    void operator()(mosquitto* client) const { mosquitto_destroy(client); }
  };

  std::vector<Json> messages() {
    const std::scoped_lock lock(mutex_);
    return messages_;
  }
  void keep(const mosquitto_message* message) {
    Json line = Json::parse(std::string(static_cast<const char*>(message->payload),
                                        static_cast<size_t>(message->payloadlen)));
    line.erase("time");
    const std::scoped_lock lock(mutex_);
    messages_.push_back(std::move(line));
  }

  std::atomic<bool> ready_ = false;
  std::mutex mutex_;
  std::vector<Json> messages_;
  std::unique_ptr<mosquitto, Destroy> client_;
};

class Mqtt : public ::testing::Test {
 protected:
  void SetUp() override {
    mosquitto_lib_init();
    if (!MosquittoBroker::is_here()) GTEST_SKIP() << "no mosquitto here";
  }
};

/// Plays frames [from, to).
void push(Harness& h, int from, int to) {
  for (int i = from; i < to; ++i) ASSERT_EQ(h.push(fresh_frame(i)), GST_FLOW_OK);
}

void expect_in_order(const std::vector<Json>& lines, int number) {
  ASSERT_EQ(lines.size(), static_cast<size_t>(number));
  for (int i = 0; i < number; ++i) EXPECT_NEAR(lines[i]["pts"], 0.1 * i, 1e-6);
}

constexpr const char* kTopic = "cameras/door";

TEST_F(Mqtt, EveryLineArrivesAsInTheFile) {
  for (const char* qos : {"0", "1", "2"}) {
    SCOPED_TRACE(std::string("qos ") + qos);
    MosquittoBroker broker;
    Subscriber subscriber(broker.port());
    const auto file = broker.folder() / "lines";
    Harness h({{"method", "mqtt"},
               {"address", broker.address().c_str()},
               {"topic", kTopic},
               {"mqtt-qos", qos},
               {"stream", "door"}},
              "tomepublish");
    Harness same({{"location", file.c_str()}, {"stream", "door"}}, "tomepublish");
    for (Harness* each : {&h, &same}) {
      each->set_caps();
      push(*each, 0, 300);
      each->push_event(gst_event_new_eos());
    }
    EXPECT_EQ(count(h, "published"), 300U);
    EXPECT_EQ(count(h, "dropped") + count(h, "lost") + count(h, "queued"), 0U);
    const auto arrived = subscriber.wait_for(300);
    std::ifstream in(file);
    std::vector<Json> written;
    for (std::string line; std::getline(in, line);) {
      written.push_back(Json::parse(line));
      written.back().erase("time");
    }
    EXPECT_EQ(arrived, written);
    EXPECT_TRUE(warnings(h).empty());
  }
}

TEST_F(Mqtt, ABrokerThatRestartsMissesNothing) {
  MosquittoBroker broker;
  Subscriber subscriber(broker.port());
  Harness h({{"method", "mqtt"}, {"address", broker.address().c_str()}, {"topic", kTopic}},
            "tomepublish");
  h.set_caps();
  push(h, 0, 10);
  ASSERT_TRUE(comes([&] { return count(h, "published") == 10; }));
  broker.stop();
  push(h, 10, 30);
  EXPECT_TRUE(comes([&] { return h.has_message(GST_MESSAGE_WARNING); }));
  broker.start();
  ASSERT_TRUE(comes([&] { return count(h, "published") == 30; }));
  push(h, 30, 40);
  h.push_event(gst_event_new_eos());
  expect_in_order(subscriber.wait_for_distinct(40), 40);
  EXPECT_TRUE(warnings(h).empty()) << "one outage";
  EXPECT_EQ(count(h, "dropped") + count(h, "lost"), 0U);
}

TEST_F(Mqtt, AnAbsentBrokerHoldsNothingUp) {
  const std::string address = "127.0.0.1:" + std::to_string(free_port());
  Harness h(
      {{"method", "mqtt"}, {"address", address.c_str()}, {"topic", kTopic}, {"queue-size", "100"}},
      "tomepublish");
  h.set_caps();
  const auto began = steady_clock::now();
  push(h, 0, 2000);
  EXPECT_LT(steady_clock::now() - began, std::chrono::seconds(2));
  ASSERT_TRUE(comes([&] { return count(h, "queued") == 100; }));
  EXPECT_EQ(count(h, "dropped"), 1900U);
  // Through several attempts to connect.
  std::this_thread::sleep_for(std::chrono::seconds(2));
  const auto heard = warnings(h);
  ASSERT_EQ(heard.size(), 1U);
  EXPECT_NE(heard[0].find(address), std::string::npos) << heard[0];
  EXPECT_TRUE(ends([&] { gst_element_set_state(h.element(), GST_STATE_NULL); }));
  EXPECT_EQ(count(h, "lost"), 100U);
  EXPECT_EQ(count(h, "queued"), 0U);
}

TEST_F(Mqtt, TheEndWaitsForAnAbsentBrokerAsLongAsItIsTold) {
  const std::string address = "127.0.0.1:" + std::to_string(free_port());
  Harness h({{"method", "mqtt"},
             {"address", address.c_str()},
             {"topic", kTopic},
             {"drain-timeout", "300"}},
            "tomepublish");
  h.set_caps();
  push(h, 0, 5);
  ASSERT_TRUE(comes([&] { return h.has_message(GST_MESSAGE_WARNING); }));
  const auto began = steady_clock::now();
  h.push_event(gst_event_new_eos());
  EXPECT_GE(steady_clock::now() - began, milliseconds(300));
  EXPECT_LT(steady_clock::now() - began, milliseconds(2000));
  const auto heard = warnings(h);
  ASSERT_EQ(heard.size(), 1U);
  EXPECT_EQ(heard[0].rfind("5 messages were not delivered", 0), 0U) << heard[0];
}

TEST_F(Mqtt, TheWaitAtTheEndEndsWithTheElement) {
  const std::string address = "127.0.0.1:" + std::to_string(free_port());
  Harness h({{"method", "mqtt"},
             {"address", address.c_str()},
             {"topic", kTopic},
             {"drain-timeout", "60000"}},
            "tomepublish");
  h.set_caps();
  push(h, 0, 5);
  std::jthread streaming([&] { h.push_event(gst_event_new_eos()); });
  std::this_thread::sleep_for(milliseconds(100));
  ASSERT_TRUE(ends([&] { gst_element_set_state(h.element(), GST_STATE_NULL); }));
  streaming.join();
}

/// A port of this machine's own, on which somebody listens.
class ListeningPort {
 public:
  explicit ListeningPort(int waiting) : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
    address_.sin_family = AF_INET;
    address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto* any = reinterpret_cast<sockaddr*>(&address_);
    socklen_t size = sizeof address_;
    bind(socket_, any, size);
    listen(socket_, waiting);
    getsockname(socket_, any, &size);
  }
  ~ListeningPort() { close(socket_); }
  ListeningPort(const ListeningPort&) = delete;
  ListeningPort& operator=(const ListeningPort&) = delete;

  int socket_number() const { return socket_; }
  const sockaddr_in& where() const { return address_; }
  std::string address() const { return "127.0.0.1:" + std::to_string(ntohs(address_.sin_port)); }

 private:
  sockaddr_in address_{};
  int socket_;
};

/// A port whose queue of connections is full: nobody accepts, and nobody refuses.
class SilentPort {
 public:
  SilentPort() : port_(0) {
    for (int& caller : callers_) {
      caller = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
      [[maybe_unused]] const int connected =
          connect(caller, reinterpret_cast<const sockaddr*>(&port_.where()), sizeof port_.where());
    }
  }
  ~SilentPort() {
    for (const int caller : callers_) close(caller);
  }
  SilentPort(const SilentPort&) = delete;
  SilentPort& operator=(const SilentPort&) = delete;
  std::string address() const { return port_.address(); }

 private:
  ListeningPort port_;
  std::array<int, 8> callers_{};
};

TEST_F(Mqtt, ABrokerThatNeverAnswersIsLeftAtOnce) {
  const SilentPort silent;
  Harness h({{"method", "mqtt"}, {"address", silent.address().c_str()}, {"topic", kTopic}},
            "tomepublish");
  h.set_caps();
  push(h, 0, 10);
  std::this_thread::sleep_for(milliseconds(200));
  EXPECT_TRUE(ends([&] { gst_element_set_state(h.element(), GST_STATE_NULL); }));
  EXPECT_EQ(count(h, "lost"), 10U);
}

/// A broker that lets everybody in, and closes the connection when the first message comes.
class RudeBroker {
 public:
  RudeBroker() : port_(8) {
    serving_ = std::jthread([this] { serve(); });
  }
  ~RudeBroker() {
    shutdown(port_.socket_number(), SHUT_RDWR);  // ends the accept
    serving_.join();
  }
  RudeBroker(const RudeBroker&) = delete;
  RudeBroker& operator=(const RudeBroker&) = delete;

  std::string address() const { return port_.address(); }
  std::vector<steady_clock::time_point> callers() {
    const std::scoped_lock lock(mutex_);
    return callers_;
  }

 private:
  void serve() {
    const int port = port_.socket_number();
    for (int caller = 0; (caller = accept(port, nullptr, nullptr)) >= 0; close(caller)) {
      {
        const std::scoped_lock lock(mutex_);
        callers_.push_back(steady_clock::now());
      }
      const std::array<unsigned char, 4> welcome = {0x20, 2, 0, 0};
      std::array<char, 1024> packet{};
      if (read(caller, packet.data(), packet.size()) <= 0) continue;
      if (write(caller, welcome.data(), welcome.size()) <= 0) continue;
      [[maybe_unused]] const auto message = read(caller, packet.data(), packet.size());
    }
  }

  ListeningPort port_;
  std::mutex mutex_;
  std::vector<steady_clock::time_point> callers_;
  std::jthread serving_;
};

TEST_F(Mqtt, ABrokerThatTakesNoMessageIsCalledLessAndLess) {
  RudeBroker broker;
  Harness h({{"method", "mqtt"}, {"address", broker.address().c_str()}, {"topic", kTopic}},
            "tomepublish");
  h.set_caps();
  push(h, 0, 1);
  ASSERT_TRUE(comes([&] { return broker.callers().size() == 4; }));
  const auto callers = broker.callers();
  EXPECT_GT(callers[3] - callers[2], milliseconds(1500)) << "after 0.5 s and 1 s it is 2 s";
  EXPECT_EQ(warnings(h).size(), 1U);
}

TEST_F(Mqtt, AUserHasAPassword) {
  MosquittoBroker broker("door", "secret");
  Subscriber subscriber(broker.port(), "door", "secret");
  const auto right = broker.folder() / "right", wrong = broker.folder() / "wrong";
  std::ofstream(right) << "secret\n";
  std::ofstream(wrong) << "guess\n";
  {
    Harness h({{"method", "mqtt"},
               {"address", broker.address().c_str()},
               {"topic", kTopic},
               {"username", "door"},
               {"password-file", wrong.c_str()}},
              "tomepublish");
    h.set_caps();
    push(h, 0, 10);
    const std::string heard = h.error_text(nullptr, GST_MESSAGE_WARNING);
    EXPECT_NE(heard.find("not auth"), std::string::npos) << heard;
    EXPECT_EQ(heard.find("guess"), std::string::npos) << heard;
    EXPECT_EQ(count(h, "published"), 0U);
  }
  Harness h({{"method", "mqtt"},
             {"address", broker.address().c_str()},
             {"topic", kTopic},
             {"username", "door"},
             {"password-file", right.c_str()}},
            "tomepublish");
  h.set_caps();
  push(h, 0, 10);
  h.push_event(gst_event_new_eos());
  expect_in_order(subscriber.wait_for(10), 10);
}

/// Plays ten frames: either all arrive, or none does and a warning says why.
void expect_taken(Harness& h, bool taken) {
  h.set_caps();
  push(h, 0, 10);
  if (taken) {
    EXPECT_TRUE(comes([&] { return count(h, "published") == 10; }));
    EXPECT_TRUE(warnings(h).empty());
  } else {
    EXPECT_NE(h.error_text(nullptr, GST_MESSAGE_WARNING), "");
    EXPECT_EQ(count(h, "published"), 0U);
  }
}

TEST_F(Mqtt, TlsTrustsTheGivenCertificatesOnly) {
  const auto made = MosquittoBroker::with_tls();
  if (!made) GTEST_SKIP() << "no openssl here";
  const std::string address = "localhost:" + std::to_string(made->tls_port());
  for (const char* ca : {"ca.pem", "other.pem"}) {
    const auto file = made->folder() / ca;
    Harness h({{"method", "mqtt"},
               {"address", address.c_str()},
               {"topic", kTopic},
               {"ca-file", file.c_str()},
               {"drain-timeout", "500"}},
              "tomepublish");
    expect_taken(h, std::string(ca) == "ca.pem");
  }
}

TEST_F(Mqtt, ABrokerThatKnowsItsClientsTakesTheirCertificateOnly) {
  const auto made = MosquittoBroker::with_tls(/*clients_known=*/true);
  if (!made) GTEST_SKIP() << "no openssl here";
  const std::string address = "localhost:" + std::to_string(made->tls_port());
  const std::string ca = made->folder() / "ca.pem";
  for (const std::string name : {"client", "other"}) {
    const std::string cert = made->folder() / (name + ".pem");
    const std::string key = made->folder() / (name + ".key");
    Harness h({{"method", "mqtt"},
               {"address", address.c_str()},
               {"topic", kTopic},
               {"ca-file", ca.c_str()},
               {"cert-file", cert.c_str()},
               {"key-file", key.c_str()},
               {"drain-timeout", "500"}},
              "tomepublish");
    expect_taken(h, name == "client");
  }
}

/// A broker without TLS that keeps the first byte of each caller and hangs up.
class Eavesdropper {
 public:
  Eavesdropper() : port_(8) {
    serving_ = std::jthread([this] { serve(); });
  }
  ~Eavesdropper() {
    shutdown(port_.socket_number(), SHUT_RDWR);  // ends the accept
    serving_.join();
  }
  Eavesdropper(const Eavesdropper&) = delete;
  Eavesdropper& operator=(const Eavesdropper&) = delete;

  std::string address() const { return port_.address(); }
  std::vector<unsigned char> heard() {
    const std::scoped_lock lock(mutex_);
    return heard_;
  }

 private:
  void serve() {
    int caller = 0;
    while ((caller = accept(port_.socket_number(), nullptr, nullptr)) >= 0) {
      unsigned char first = 0;
      if (read(caller, &first, 1) == 1) {
        const std::scoped_lock lock(mutex_);
        heard_.push_back(first);
      }
      close(caller);
    }
  }

  ListeningPort port_;
  std::mutex mutex_;
  std::vector<unsigned char> heard_;
  std::jthread serving_;
};

TEST_F(Mqtt, WithoutItsCertificatesItSaysNothingInTheClear) {
  const auto made = MosquittoBroker::with_tls();
  if (!made) GTEST_SKIP() << "no openssl here";
  Eavesdropper listener;
  const std::string ca = made->folder() / "ca.pem", password = made->folder() / "password";
  std::ofstream(password) << "secret\n";
  Harness h({{"method", "mqtt"},
             {"address", listener.address().c_str()},
             {"topic", kTopic},
             {"username", "door"},
             {"password-file", password.c_str()},
             {"ca-file", ca.c_str()},
             {"drain-timeout", "100"}},
            "tomepublish");
  h.set_caps();
  ASSERT_TRUE(comes([&] { return !listener.heard().empty(); }));
  std::filesystem::remove(ca);
  push(h, 0, 1);
  // One more may have been under way; then they come after 1 s and 2 s, or not at all.
  std::this_thread::sleep_for(milliseconds(3500));
  constexpr unsigned char kHandshake = 0x16;  // of TLS; MQTT's CONNECT is 0x10
  for (const unsigned char first : listener.heard()) EXPECT_EQ(first, kHandshake);
}

}  // namespace
}  // namespace tome::testing
