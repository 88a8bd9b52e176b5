// tomepublish: its lines and its properties.
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <limits>

#include "logged_warnings.h"
#include "printable.h"
#include "publish_fixture.h"
#include "publish_memory.h"
#include "publish_progress.h"

namespace tome::testing {
namespace {

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
  EXPECT_EQ(line, Json::parse(R"({"captured": null, "pts": 0.2, "stream": "door", "model": "fake",
      "element": null, "region": null, "object": null, "clip": null, "age": 0,
      "tags": [{"id": 7, "label": "water bottle", "score": 0.75},
      {"id": 3, "label": "ski", "score": 0.125}], "tokens_in": 197, "tokens_out": 41})"));
}

TEST_F(Publish, RegionAndClipAreSpelledOut) {
  Harness h({{"location", file_.c_str()}}, "tomepublish");
  h.set_caps();
  Classification one = result();
  one.region = {1, 2, 3, 4};
  one.frame_size = {640, 480};
  one.object = {"person", 5};
  Classification clip = result();
  clip.frames = 16;
  clip.clip_start = 0;
  clip.frame_size = {640, 480};
  ASSERT_EQ(h.push(frame_with({one, clip})), GST_FLOW_OK);
  const auto found = lines();
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0]["region"], Json::parse("[1, 2, 3, 4]"));
  EXPECT_EQ(found[0]["frame"], Json::parse("[640, 480]"));
  EXPECT_EQ(found[0]["object"], Json::parse(R"({"type": "person", "id": 5})"));
  EXPECT_FALSE(found[1].contains("frame"));
  EXPECT_TRUE(found[1]["object"].is_null());
  EXPECT_EQ(found[1]["clip"], Json::parse(R"({"start": 0.0, "end": 0.2, "frames": 16})"));
  EXPECT_EQ(found[0]["stream"], GST_ELEMENT_NAME(h.element()));
}

