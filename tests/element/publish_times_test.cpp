// tomepublish behind elements that move time stamps, drop frames or reorder them: its lines still
// say when a clip was, and each result is there once.
#include <cmath>
#include <ostream>
#include <utility>
#include <vector>

#include "publish_fixture.h"

namespace tome::testing {
namespace {

constexpr GstClockTime kMoved = 1000 * 3600 * GST_SECOND;  // as encoders of GStreamer do

void begin_segment(Harness& h, GstClockTime start) {
  GstSegment segment;
  gst_segment_init(&segment, GST_FORMAT_TIME);
  segment.start = segment.position = start;
  h.push_event(gst_event_new_segment(&segment));
}

Classification clip(int first, int last, unsigned age = 0) {
  Classification made = result(age);
  made.frames = static_cast<unsigned>(last - first + 1);
  made.clip_start = static_cast<GstClockTime>(first) * kFrame;
  made.clip_end = static_cast<GstClockTime>(last) * kFrame;
  return made;
}

GstBuffer* frame_at(GstClockTime pts, std::initializer_list<Classification> results) {
  GstBuffer* buffer = frame_with(results);
  GST_BUFFER_PTS(buffer) = pts;
  return buffer;
}

GstEvent* padded(const Classification& last) {
  const std::vector<Classification> results = {last};
  return gst_event_new_custom(GST_EVENT_CUSTOM_DOWNSTREAM,
                              gst::results_structure(results).release());
}

/// What a line says of times, in whole frames.
struct Times {
  long pts, start, end;

