// tomepublish: what a line says.
#include <chrono>
#include <initializer_list>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "engine/result_json.h"
#include "publish_fixture.h"
#include "result_line.h"

namespace tome::testing {
namespace {

TEST(ResultLine, TimeIsUtcWithMilliseconds) {
  using namespace std::chrono;
  EXPECT_EQ(rfc3339(system_clock::time_point(milliseconds(0))), "1970-01-01T00:00:00.000Z");
  // 2024-02-29 12:34:56.789 UTC.
  EXPECT_EQ(rfc3339(system_clock::time_point(milliseconds(1709210096789))),
            "2024-02-29T12:34:56.789Z");
}

TEST(ResultLine, SurvivesBadTextAndBadNumbers) {
  Classification odd = result();
  odd.tags = {{1, "quote\" \xff line\n", std::numeric_limits<double>::quiet_NaN()}};
  const std::string line = gst::result_line(odd, {}, "s", {});
  EXPECT_EQ(line.find('\n'), std::string::npos);
  const Json parsed = Json::parse(line);
  EXPECT_TRUE(parsed["pts"].is_null());
  EXPECT_TRUE(parsed["tags"][0]["score"].is_null());
}

TEST(ResultLine, KeysStandInTheDocumentedOrder) {
  const auto keys_of = [](const Classification& one) {
    const auto line = nlohmann::ordered_json::parse(gst::result_line(one, {}, "s", {}));
    std::vector<std::string> keys;
    for (const auto& [key, value] : line.items()) keys.push_back(key);
    return keys;
  };
  EXPECT_EQ(
      keys_of(result()),
      (std::vector<std::string>{"time", "captured", "pts", "stream", "model", "element", "region",
                                "object", "clip", "age", "tags", "tokens_in", "tokens_out"}));
  Classification region = result();
  region.region = {1, 2, 3, 4};
  EXPECT_EQ(keys_of(region),
            (std::vector<std::string>{"time", "captured", "pts", "stream", "model", "element",
                                      "region", "frame", "object", "clip", "age", "tags",
                                      "tokens_in", "tokens_out"}));
}

TEST(ResultLine, WhatAnOlderProducerDidNotSayIsNull) {
  Classification old = result();
  old.region = {1, 2, 3, 4};
  const Json line = Json::parse(gst::result_line(old, {}, "s", {}));
  EXPECT_TRUE(line["frame"].is_null());
  EXPECT_TRUE(line["object"].is_null());
  EXPECT_TRUE(line["element"].is_null());
}

// 2024-02-29 12:34:56.789 UTC, in ns since 1970 and since 1900: 17 leap years and 53 others lie
// between.
constexpr guint64 kUnix = 1709210096789 * GST_MSECOND;
constexpr guint64 kNtp = kUnix + (53 * 365 + 17 * 366) * guint64{86400} * GST_SECOND;
constexpr const char* kCaptured = "2024-02-29T12:34:56.789Z";

/// Clocks as caps, and what they said.
using Clocks = std::initializer_list<std::pair<const char*, guint64>>;

GstBuffer* captured_frame(const Classification& result, const Clocks& clocks, int number = 2) {
  GstBuffer* buffer = frame_with({result}, number);
  for (const auto& [caps, time] : clocks) {
    const Ptr<GstCaps> reference(gst_caps_from_string(caps));
    // It takes no GST_CLOCK_TIME_NONE, but who makes the meta may write what it likes.
    gst_buffer_add_reference_timestamp_meta(buffer, reference.get(), 0, GST_CLOCK_TIME_NONE)
        ->timestamp = time;
  }
  return buffer;
}

class PublishCaptured : public Publish {
 protected:
  /// The key `captured` of a frame with these clocks.
  Json captured(const Clocks& clocks) {
    Harness h({{"location", file_.c_str()}}, "tomepublish");
    h.set_caps();
    EXPECT_EQ(h.push(captured_frame(result(), clocks)), GST_FLOW_OK);
    return lines().at(0)["captured"];
  }
};

TEST_F(PublishCaptured, IsTheTimeOfNtpOrUnixClocks) {
  EXPECT_EQ(captured({{"timestamp/x-ntp", kNtp}}), kCaptured);
  EXPECT_EQ(captured({{"timestamp/x-unix", kUnix}}), kCaptured);
  EXPECT_EQ(captured({{"timestamp/x-ntp,host=camera", kNtp}}), kCaptured);
  EXPECT_EQ(captured({{"timestamp/x-unix", 0}}), "1970-01-01T00:00:00.000Z");
}

TEST_F(PublishCaptured, OfOtherClocksOrNoneItIsNull) {
  EXPECT_TRUE(captured({}).is_null());
  for (const char* caps : {"timestamp/x-ptp", "timestamp/x-drifting-clock", "EMPTY", "ANY",
                           "timestamp/x-ptp;timestamp/x-unix"}) {
    EXPECT_TRUE(captured({{caps, kUnix}}).is_null()) << caps;
    EXPECT_EQ(captured({{caps, 5}, {"timestamp/x-unix", kUnix}}), kCaptured) << caps;
  }
}

TEST_F(PublishCaptured, ATimeThatNoClockHasIsNull) {
  const guint64 epoch = kNtp - kUnix;
  for (const guint64 time : {GST_CLOCK_TIME_NONE, GST_CLOCK_TIME_NONE - 1, guint64{0}, epoch - 1}) {
    EXPECT_TRUE(captured({{"timestamp/x-ntp", time}}).is_null()) << time;
  }
  constexpr guint64 kMost = G_MAXINT64;
  for (const guint64 time : {GST_CLOCK_TIME_NONE, GST_CLOCK_TIME_NONE - 1, kMost + 1}) {
    EXPECT_TRUE(captured({{"timestamp/x-unix", time}}).is_null()) << time;
  }
  EXPECT_EQ(captured({{"timestamp/x-unix", kMost}}), "2262-04-11T23:47:16.854Z");
  EXPECT_EQ(captured({{"timestamp/x-ntp", epoch + kMost}}), "2262-04-11T23:47:16.854Z");
  EXPECT_TRUE(captured({{"timestamp/x-ntp", epoch + kMost + 1}}).is_null());
}

TEST_F(PublishCaptured, OnlyAFreshResultIsOfThisFrame) {
  Harness h({{"location", file_.c_str()}, {"held", "true"}}, "tomepublish");
  h.set_caps();
  Classification clip = result();
  clip.frames = 3;
  clip.clip_start = 0;
  const Clocks clocks = {{"timestamp/x-unix", kUnix}};
  ASSERT_EQ(h.push(captured_frame(clip, clocks)), GST_FLOW_OK);
  clip.age = 1;
  ASSERT_EQ(h.push(captured_frame(clip, clocks, 3)), GST_FLOW_OK);
  const std::vector<Classification> padded = {result()};
  h.push_event(
      gst_event_new_custom(GST_EVENT_CUSTOM_DOWNSTREAM, gst::results_structure(padded).release()));
  const auto found = lines();
  ASSERT_EQ(found.size(), 3U);
  EXPECT_EQ(found[0]["captured"], kCaptured);
  EXPECT_TRUE(found[1]["captured"].is_null());
  EXPECT_TRUE(found[2]["captured"].is_null()) << "at the end of the stream there is no frame";
}

TEST_F(Publish, ALineNamesTheElementThatClassifiedAtTheEndOfTheStreamToo) {
  FakeCore::instance().set({.clip_length = 4});
  // The last window has two frames, and is padded.
  EXPECT_EQ(
      play("videotestsrc num-buffers=6 ! " + std::string(kGrayCaps) +
               " ! tomeclassify name=weather model=fake ! tomepublish location=" + file_.string(),
           [](GstBuffer*) {}),
      "");
  FakeCore::instance().reset();
  const auto found = lines();
  ASSERT_EQ(found.size(), 2U);
  for (const Json& line : found) EXPECT_EQ(line["element"], "weather");
}

}  // namespace
}  // namespace tome::testing