TEST_F(Publish, HeldResultsOnlyOnRequest) {
  for (const char* held : {"false", "true"}) {
    Harness h({{"location", file_.c_str()}, {"held", held}}, "tomepublish");
    h.set_caps();
    ASSERT_EQ(h.push(frame_with({result()})), GST_FLOW_OK);
    ASSERT_EQ(h.push(frame_with({result(3)}, 5)), GST_FLOW_OK);
    ASSERT_EQ(lines().size(), std::string(held) == "true" ? 2U : 1U);
    EXPECT_EQ(lines()[0]["age"], 0);
  }
  EXPECT_EQ(lines()[1]["age"], 3);
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

TEST_F(Publish, HasTheQosOfEveryTransform) {
  const LoneElement e({}, "tomepublish");
  g_object_set(e.element(), "qos", FALSE, nullptr);
  gboolean qos = TRUE;
  g_object_get(e.element(), "qos", &qos, nullptr);
  EXPECT_FALSE(qos);
  EXPECT_EQ(g_object_class_find_property(G_OBJECT_GET_CLASS(e.element()), "qos")->value_type,
            G_TYPE_BOOLEAN);
}

TEST_F(Publish, ItsMethodsBelongToThePlugin) {
  const LoneElement e({}, "tomepublish");
  const auto* spec = g_object_class_find_property(G_OBJECT_GET_CLASS(e.element()), "method");
  EXPECT_TRUE(gst_type_is_plugin_api(spec->value_type, nullptr)) << "so its values are documented";
}

TEST_F(Publish, APropertyThatComesTooLateIsToldInTheLog) {
  LoneElement e({{"location", file_.c_str()}}, "tomepublish");
  const LoggedWarnings logged("tomepublish");
  g_object_set(e.element(), "stream", "door", nullptr);
  EXPECT_EQ(logged.text(), "");
  ASSERT_TRUE(e.set_state(GST_STATE_PAUSED));
  g_object_set(e.element(), "stream", "gate", nullptr);
  EXPECT_NE(logged.text().find("stream has no effect"), std::string::npos) << logged.text();
}

TEST_F(Publish, ForeignEventsPass) {
  Harness h({{"location", file_.c_str()}}, "tomepublish");
  h.set_caps();
  EXPECT_TRUE(h.push_event(gst_event_new_custom(GST_EVENT_CUSTOM_DOWNSTREAM, nullptr)));
}

TEST_F(Publish, TimesAreThoseOfTheStreamAndNotOfTheSource) {
  Harness h({{"location", file_.c_str()}}, "tomepublish");
  h.set_caps();
  // As of a camera that has been on for an hour, or a file that was seeked.
  GstSegment segment;
  gst_segment_init(&segment, GST_FORMAT_TIME);
  segment.start = segment.position = 3600 * GST_SECOND;
  segment.time = 5 * GST_SECOND;
  h.push_event(gst_event_new_segment(&segment));
  Classification clip = result();
  clip.frames = 4;
  clip.clip_start = segment.start - kFrame;  // a window may begin before the segment
  clip.clip_end = segment.start + 2 * kFrame;
  GstBuffer* buffer = frame_with({clip});
  GST_BUFFER_PTS(buffer) = clip.clip_end;
  ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
  ASSERT_EQ(lines().size(), 1U);
  EXPECT_EQ(lines()[0]["pts"], 5.2);
  EXPECT_EQ(lines()[0]["clip"], Json::parse(R"({"start": 4.9, "end": 5.2, "frames": 4})"));
}

TEST_F(Publish, BeforeTheBeginningOfTheStreamTimesAreNegative) {
  Harness h({{"location", file_.c_str()}}, "tomepublish");
  h.set_caps();
  GstSegment segment;
  gst_segment_init(&segment, GST_FORMAT_TIME);
  segment.start = segment.position = 3600 * GST_SECOND;
  h.push_event(gst_event_new_segment(&segment));
  Classification clip = result();
  clip.frames = 4;
  clip.clip_start = segment.start - kFrame;
  clip.clip_end = segment.start + 2 * kFrame;
  GstBuffer* buffer = frame_with({clip});
  GST_BUFFER_PTS(buffer) = clip.clip_start;
  ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
  EXPECT_EQ(lines().at(0)["pts"], -0.1);
  EXPECT_EQ(lines()[0]["clip"], Json::parse(R"({"start": -0.1, "end": 0.2, "frames": 4})"));
}

TEST_F(Publish, ASegmentOfBytesLeavesTimesAsTheyAre) {
  Harness h({{"location", file_.c_str()}}, "tomepublish");
  h.set_caps();
  GstSegment segment;
  gst_segment_init(&segment, GST_FORMAT_BYTES);
  h.push_event(gst_event_new_segment(&segment));
  ASSERT_EQ(h.push(frame_with({result()})), GST_FLOW_OK);
  EXPECT_EQ(lines().at(0)["pts"], 0.2);
}

TEST_F(Publish, CopiesOfAResultAreWrittenOnce) {
  Harness h({{"location", file_.c_str()}}, "tomepublish");
  h.set_caps();
  Classification one = result(), region = result(), next = result();
  region.region = {1, 2, 3, 4};
  next.clip_start = next.clip_end = 5 * kFrame;
  // A payloader's packets, then videorate's repetition of the frame, at another time.
  for (int i = 0; i < 3; ++i) ASSERT_EQ(h.push(frame_with({one, region}, 2)), GST_FLOW_OK);
  ASSERT_EQ(h.push(frame_with({one, region}, 3)), GST_FLOW_OK);
  EXPECT_EQ(lines().size(), 2U);
  ASSERT_EQ(h.push(frame_with({next}, 5)), GST_FLOW_OK);
  EXPECT_EQ(lines().size(), 3U);
  // The same time of a stream that starts over is another frame.
  GstSegment segment;
  gst_segment_init(&segment, GST_FORMAT_TIME);
  h.push_event(gst_event_new_segment(&segment));
  ASSERT_EQ(h.push(frame_with({next}, 5)), GST_FLOW_OK);
  EXPECT_EQ(lines().size(), 4U);
}

TEST_F(Publish, WhatOneFrameHasTwiceIsNoCopy) {
  Harness h({{"location", file_.c_str()}}, "tomepublish");
  h.set_caps();
  ASSERT_EQ(h.push(frame_with({result(), result()})), GST_FLOW_OK);
  EXPECT_EQ(lines().size(), 2U);
}

TEST_F(Publish, WhereASourceRepeatsATimeStampOnlyEqualTagsAreCopies) {
  for (const char* held : {"false", "true"}) {
    Harness h({{"location", file_.c_str()}, {"held", held}}, "tomepublish");
    h.set_caps();
    Classification one = result();
    for (const double score : {0.75, 0.5, 0.5, std::numeric_limits<double>::quiet_NaN(),
                               std::numeric_limits<double>::quiet_NaN(), 0.75}) {
      one.tags[0].score = score;
      ASSERT_EQ(h.push(frame_with({one})), GST_FLOW_OK);
    }
    EXPECT_EQ(lines().size(), 4U) << held;
    one.tags[0].id = 8;
    ASSERT_EQ(h.push(frame_with({one})), GST_FLOW_OK);
    EXPECT_EQ(lines().size(), 5U) << held;
  }
}

TEST(PublishMemory, ManyRegionsTakeNoTimeThatGrowsWithTheirSquare) {
  std::vector<Classification> first(60000, result());
  int place = 0;
  for (Classification& one : first) one.region = {place++, 0, 9, 9};
  std::vector<Classification> again = first;
  gst::PublishMemory memory;
  memory.keep_new(first, 0);
  const auto begin = std::chrono::steady_clock::now();
  memory.keep_new(again, 0);
  EXPECT_TRUE(again.empty());
  // It takes a fifth of a second, and took twenty-five.
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(4));
}