  bool operator==(const Times&) const = default;
};

void PrintTo(const Times& times, std::ostream* out) {
  *out << times.pts << ": " << times.start << " to " << times.end;
}

class PublishMoved : public Publish {
 protected:
  std::vector<Times> times() const {
    std::vector<Times> found;
    const auto frames = [](const Json& seconds) { return std::lround(seconds.get<double>() * 10); };
    for (const Json& line : lines()) {
      found.push_back(
          {frames(line["pts"]), frames(line["clip"]["start"]), frames(line["clip"]["end"])});
    }
    return found;
  }
};

TEST_F(PublishMoved, AClipsTimesFollowWhetherItIsFreshOrHeldOrPadded) {
  Harness h({{"location", file_.c_str()}, {"held", "true"}}, "tomepublish");
  h.set_caps();
  begin_segment(h, kMoved);
  ASSERT_EQ(h.push(frame_at(kMoved + 3 * kFrame, {clip(0, 3)})), GST_FLOW_OK);
  ASSERT_EQ(h.push(frame_at(kMoved + 4 * kFrame, {clip(0, 3, 1)})), GST_FLOW_OK);
  h.push_event(padded(clip(4, 6)));
  EXPECT_EQ(times(), (std::vector<Times>{{3, 0, 3}, {4, 0, 3}, {6, 4, 6}}));
}

TEST_F(PublishMoved, AWindowWithoutAFreshResultBeforeItEndsWithTheLastFrame) {
  for (const GstClockTime moved : {kMoved, GstClockTime{0}}) {
    Harness h({{"location", file_.c_str()}}, "tomepublish");
    h.set_caps();
    begin_segment(h, moved);
    // Decoding order.
    for (const int i : {0, 3, 2}) {
      ASSERT_EQ(h.push(frame_at(moved + static_cast<GstClockTime>(i) * kFrame, {})), GST_FLOW_OK);
    }
    h.push_event(padded(clip(0, 3)));
    EXPECT_EQ(times(), (std::vector<Times>{{3, 0, 3}})) << moved;
  }
}

TEST_F(PublishMoved, AFlushMayMoveThemElsewhere) {
  Harness h({{"location", file_.c_str()}}, "tomepublish");
  h.set_caps();
  begin_segment(h, kMoved);
  ASSERT_EQ(h.push(frame_at(kMoved + 3 * kFrame, {clip(0, 3)})), GST_FLOW_OK);
  h.push_event(gst_event_new_flush_start());
  h.push_event(gst_event_new_flush_stop(TRUE));
  begin_segment(h, 0);
  h.push_event(padded(clip(4, 6)));
  begin_segment(h, 2 * kMoved);
  ASSERT_EQ(h.push(frame_at(2 * kMoved + 9 * kFrame, {clip(6, 9)})), GST_FLOW_OK);
  EXPECT_EQ(times(), (std::vector<Times>{{3, 0, 3}, {6, 4, 6}, {9, 6, 9}}));
}

TEST_F(PublishMoved, WhatEndsUpBeforeZeroIsNegative) {
  Harness h({{"location", file_.c_str()}}, "tomepublish");
  h.set_caps();
  begin_segment(h, 0);
  // As identity's single-segment does after a seek to 10 s.
  ASSERT_EQ(h.push(frame_at(kFrame, {clip(98, 101)})), GST_FLOW_OK);
  EXPECT_EQ(times(), (std::vector<Times>{{1, -2, 1}}));
}

TEST_F(PublishMoved, AFrameThatVideorateMovesOrRepeatsMovesNoClip) {
  Harness h({{"location", file_.c_str()}, {"held", "true"}}, "tomepublish");
  h.set_caps();
  begin_segment(h, 0);
  for (const int at : {4, 5, 40}) {
    ASSERT_EQ(h.push(frame_at(static_cast<GstClockTime>(at) * kFrame, {clip(0, 3)})), GST_FLOW_OK);
  }
  EXPECT_EQ(times(), (std::vector<Times>{{4, 0, 3}, {5, 0, 3}, {40, 0, 3}}));
}

TEST_F(PublishMoved, WhereTheFreshResultWasDroppedTheClipEndsHere) {
  Harness h({{"location", file_.c_str()}}, "tomepublish");
  h.set_caps();
  begin_segment(h, kMoved);
  ASSERT_EQ(h.push(frame_at(kMoved + 5 * kFrame, {clip(0, 3, 2)})), GST_FLOW_OK);
  EXPECT_EQ(times(), (std::vector<Times>{{5, 2, 5}}));
}

TEST_F(PublishMoved, AClipThatEndsShortlyBeforeTheSegmentWasNotMoved) {
  Harness h({{"location", file_.c_str()}}, "tomepublish");
  h.set_caps();
  begin_segment(h, 4 * kFrame);
  ASSERT_EQ(h.push(frame_at(5 * kFrame, {clip(0, 3, 2)})), GST_FLOW_OK);
  EXPECT_EQ(times(), (std::vector<Times>{{1, -4, -1}}));
}

TEST_F(PublishMoved, TimesThatNoStreamHasAreNull) {
  Harness h({{"location", file_.c_str()}}, "tomepublish");
  h.set_caps();
  begin_segment(h, kMoved);
  ASSERT_EQ(h.push(frame_at(GstClockTime{1} << 63, {clip(0, 3)})), GST_FLOW_OK);
  const Json line = lines().at(0);
  EXPECT_TRUE(line["pts"].is_null());
  EXPECT_TRUE(line["clip"]["start"].is_null());
  EXPECT_TRUE(line["clip"]["end"].is_null());
}

/// A frame and the age of a result that was published with it.
using Line = std::pair<long, int>;

class PublishDropped : public Publish {
 protected:
  std::vector<Line> published() const {
    std::vector<Line> found;
    for (const Json& line : lines()) {
      found.emplace_back(std::lround(line["pts"].get<double>() * 10), line["age"]);
    }
    return found;
  }
  /// Pushes frame `number`, with results of single frames.
  static void push(Harness& h, int number, std::initializer_list<Classification> results) {
    ASSERT_EQ(h.push(frame_with(results, number)), GST_FLOW_OK);
  }
};

/// The result of frame `number`, `age` frames later.
Classification of(int number, unsigned age) { return clip(number, number, age); }

Classification of_object(int id, int number, unsigned age) {
  Classification made = of(number, age);
  made.region = {number + static_cast<int>(age), 0, 4, 4};
  made.object = {"car", id};
  return made;
}

TEST_F(PublishDropped, AFreshResultComesWithTheNextFrameAndItsAge) {
  Harness h({{"location", file_.c_str()}}, "tomepublish");
  h.set_caps();
  push(h, 0, {of(0, 0)});
  push(h, 1, {of(0, 1)});
  // 2 was dropped; packets of 3, 4, then what is fresh again.
  for (const int number : {3, 3, 4}) push(h, number, {of(2, static_cast<unsigned>(number) - 2)});
  push(h, 5, {of(5, 0)});
  push(h, 6, {of(5, 1)});
  EXPECT_EQ(published(), (std::vector<Line>{{0, 0}, {3, 1}, {5, 0}}));
}

TEST_F(PublishDropped, ModelsOfOneNameOrOfSeveralDoNotHideEachOther) {
  Harness h({{"location", file_.c_str()}}, "tomepublish");
  h.set_caps();
  Classification other = of(2, 1);
  other.model = "other";
  push(h, 0, {of(0, 0), of(0, 0)});
  push(h, 1, {of(0, 1), of(1, 0)});
  EXPECT_EQ(lines().size(), 3U);
  push(h, 3, {of(2, 1), of(2, 1), other});
  EXPECT_EQ(lines().size(), 6U);
  ++other.age;
  push(h, 4, {of(2, 2), of(2, 2), other});
  EXPECT_EQ(lines().size(), 6U);
}

TEST_F(PublishDropped, OfAnObjectThatMovesTooAndWithoutAnIdNothingIsHeld) {
  Harness h({{"location", file_.c_str()}}, "tomepublish");
  h.set_caps();
  Classification nobody = of(1, 1);
  nobody.region = {1, 2, 3, 4};
  push(h, 0, {of_object(7, 0, 0)});
  push(h, 2, {of_object(7, 0, 2), of_object(8, 1, 1), nobody});
  push(h, 3, {});
  push(h, 4, {of_object(7, 0, 4), of_object(8, 1, 3), nobody});
  EXPECT_EQ(published(), (std::vector<Line>{{0, 0}, {2, 1}}));
  EXPECT_EQ(lines()[1]["object"]["id"], 8);
}

TEST_F(PublishDropped, ANewSegmentRepeatsNothingAndMayGoBack) {
  Harness h({{"location", file_.c_str()}}, "tomepublish");
  h.set_caps();
  push(h, 6, {of(6, 0)});
  begin_segment(h, 0);
  push(h, 7, {of(6, 1)});
  begin_segment(h, 0);
  // Its first frame was dropped.
  for (const int number : {1, 2}) push(h, number, {of(0, static_cast<unsigned>(number))});
  push(h, 6, {of(6, 0)});
  push(h, 7, {of(6, 1)});
  EXPECT_EQ(published(), (std::vector<Line>{{6, 0}, {1, 1}, {6, 0}}));
}

/// As a funnel or an input-selector does before a frame that comes from another of its pads.
void take_turn(Harness& h, const std::string& stream) {
  h.push_event(gst_event_new_stream_start(stream.c_str()));
  h.set_caps();
  begin_segment(h, 0);
}

TEST_F(PublishDropped, StreamsThatTakeTurnsOnOnePadRepeatNothing) {
  Harness h({{"location", file_.c_str()}}, "tomepublish");
  h.set_caps();
  for (int number = 0; number < 9; ++number) {
    const int fresh = number / 4 * 4;
    // The second stream is a frame behind; its frame 4 with the fresh result was dropped.
    take_turn(h, "first");
    push(h, number, {of(fresh, static_cast<unsigned>(number - fresh))});
    if (number == 4) continue;
    take_turn(h, "second");
    Classification late = of(fresh, static_cast<unsigned>(number - fresh));
    late.clip_start = late.clip_end += kFrame;
    push(h, number + 1, {late});
  }
  EXPECT_EQ(published(), (std::vector<Line>{{0, 0}, {1, 0}, {4, 0}, {6, 1}, {8, 0}, {9, 0}}));
}

TEST_F(PublishDropped, TwoModelsOfOneNameAreNotRepeatedInAnotherSegment) {
  Harness h({{"location", file_.c_str()}}, "tomepublish");
  h.set_caps();
  push(h, 3, {of(3, 0), of(2, 1)});
  push(h, 4, {of(3, 1), of(4, 0)});
  begin_segment(h, 0);
  for (const int number : {5, 6}) {
    const auto now = static_cast<unsigned>(number);
    push(h, number, {of(3, now - 3), of(4, now - 4)});
  }
  EXPECT_EQ(published(), (std::vector<Line>{{3, 0}, {3, 1}, {4, 0}}));
}

TEST_F(PublishDropped, TimeMayGoBackWithinASegment) {
  Harness h({{"location", file_.c_str()}}, "tomepublish");
  h.set_caps();
  // In reverse, then after a jump; 5 and 12 were dropped.
  push(h, 9, {of(9, 0)});
  push(h, 8, {of(9, 1)});
  push(h, 7, {of(7, 0)});
  for (const int number : {4, 3}) push(h, number, {of(5, static_cast<unsigned>(5 - number))});
  push(h, 100, {of(100, 0)});
  for (const int number : {13, 14}) push(h, number, {of(12, static_cast<unsigned>(number - 12))});
  EXPECT_EQ(published(), (std::vector<Line>{{9, 0}, {7, 0}, {4, 1}, {100, 0}, {13, 1}}));
}

TEST_F(PublishDropped, AfterAFlushTheSameTimesAreOtherFrames) {
  Harness h({{"location", file_.c_str()}}, "tomepublish");
  h.set_caps();
  push(h, 0, {of(0, 0)});
  h.push_event(gst_event_new_flush_start());
  h.push_event(gst_event_new_flush_stop(TRUE));
  begin_segment(h, 0);
  // Its first frame was dropped.
  for (const int number : {1, 2}) push(h, number, {of(0, static_cast<unsigned>(number))});
  EXPECT_EQ(published(), (std::vector<Line>{{0, 0}, {1, 1}}));
}

/// A frame and the one whose result it carries.
struct Coded {
  int pts, dts, fresh;
};

void push_coded(Harness& h, const Coded& coded) {
  const auto age = static_cast<unsigned>(coded.pts - coded.fresh);
  GstBuffer* buffer = frame_with({of(coded.fresh, age)}, coded.pts);
  GST_BUFFER_DTS(buffer) = static_cast<GstClockTime>(coded.dts) * kFrame;
  ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
}

constexpr const char* kCodedCaps = "video/x-h264,width=16,height=8,framerate=10/1";

TEST_F(PublishDropped, AHeldResultThatComesBeforeTheFreshOneWaitsForIt) {
  Harness h({{"location", file_.c_str()}}, "tomepublish");
  h.set_caps(kCodedCaps);
  // The second time the frame with the fresh result, 10, was dropped.
  for (const Coded coded : {Coded{0, 0, 0},
                            {8, 2, 5},
                            {5, 3, 5},
                            {4, 4, 0},
                            {6, 6, 5},
                            {13, 8, 10},
                            {9, 9, 5},
                            {11, 11, 10},
                            {12, 12, 10}}) {
    push_coded(h, coded);
  }
  EXPECT_EQ(published(), (std::vector<Line>{{0, 0}, {5, 0}, {11, 1}}));
}

TEST_F(PublishDropped, OneThatComesBehindALaterFreshOneIsNotLost) {
  Harness h({{"location", file_.c_str()}}, "tomepublish");
  h.set_caps(kCodedCaps);
  // 5 was dropped, or came before there was a publisher.
  for (const Coded coded : {Coded{10, 6, 10}, {8, 7, 5}, {7, 7, 5}, {9, 9, 5}, {11, 11, 10}}) {
    push_coded(h, coded);
  }
  EXPECT_EQ(published(), (std::vector<Line>{{10, 0}, {7, 2}}));
}

TEST_F(PublishDropped, OfRawFramesADtsSaysNothing) {
  Harness h({{"location", file_.c_str()}}, "tomepublish");
  for (const char* caps : {kGrayCaps,
                           "video/x-raw(memory:Other),format=GRAY8,width=16,height=8,"
                           "framerate=10/1"}) {
    h.set_caps(caps);
    begin_segment(h, 0);
    h.push_event(gst_event_new_flush_start());
    h.push_event(gst_event_new_flush_stop(TRUE));
    begin_segment(h, 0);
    // As behind videorate, of a source with do-timestamp.
    for (const Coded coded : {Coded{3, 2, 2}, {4, 3, 2}}) push_coded(h, coded);
  }
  EXPECT_EQ(published(), (std::vector<Line>{{3, 1}, {3, 1}}));
}

TEST_F(PublishDropped, VideorateLosesNoResultThatAFrameStillCarries) {
  FakeCore::instance().reset();
  EXPECT_EQ(play("videotestsrc num-buffers=30 ! video/x-raw,format=GRAY8,width=16,height=8,"
                 "framerate=30/1 ! tomeclassify model=m inference-interval=4 ! videorate ! "
                 "video/x-raw,framerate=10/1 ! tomepublish location=" +
                     file_.string(),
                 [](GstBuffer*) {}),
            "");
  // The last one's frames may all have gone.
  EXPECT_GE(lines().size(), 7U);
  EXPECT_LE(lines().size(), 8U);
}

class PublishBehindAnEncoder : public PublishMoved,
                               public ::testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    if (gst_registry_check_feature_version(gst_registry_get(), GetParam(), 1, 0, 0) == FALSE) {
      GTEST_SKIP() << "no " << GetParam() << " here";
    }
    PublishMoved::SetUp();
    FakeCore::instance().reset();
  }

