// tomepublish behind elements that move time stamps: its lines still say when a clip was.
#include <cmath>
#include <ostream>

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

class PublishBehindAnEncoder : public PublishMoved,
                               public ::testing::WithParamInterface<const char*> {};

TEST_P(PublishBehindAnEncoder, ClipsAreWhereTheyWereBeforeIt) {
  if (gst_registry_check_feature_version(gst_registry_get(), GetParam(), 1, 0, 0) == FALSE) {
    GTEST_SKIP() << "no " << GetParam() << " here";
  }
  // The test's own name has a slash.
  file_ = std::filesystem::temp_directory_path() /
          ("tomepublish-" + std::to_string(getpid()) + "-" + GetParam());
  FakeCore::instance().reset();
  FakeCore::instance().set({.clip_length = 4});
  const std::string line = std::string("videotestsrc num-buffers=10 ! ") +
                           "video/x-raw,width=160,height=120,framerate=10/1 ! videoconvert ! "
                           "tomeclassify model=m ! videoconvert ! " +
                           GetParam() + " ! tomepublish location=" + file_.string();
  EXPECT_EQ(play(line, [](GstBuffer*) {}), "");
  EXPECT_EQ(times(), (std::vector<Times>{{3, 0, 3}, {7, 4, 7}, {9, 8, 9}}));
}

INSTANTIATE_TEST_SUITE_P(OfGStreamer, PublishBehindAnEncoder,
                         ::testing::Values("x264enc", "x265enc", "avenc_mjpeg"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace tome::testing