TEST(PublishMemory, ManyIdsPushOutNoneThatIsStillThere) {
  gst::PublishMemory memory;
  for (unsigned frame = 0; frame < 30; ++frame) {
    Classification parked = result(frame);
    parked.clip_start = parked.clip_end = 0;
    parked.region = {0, 0, 9, 9};
    parked.object = {"car", -1};
    std::vector<Classification> all(1000, parked);
    for (int64_t i = 1; i < 1000; ++i) {
      Classification& passing = all[static_cast<size_t>(i)];
      passing.object->id = frame * 1000 + i;
      passing.age = 0;
      passing.clip_end = frame * kFrame;
    }
    memory.keep_new(all, frame * kFrame);
    EXPECT_EQ(all.size(), frame == 0 ? 1000U : 999U) << frame;
  }
}

/// A result of an object that moves, `age` frames after its clip, which ended with frame `number`.
Classification seen(int64_t id, unsigned number, unsigned age) {
  Classification made = result(age);
  made.clip_start = made.clip_end = number * kFrame;
  made.region = {0, static_cast<int>(number + age), 9, 9};
  made.object = {"car", id};
  return made;
}

/// How many of `results` are published with frame `number`.
size_t published(gst::PublishMemory& memory, unsigned number, std::vector<Classification> results) {
  memory.keep_new(results, number * kFrame);
  return results.size();
}

TEST(PublishMemory, ManyIdsPushOutNoneThatIsHiddenForAWhile) {
  gst::PublishMemory memory;
  EXPECT_EQ(published(memory, 0, {seen(-1, 0, 0)}), 1U);
  std::vector<Classification> crowd;
  for (int64_t id = 0; id < 10001; ++id) crowd.push_back(seen(id, 1, 0));
  EXPECT_EQ(published(memory, 1, crowd), 10001U);
  EXPECT_EQ(published(memory, 2, {seen(-1, 0, 2)}), 0U);
  EXPECT_EQ(published(memory, 3, {seen(-1, 0, 3), seen(20000, 3, 0)}), 1U);
  for (unsigned frame = 4; frame < 610; ++frame) {
    EXPECT_EQ(published(memory, frame, {seen(frame + 20000, frame, 0)}), 1U);
  }
  // The crowd is forgotten; who was not away for quite so long is not.
  EXPECT_EQ(published(memory, 610, {seen(-1, 0, 610), seen(20100, 100, 510)}), 0U);
  EXPECT_EQ(published(memory, 611, {seen(5, 1, 610)}), 1U);
}

TEST(PublishMemory, OfTooManyIdsThoseUnseenForLongestGo) {
  gst::PublishMemory memory;
  constexpr unsigned kPerFrame = 100;
  for (unsigned frame = 0; frame < 150; ++frame) {
    std::vector<Classification> passing;
    for (unsigned i = 0; i < kPerFrame; ++i) passing.push_back(seen(frame * 1000 + i, frame, 0));
    EXPECT_EQ(published(memory, frame, passing), kPerFrame);
  }
  EXPECT_EQ(published(memory, 150, {seen(60 * 1000, 60, 90), seen(10 * 1000, 10, 140)}), 1U);
}

