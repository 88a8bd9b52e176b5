// tomepublish: its lines, and what happens when they cannot be written.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "element_fixture.h"
#include "result_line.h"

namespace tome::testing {
namespace {

using gst::Tag;
using Json = nlohmann::json;

Classification result(unsigned age = 0) {
  Classification made;
  made.model = "fake";
  made.age = age;
  made.clip_start = made.clip_end = 2 * kFrame;
  made.tags = {{7, "water bottle", 0.75}, {3, "ski", 0.125}};
  made.tokens_in = 197;
  made.tokens_out = 41;
  return made;
}

GstBuffer* frame_with(std::initializer_list<Classification> results, int number = 2) {
  GstBuffer* buffer = Harness::frame(0, number);
  gst::attach_results(buffer, std::vector<Classification>(results));
  return buffer;
}

class Publish : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    file_ = std::filesystem::temp_directory_path() /
            ("tomepublish-" + std::to_string(getpid()) + "-" + test->name());
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

TEST_F(Publish, WritesEveryKeyForAFrame) {
  Harness h({{"location", file_.c_str()}, {"stream", "door"}}, "tomepublish");
  h.set_caps();
  ASSERT_EQ(h.push(frame_with({result()})), GST_FLOW_OK);
  // The line is there at once, before the element is stopped.
  const auto found = lines();
  ASSERT_EQ(found.size(), 1U);
  Json line = found[0];
  const std::string time = line["time"];
  ASSERT_EQ(time.size(), std::string("2024-05-06T07:08:09.123Z").size());
  EXPECT_EQ(time.back(), 'Z');
  line.erase("time");
  EXPECT_EQ(line, Json::parse(R"({"pts": 0.2, "stream": "door", "model": "fake", "region": null,
      "clip": null, "age": 0, "tags": [{"id": 7, "label": "water bottle", "score": 0.75},
      {"id": 3, "label": "ski", "score": 0.125}], "tokens_in": 197, "tokens_out": 41})"));
}

TEST_F(Publish, RegionAndClipAreSpelledOut) {
  Harness h({{"location", file_.c_str()}}, "tomepublish");
  h.set_caps();
  Classification one = result();
  one.region = {1, 2, 3, 4};
  Classification clip = result();
  clip.frames = 16;
  clip.clip_start = 0;
  ASSERT_EQ(h.push(frame_with({one, clip})), GST_FLOW_OK);
  const auto found = lines();
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0]["region"], Json::parse("[1, 2, 3, 4]"));
  EXPECT_EQ(found[1]["clip"], Json::parse(R"({"start": 0.0, "end": 0.2, "frames": 16})"));
  EXPECT_EQ(found[0]["stream"], GST_ELEMENT_NAME(h.element()));
}

TEST_F(Publish, HeldResultsOnlyOnRequest) {
  {
    Harness h({{"location", file_.c_str()}}, "tomepublish");
    h.set_caps();
    ASSERT_EQ(h.push(frame_with({result(3)})), GST_FLOW_OK);
    EXPECT_TRUE(lines().empty());
  }
  Harness h({{"location", file_.c_str()}, {"held", "true"}}, "tomepublish");
  h.set_caps();
  ASSERT_EQ(h.push(frame_with({result(3)})), GST_FLOW_OK);
  ASSERT_EQ(lines().size(), 1U);
  EXPECT_EQ(lines()[0]["age"], 3);
}

TEST_F(Publish, TheEventAtEosIsWrittenAndPassedOn) {
  Harness h({{"location", file_.c_str()}}, "tomepublish");
  h.set_caps();
  ASSERT_EQ(h.push(0, 0), GST_FLOW_OK);
  Classification clip = result();
  clip.frames = 4;
  const std::vector<Classification> results = {clip};
  EXPECT_TRUE(h.push_event(gst_event_new_custom(GST_EVENT_CUSTOM_DOWNSTREAM,
                                                gst::results_structure(results).release())));
  ASSERT_EQ(lines().size(), 1U);
  EXPECT_EQ(lines()[0]["pts"], 0.2) << "the end of the clip";
  bool passed = false;
  while (!passed) {
    const Ptr<GstEvent> event(gst_harness_pull_event(h.get()));
    ASSERT_NE(event, nullptr);
    passed = GST_EVENT_TYPE(event.get()) == GST_EVENT_CUSTOM_DOWNSTREAM;
  }
}

