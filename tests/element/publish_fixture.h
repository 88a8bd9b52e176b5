// What the tests of tomepublish share.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "element_fixture.h"
#include "in_time.h"

namespace tome::testing {

using Json = nlohmann::json;

inline Classification result(unsigned age = 0) {
  Classification made;
  made.model = "fake";
  made.age = age;
  made.clip_start = made.clip_end = 2 * kFrame;
  made.tags = {{7, "water bottle", 0.75}, {3, "ski", 0.125}};
  made.tokens_in = 197;
  made.tokens_out = 41;
  return made;
}

inline GstBuffer* frame_with(std::initializer_list<Classification> results, int number = 2) {
  GstBuffer* buffer = Harness::frame(0, number);
  gst::attach_results(buffer, std::vector<Classification>(results));
  return buffer;
}

/// A frame with a result of its own.
inline GstBuffer* fresh_frame(int number) {
  Classification fresh = result();
  fresh.clip_start = fresh.clip_end = static_cast<GstClockTime>(number) * kFrame;
  return frame_with({fresh}, number);
}

/// Plays frames [from, to), each with a result of its own.
inline void push(Harness& h, int from, int to) {
  for (int i = from; i < to; ++i) ASSERT_EQ(h.push(fresh_frame(i)), GST_FLOW_OK);
}

/// Lines of frames 0 to `number`, without gaps.
inline void expect_in_order(const std::vector<Json>& lines, int number) {
  ASSERT_EQ(lines.size(), static_cast<size_t>(number));
  for (int i = 0; i < number; ++i) EXPECT_NEAR(lines[i]["pts"], 0.1 * i, 1e-6);
}

/// Whether `condition` comes true within 20 s.
inline bool comes(const std::function<bool()>& condition) {
  const auto last = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > last) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

/// One of the element's `stats`.
inline guint64 count(const Harness& h, const char* name) {
  guint64 value = 0;
  EXPECT_TRUE(gst_structure_get_uint64(h.stats().get(), name, &value)) << name;
  return value;
}

/// Texts of the warnings that are on the bus by now.
inline std::vector<std::string> warnings(Harness& h) {
  std::vector<std::string> texts;
  for (;;) {
    const Ptr<GstBus> bus(gst_element_get_bus(h.element()));
    const Ptr<GstMessage> message(gst_bus_pop_filtered(bus.get(), GST_MESSAGE_WARNING));
    if (!message) return texts;
    GError* warning = nullptr;
    gst_message_parse_warning(message.get(), &warning, nullptr);
    texts.emplace_back(Ptr<GError>(warning)->message);
  }
}

/// A file for lines, of one test.
class Publish : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    std::string name = test->name();
    std::replace(name.begin(), name.end(), '/', '-');  // before a parameter
    file_ = std::filesystem::temp_directory_path() /
            ("tomepublish-" + std::to_string(getpid()) + "-" + name);
  }
  void TearDown() override { std::filesystem::remove(file_); }

  std::vector<Json> lines() const {
    std::ifstream in(file_);
    std::vector<Json> parsed;
    for (std::string line; std::getline(in, line);) parsed.push_back(Json::parse(line));
    return parsed;
  }

  std::filesystem::path file_;
};

/// A TCP port of this machine at which nobody listens.
int free_port();

}  // namespace tome::testing
