// tomepublish to a real MQTT broker, mosquitto, which each test starts for itself.
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <future>
#include <iterator>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "listening_port.h"
#include "mqtt_fixture.h"

namespace tome::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

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

/// Stops the element that warns, in the thread that warns.
struct StopAtWarning {
  std::promise<GstStateChangeReturn> changed;

  static GstBusSyncReply hear(GstBus*, GstMessage* message, gpointer self) {
    if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_WARNING) {
      static_cast<StopAtWarning*>(self)->changed.set_value(
          gst_element_set_state(GST_ELEMENT(GST_MESSAGE_SRC(message)), GST_STATE_NULL));
    }
    return GST_BUS_PASS;
  }
};

TEST_F(Mqtt, MayBeStoppedByWhoeverHearsItsWarning) {
  const std::string address = "127.0.0.1:" + std::to_string(free_port());
  StopAtWarning stop;
  auto changed = stop.changed.get_future();
  LoneElement e({{"method", "mqtt"}, {"address", address.c_str()}, {"topic", kTopic}},
                "tomepublish");
  const Ptr<GstBus> bus(gst_element_get_bus(e.element()));
  gst_bus_set_sync_handler(bus.get(), StopAtWarning::hear, &stop, nullptr);
  ASSERT_TRUE(e.set_state(GST_STATE_PAUSED));
  if (changed.wait_for(std::chrono::seconds(20)) != std::future_status::ready) {
    std::fputs("the element hangs\n", stderr);
    std::_Exit(1);  // with a lock that its end needs
  }
  EXPECT_EQ(changed.get(), GST_STATE_CHANGE_SUCCESS);
  gst_bus_set_sync_handler(bus.get(), nullptr, nullptr, nullptr);
  EXPECT_TRUE(e.set_state(GST_STATE_PAUSED)) << "and started again";
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
  ~SilentPort() { hang_up(); }
  SilentPort(const SilentPort&) = delete;
  SilentPort& operator=(const SilentPort&) = delete;
  std::string address() const { return port_.address(); }
  /// Makes room: who calls from now on is connected, and hears nothing.
  void open() {
    hang_up();
    close(accept(port_.socket_number(), nullptr, nullptr));
  }

 private:
  void hang_up() {
    for (int& caller : callers_) {
      if (caller >= 0) close(std::exchange(caller, -1));
    }
  }

  ListeningPort port_;
  std::array<int, 8> callers_{};
};

/// How many this process has.
auto threads() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/task"),
                       std::filesystem::directory_iterator());
}

TEST_F(Mqtt, ABrokerThatNeverAnswersIsLeftAtOnce) {
  const SilentPort silent;
  const auto before = threads();
  Harness h({{"method", "mqtt"}, {"address", silent.address().c_str()}, {"topic", kTopic}},
            "tomepublish");
  h.set_caps();
  push(h, 0, 10);
  std::this_thread::sleep_for(milliseconds(200));
  EXPECT_TRUE(ends([&] { gst_element_set_state(h.element(), GST_STATE_NULL); }));
  EXPECT_EQ(count(h, "lost"), 10U);
  EXPECT_TRUE(comes([&] { return threads() <= before; })) << "one is still connecting";
}

TEST_F(Mqtt, ATlsHandshakeThatNobodyAnswersKeepsNoCoreBusy) {
  const auto made = MosquittoBroker::with_tls();
  if (!made) GTEST_SKIP() << "no openssl here";
  SilentPort silent;
  const std::string ca = made->folder() / "ca.pem";
  Harness h({{"method", "mqtt"},
             {"address", silent.address().c_str()},
             {"topic", kTopic},
             {"ca-file", ca.c_str()},
             {"drain-timeout", "0"}},
            "tomepublish");
  h.set_caps();
  push(h, 0, 1);
  std::this_thread::sleep_for(milliseconds(200));
  silent.open();
  std::this_thread::sleep_for(milliseconds(1200));  // the second SYN comes after 1 s
  const std::clock_t before = std::clock();         // of all threads
  std::this_thread::sleep_for(milliseconds(1000));
  EXPECT_LT(std::clock() - before, CLOCKS_PER_SEC / 10);
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
      std::vector<char> packet(1 << 20);
      if (read(caller, packet.data(), packet.size()) <= 0) continue;
      if (write(caller, welcome.data(), welcome.size()) <= 0) continue;
      [[maybe_unused]] const auto message = read(caller, packet.data(), packet.size());
      shutdown(caller, SHUT_WR);
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
  const auto heard = warnings(h);
  ASSERT_EQ(heard.size(), 2U) << "that it hangs up, and that it is over the message";
  EXPECT_NE(heard[1].find("did not take a message"), std::string::npos) << heard[1];
  EXPECT_EQ(count(h, "lost"), 1U);
}

// It hangs up while they are still being written, which the library does not tell as that.
TEST_F(Mqtt, ABrokerThatTakesNoMessageGetsNoneAFourthTime) {
  RudeBroker broker;
  const std::string name(20000, 'a');
  Harness h({{"method", "mqtt"},
             {"address", broker.address().c_str()},
             {"topic", kTopic},
             {"stream", name.c_str()}},
            "tomepublish");
  h.set_caps();
  push(h, 0, 20);
  EXPECT_TRUE(comes([&] { return count(h, "lost") == 1; }));
  EXPECT_EQ(broker.callers().size(), 3U);
}

/// Lines of the broker's log that have this in them.
int logged(const MosquittoBroker& broker, const std::string& text) {
  std::ifstream log(broker.folder() / "log");
  int found = 0;
  for (std::string line; std::getline(log, line);) {
    found += line.find(text) != std::string::npos ? 1 : 0;
  }
  return found;
}

TEST_F(Mqtt, TwoClientsOfOneNameTakeTurnsLessAndLess) {
  MosquittoBroker broker;
  const std::string address = broker.address();
  const LoneElement::Properties properties = {
      {"method", "mqtt"}, {"address", address.c_str()}, {"topic", kTopic}, {"client-id", "door"}};
  Harness one(properties, "tomepublish"), other(properties, "tomepublish");
  one.set_caps();
  other.set_caps();
  const auto last = steady_clock::now() + std::chrono::seconds(8);
  for (int i = 0; steady_clock::now() < last; ++i) {
    push(one, i, i + 1);
    push(other, i, i + 1);
    std::this_thread::sleep_for(milliseconds(50));
  }
  EXPECT_GT(count(one, "published"), 0U);
  EXPECT_GT(count(other, "published"), 0U);
  EXPECT_LE(warnings(one).size(), 1U);
  EXPECT_LE(warnings(other).size(), 1U);
  broker.stop();
  // Each waits 0.5, 1, 2 and 4 s; with the first wait over and over it were twice as many.
  EXPECT_LE(logged(broker, " as door"), 12);
}

}  // namespace
}  // namespace tome::testing