TEST_F(Publish, BuffersPassUntouched) {
  Harness h({{"location", file_.c_str()}}, "tomepublish");
  h.set_caps();
  GstBuffer* pushed = frame_with({result()});
  ASSERT_EQ(h.push(pushed), GST_FLOW_OK);
  EXPECT_EQ(h.pull().get(), pushed);
}

TEST_F(Publish, AppendsOrStartsAnew) {
  for (const char* append : {"false", "true", "false"}) {
    Harness h({{"location", file_.c_str()}, {"append", append}}, "tomepublish");
    h.set_caps();
    ASSERT_EQ(h.push(frame_with({result()})), GST_FLOW_OK);
    EXPECT_EQ(lines().size(), std::string(append) == "true" ? 2U : 1U);
  }
}

TEST_F(Publish, AFileThatCannotBeOpenedFailsWithItsName) {
  LoneElement e({{"location", "/nonexistent/tags.jsonl"}}, "tomepublish");
  EXPECT_FALSE(e.set_state(GST_STATE_PAUSED));
  GError* error = nullptr;
  const std::string text = e.error_text(&error);
  EXPECT_NE(text.find("/nonexistent/tags.jsonl"), std::string::npos) << text;
  const Ptr<GError> owned(error);
  EXPECT_TRUE(g_error_matches(error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_OPEN_WRITE));
}

TEST_F(Publish, AFullDiskIsAnError) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  Harness h({{"location", "/dev/full"}}, "tomepublish");
  h.set_caps();
  EXPECT_EQ(h.push(frame_with({result()})), GST_FLOW_ERROR);
  GError* error = nullptr;
  EXPECT_NE(h.error_text(&error).find("/dev/full"), std::string::npos);
  const Ptr<GError> owned(error);
  EXPECT_TRUE(g_error_matches(error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NO_SPACE_LEFT));
}

TEST_F(Publish, AReaderThatHasGoneIsAnErrorAndNoSignal) {
  // A named pipe whose reader closes: the next write is EPIPE. SIGPIPE would end this process.
  ASSERT_EQ(mkfifo(file_.c_str(), 0600), 0);
  const int reader = open(file_.c_str(), O_RDONLY | O_NONBLOCK);
  Harness h({{"location", file_.c_str()}}, "tomepublish");
  h.set_caps();
  ASSERT_EQ(h.push(frame_with({result()})), GST_FLOW_OK);
  close(reader);
  EXPECT_EQ(h.push(frame_with({result()})), GST_FLOW_ERROR);
  GError* error = nullptr;
  h.error_text(&error);
  const Ptr<GError> owned(error);
  EXPECT_TRUE(g_error_matches(error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_WRITE));
}

TEST(ResultLine, TimeIsUtcWithMilliseconds) {
  using namespace std::chrono;
  EXPECT_EQ(gst::rfc3339(system_clock::time_point(milliseconds(0))), "1970-01-01T00:00:00.000Z");
  // 2024-02-29 12:34:56.789 UTC.
  EXPECT_EQ(gst::rfc3339(system_clock::time_point(milliseconds(1709210096789))),
            "2024-02-29T12:34:56.789Z");
}

TEST(ResultLine, SurvivesBadTextAndBadNumbers) {
  Classification odd = result();
  odd.tags = {{1, "quote\" \xff line\n", std::numeric_limits<double>::quiet_NaN()}};
  const std::string line = gst::result_line(odd, GST_CLOCK_TIME_NONE, "s", {});
  EXPECT_EQ(line.find('\n'), std::string::npos);
  const Json parsed = Json::parse(line);
  EXPECT_TRUE(parsed["pts"].is_null());
  EXPECT_TRUE(parsed["tags"][0]["score"].is_null());
}

TEST(ResultLine, KeysStandInTheDocumentedOrder) {
  const auto line = nlohmann::ordered_json::parse(gst::result_line(result(), 0, "s", {}));
  std::vector<std::string> keys;
  for (const auto& [key, value] : line.items()) keys.push_back(key);
  EXPECT_EQ(keys, (std::vector<std::string>{"time", "pts", "stream", "model", "region", "clip",
                                            "age", "tags", "tokens_in", "tokens_out"}));
}

}  // namespace
}  // namespace tome::testing