TEST(PublishMemory, WhatIsHeldOnAndOnStaysKnownBesideManyOthers) {
  gst::PublishMemory memory;
  EXPECT_EQ(published(memory, 0, {seen(1, 0, 0)}), 1U);
  for (unsigned frame = 1; frame < 50; ++frame) {
    EXPECT_EQ(published(memory, frame, {seen(1, 0, frame), seen(1, frame, 0)}), 1U) << frame;
  }
}

TEST_F(Publish, WithoutTimeStampsEverythingIsWritten) {
  Harness h({{"location", file_.c_str()}}, "tomepublish");
  h.set_caps();
  Classification timeless = result();
  timeless.clip_start = timeless.clip_end = GST_CLOCK_TIME_NONE;
  for (int i = 0; i < 3; ++i) {
    GstBuffer* buffer = frame_with({timeless});
    GST_BUFFER_PTS(buffer) = GST_CLOCK_TIME_NONE;
    ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
  }
  EXPECT_EQ(lines().size(), 3U);
}

TEST_F(Publish, HeldTellsFramesApartAndNotPackets) {
  Harness h({{"location", file_.c_str()}, {"held", "true"}}, "tomepublish");
  h.set_caps();
  for (const int frame : {2, 2, 2}) ASSERT_EQ(h.push(frame_with({result()}, frame)), GST_FLOW_OK);
  EXPECT_EQ(lines().size(), 1U);
  for (const int frame : {3, 3}) ASSERT_EQ(h.push(frame_with({result(1)}, frame)), GST_FLOW_OK);
  EXPECT_EQ(lines().size(), 2U);
  // videorate's repetition is one more frame, at which this is what is known.
  ASSERT_EQ(h.push(frame_with({result(1)}, 4)), GST_FLOW_OK);
  EXPECT_EQ(lines().size(), 3U);
}

TEST_F(Publish, APayloadersPacketsAreOneResult) {
  if (!Ptr<GstElement>(gst_element_factory_make("rtpvrawpay", nullptr))) {
    GTEST_SKIP() << "no rtpvrawpay here";
  }
  FakeCore::instance().reset();
  unsigned packets = 0;
  EXPECT_EQ(play("videotestsrc num-buffers=3 ! video/x-raw,format=RGB,width=64,height=64 ! "
                 "tomeclassify model=fake ! rtpvrawpay ! tomepublish location=" +
                     file_.string(),
                 [&](GstBuffer*) { ++packets; }),
            "");
  EXPECT_GT(packets, 10U);
  EXPECT_EQ(lines().size(), 3U);
}

TEST_F(Publish, StatsCountLines) {
  Harness h({{"location", file_.c_str()}}, "tomepublish");
  h.set_caps();
  ASSERT_EQ(h.push(frame_with({result(), result()})), GST_FLOW_OK);
  EXPECT_EQ(count(h, "published"), 2U);
}

TEST(Progress, LabelsCannotCommandTheTerminal) {
  const int terminal = posix_openpt(O_RDWR | O_NOCTTY);
  if (terminal < 0 || grantpt(terminal) != 0 || unlockpt(terminal) != 0) {
    GTEST_SKIP() << "no pseudo-terminals here";
  }
  const int screen = open(ptsname(terminal), O_RDWR | O_NOCTTY);
  const int before = dup(STDERR_FILENO);
  dup2(screen, STDERR_FILENO);
  gst::PublishProgress progress;
  progress.start(true);
  Classification evil = result();
  evil.tags[0].label = "a\x1b]0;title\x07 \u009b31m";
  progress.result(evil);
  progress.finish();
  dup2(before, STDERR_FILENO);
  std::string shown(1000, '\0');
  shown.resize(static_cast<size_t>(read(terminal, shown.data(), shown.size())));
  for (const int descriptor : {before, screen, terminal}) close(descriptor);
  EXPECT_NE(shown.find("a ]0;title   31m 0.75"), std::string::npos) << shown;
  EXPECT_EQ(std::count(shown.begin(), shown.end(), '\x1b'), 1) << "the one that clears the line";
}

TEST(Printable, ControlCharactersAreSpaces) {
  EXPECT_EQ(gst::printable("a\x1b[2Jb\n\x7f"
                           "c"),
            "a [2Jb  c");
  EXPECT_EQ(gst::printable("csi\u009b"
                           "31m h\u00e9 \u4f60"),
            "csi 31m h\u00e9 \u4f60");
  EXPECT_EQ(gst::printable("\xff\x9b"), "\ufffd\ufffd");
}

}  // namespace
}  // namespace tome::testing
