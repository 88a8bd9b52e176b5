// The line of a result, against its description in docs/metadata.md.
#include "engine/result_json.h"

#include <gtest/gtest.h>

#include <chrono>
#include <limits>
#include <string>

namespace tome {
namespace {

using std::chrono::milliseconds;
using Time = std::chrono::system_clock::time_point;

/// That of the description.
ResultRecord example() {
  ResultRecord out;
  out.time = Time(milliseconds(1769860800000));
  out.captured = Time(milliseconds(1769860799750));
  out.pts = 1.28;
  out.stream = "gate";
  out.model = "camera-state";
  out.element = "tags";
  out.clip_start = 1.0;
  out.clip_end = 1.28;
  out.frames = 8;
  out.tags = {{1, "pan-left", 0.981}};
  out.tokens_in = 128;
  out.tokens_out = 14;
  return out;
}

TEST(ResultJson, IsTheLineOfTheDescription) {
  EXPECT_EQ(
      result_text(example()),
      R"({"time":"2026-01-31T12:00:00.000Z","captured":"2026-01-31T11:59:59.750Z","pts":1.28,)"
      R"("stream":"gate","model":"camera-state","element":"tags","region":null,"object":null,)"
      R"("clip":{"start":1.0,"end":1.28,"frames":8},"age":0,)"
      R"("tags":[{"id":1,"label":"pan-left","score":0.981}],"tokens_in":128,"tokens_out":14})");
}

TEST(ResultJson, ARegionSaysItsFrameAndAFileStandsFirst) {
  ResultRecord region = example();
  region.file = "a.mp4";
  region.captured = std::nullopt;
  region.element = std::nullopt;
  region.region = {1, 2, 3, 4};
  region.object = ResultObject{"person", 5};
  const std::string start = R"({"file":"a.mp4","time":"2026-01-31T12:00:00.000Z","captured":null,)"
                            R"("pts":1.28,"stream":"gate","model":"camera-state","element":null,)"
                            R"("region":[1,2,3,4],"frame":)";
  const std::string object = R"(,"object":{"type":"person","id":5},"clip")";
  std::string text = result_text(region);
  EXPECT_TRUE(text.starts_with(start + "null" + object)) << text;
  region.frame_size = {640, 480};
  text = result_text(region);
  EXPECT_TRUE(text.starts_with(start + "[640,480]" + object)) << text;
}

TEST(ResultJson, OneFrameIsNoClip) {
  ResultRecord one = example();
  one.frames = 1;
  EXPECT_TRUE(result_json(one)["clip"].is_null()) << "its window was padded";
}

TEST(ResultJson, WhatIsNoNumberOrNotKnownIsNull) {
  ResultRecord odd = example();
  odd.pts = odd.clip_end = std::nullopt;
  odd.tags = {{1, "a", std::numeric_limits<double>::infinity()}, {2, "b\xff", 1.0F / 3}};
  const auto line = nlohmann::ordered_json::parse(result_text(odd));
  EXPECT_TRUE(line["pts"].is_null());
  EXPECT_TRUE(line["clip"]["end"].is_null());
  EXPECT_TRUE(line["tags"][0]["score"].is_null());
  EXPECT_EQ(line["tags"][1]["score"], 0.333333);
  EXPECT_EQ(line["tags"][1]["label"], "b\ufffd");
}

TEST(ResultJson, TimesAreUtcToTheMillisecondAlsoBefore1970) {
  EXPECT_EQ(rfc3339(Time(milliseconds(1709210096789))), "2024-02-29T12:34:56.789Z");
  EXPECT_EQ(rfc3339(Time(milliseconds(0))), "1970-01-01T00:00:00.000Z");
  EXPECT_EQ(rfc3339(Time(milliseconds(-1))), "1969-12-31T23:59:59.999Z");
}

}  // namespace
}  // namespace tome