  /// Publishes what tomeclassify, with these properties, says of so many frames.
  void publish(int frames, const std::string& properties) {
    const std::string line = "videotestsrc num-buffers=" + std::to_string(frames) +
                             " ! video/x-raw,width=160,height=120,framerate=10/1 ! videoconvert ! "
                             "tomeclassify model=m " +
                             properties + " ! videoconvert ! " + GetParam() +
                             " ! tomepublish location=" + file_.string();
    EXPECT_EQ(play(line, [](GstBuffer*) {}), "");
  }
};

TEST_P(PublishBehindAnEncoder, ClipsAreWhereTheyWereBeforeIt) {
  FakeCore::instance().set({.clip_length = 4});
  publish(10, "");
  EXPECT_EQ(times(), (std::vector<Times>{{3, 0, 3}, {7, 4, 7}, {9, 8, 9}}));
}

TEST_P(PublishBehindAnEncoder, WhatItReordersIsPublishedOnceAndFresh) {
  publish(40, "inference-interval=3");
  EXPECT_EQ(lines().size(), 14U);
  for (const Json& one : lines()) EXPECT_EQ(one["age"], 0) << one;
}

INSTANTIATE_TEST_SUITE_P(OfGStreamer, PublishBehindAnEncoder,
                         ::testing::Values("x264enc", "x265enc", "avenc_mjpeg"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace tome::testing
