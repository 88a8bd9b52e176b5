// What the tests with a real MQTT broker share.
#pragma once

#include <mosquitto.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "mosquitto_broker.h"
#include "publish_fixture.h"

namespace tome::testing {

inline constexpr const char* kTopic = "cameras/door";

/// Keeps what arrives at a topic, through restarts of the broker.
class Subscriber {
 public:
  Subscriber(int port, const char* user = nullptr, const char* password = nullptr)
      : client_(mosquitto_new("subscriber", /*clean_session=*/false, this)) {
    mosquitto_connect_callback_set(client_.get(), [](mosquitto* client, void*, int) {
      mosquitto_subscribe(client, nullptr, kTopic, 1);
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

}  // namespace tome::testing
