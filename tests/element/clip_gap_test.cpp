// What ends a window and what was held: gaps that are told by a flag, by time stamps, or by frames
// that cannot be read.
#include "element_fixture.h"

namespace tome::testing {
namespace {

using ClipGap = ElementTest;

/// A frame at `ms` milliseconds (negative: without a time stamp), with `flags`.
GstBuffer* frame_at(int ms, unsigned flags = 0) {
  GstBuffer* buffer = Harness::frame(1, 0);
  GST_BUFFER_PTS(buffer) = ms < 0 ? GST_CLOCK_TIME_NONE : static_cast<guint64>(ms) * GST_MSECOND;
  GST_BUFFER_DURATION(buffer) = GST_CLOCK_TIME_NONE;
  GST_BUFFER_FLAG_SET(buffer, flags);
  return buffer;
}

constexpr unsigned kDiscont = GST_BUFFER_FLAG_DISCONT;

/// A frame of half its size.
GstBuffer* short_frame(int ms) {
  GstBuffer* buffer = frame_at(ms);
  gst_buffer_set_size(buffer, 64);
  return buffer;
}

/// Pushes two frames, the second `ms` after the first and with `flags`: whether the core was told
/// that it does not continue the first.
bool breaks(Harness& h, FakeCore& core, int ms, unsigned flags = kDiscont) {
  EXPECT_EQ(h.push(frame_at(50'000)), GST_FLOW_OK);
  EXPECT_EQ(h.push(frame_at(50'000 + ms, flags)), GST_FLOW_OK);
  for (int i = 0; i < 2; ++i) h.pull();
  return core.frames().back().discont;
}

TEST_F(ClipGap, FramesThatALeakyQueueDropsDoNotEndAWindow) {
  core_.set({.clip_length = 4});
  Harness h({{"model", "m"}});
  h.set_caps();
  // Every second one is dropped, so each that comes is flagged.
  for (int i = 0; i < 8; ++i) ASSERT_EQ(h.push(frame_at(200 * i, kDiscont)), GST_FLOW_OK);
  std::vector<int> ages;
  for (int i = 0; i < 8; ++i) {
    const auto results = gst::results_of(h.pull().get());
    ages.push_back(results.empty() ? -1 : static_cast<int>(results[0].age));
  }
  EXPECT_EQ(ages, (std::vector<int>{-1, -1, -1, 0, 1, 2, 3, 0}));
  EXPECT_FALSE(h.has_message(GST_MESSAGE_WARNING));
}

TEST_F(ClipGap, NorWhatIsHeld) {
  Harness h({{"model", "m"}, {"inference-interval", "3"}});
  h.set_caps();
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(h.push(frame_at(200 * i, kDiscont)), GST_FLOW_OK);
    const auto results = gst::results_of(h.pull().get());
    ASSERT_EQ(results.size(), 1U) << i;
    EXPECT_EQ(results[0].age, static_cast<unsigned>(i));
  }
}

TEST_F(ClipGap, AFlagWithALongStepOrOneBackDoes) {
  core_.set({.clip_length = 4});
  Harness h({{"model", "m"}});
  h.set_caps();
  EXPECT_FALSE(breaks(h, core_, 1000));
  EXPECT_TRUE(breaks(h, core_, 1001));
  EXPECT_TRUE(breaks(h, core_, -1));
  EXPECT_FALSE(breaks(h, core_, 0));
  EXPECT_FALSE(breaks(h, core_, 9000, 0)) << "windows count frames, whenever they come";
  h.set_caps("video/x-raw,format=GRAY8,width=16,height=8,framerate=1/2");
  EXPECT_FALSE(breaks(h, core_, 10'000)) << "five frames";
  EXPECT_TRUE(breaks(h, core_, 10'001));
}

TEST_F(ClipGap, AFlagWithoutTimeStampsDoesNot) {
  core_.set({.clip_length = 4});
  Harness h({{"model", "m"}});
  h.set_caps();
  for (int i = 0; i < 3; ++i) ASSERT_EQ(h.push(frame_at(-1, kDiscont)), GST_FLOW_OK);
  for (int i = 0; i < 3; ++i) h.pull();
  EXPECT_FALSE(core_.frames().back().discont);
}

TEST_F(ClipGap, AFlagInANewSegmentDoesAndSoDoesResync) {
  core_.set({.clip_length = 4});
  Harness h({{"model", "m"}});
  h.set_caps();
  ASSERT_EQ(h.push(frame_at(0)), GST_FLOW_OK);
  GstSegment segment;
  gst_segment_init(&segment, GST_FORMAT_TIME);
  h.push_event(gst_event_new_segment(&segment));
  ASSERT_EQ(h.push(frame_at(100, kDiscont)), GST_FLOW_OK);
  EXPECT_TRUE(core_.frames().back().discont);
  ASSERT_EQ(h.push(frame_at(200, kDiscont)), GST_FLOW_OK);
  EXPECT_FALSE(core_.frames().back().discont) << "once";
  ASSERT_EQ(h.push(frame_at(300, GST_BUFFER_FLAG_RESYNC)), GST_FLOW_OK);
  EXPECT_TRUE(core_.frames().back().discont);
}

TEST_F(ClipGap, WindowsThatNeverFillAreSaidOnce) {
  core_.set({.clip_length = 4});
  Harness h({{"model", "m"}, {"frame-stride", "2"}});
  h.set_caps();
  // A window takes seven frames; six come in one piece.
  const auto piece = [&](int at) {
    for (int i = 0; i < 6; ++i) {
      ASSERT_EQ(h.push(frame_at(10'000 * at + 100 * i, i == 0 ? kDiscont : 0)), GST_FLOW_OK);
    }
  };
  for (int at = 0; at < 3; ++at) piece(at);
  EXPECT_FALSE(h.has_message(GST_MESSAGE_WARNING));
  for (int at = 3; at < 9; ++at) piece(at);
  const std::string text = h.error_text(nullptr, GST_MESSAGE_WARNING);
  EXPECT_NE(text.find("4 frames"), std::string::npos) << text;
  EXPECT_NE(text.find("cut short"), std::string::npos) << text;
  EXPECT_FALSE(h.has_message(GST_MESSAGE_WARNING));
}

TEST_F(ClipGap, SeeksMayCutAsManyWindowsAsTheyLike) {
  core_.set({.clip_length = 4});
  Harness h({{"model", "m"}});
  h.set_caps();
  for (int seek = 0; seek < 6; ++seek) {
    h.push_event(gst_event_new_flush_start());
    h.push_event(gst_event_new_flush_stop(TRUE));
    GstSegment segment;
    gst_segment_init(&segment, GST_FORMAT_TIME);
    h.push_event(gst_event_new_segment(&segment));
    for (int i = 0; i < 2; ++i) ASSERT_EQ(h.push(frame_at(100 * i)), GST_FLOW_OK);
  }
  EXPECT_FALSE(h.has_message(GST_MESSAGE_WARNING));
}

TEST_F(ClipGap, AFrameThatCannotBeReadCutsAWindowAndWhatWasHeld) {
  core_.set({.clip_length = 2});
  Harness h({{"model", "m"}});
  h.set_caps();
  std::vector<int> ages;
  for (const int i : {0, 1, 2, 3, 4, 5}) {
    ASSERT_EQ(h.push(i == 3 ? short_frame(300) : frame_at(100 * i)), GST_FLOW_OK);
    const auto out = h.pull();
    EXPECT_EQ(GST_BUFFER_PTS(out.get()), static_cast<guint64>(i) * kFrame);
    const auto results = gst::results_of(out.get());
    ages.push_back(results.empty() ? -1 : static_cast<int>(results[0].age));
  }
  // The window of 2 and 4 would show a jump.
  EXPECT_EQ(ages, (std::vector<int>{-1, 0, 1, -1, -1, 0}));
  EXPECT_TRUE(core_.frames().at(3).discont);
}

TEST_F(ClipGap, ATrackDoesNotGoOnOverAFrameThatCannotBeRead) {
  Harness h({{"model", "m"}, {"inference-region", "roi-list"}, {"inference-interval", "3"}});
  h.set_caps();
  std::vector<int64_t> values;
  for (int i = 0; i < 5; ++i) {
    GstBuffer* buffer = numbered_frame(i);
    if (i == 1) gst_buffer_set_size(buffer, 64);
    auto* roi =
        gst_buffer_add_video_region_of_interest_meta(buffer, "x", static_cast<guint>(i), 0, 4, 4);
    roi->id = 7;
    ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
    values.push_back(value_on(h.pull().get()));
  }
  // The frame counts for the interval: 3 is due, in the core as in the tracker.
  EXPECT_EQ(values, (std::vector<int64_t>{0, -1, -1, 3, 3}));
  EXPECT_FALSE(h.has_message(GST_MESSAGE_QOS)) << "nothing was late";
}

TEST_F(ClipGap, FramesWithoutARegionAreNoFramesThatCouldBeRead) {
  Harness h({{"model", "m"}, {"inference-region", "roi-list"}});
  h.set_caps();
  GstFlowReturn flow = GST_FLOW_OK;
  int pushed = 0;
  for (; flow == GST_FLOW_OK && pushed < 80; ++pushed) {
    GstBuffer* buffer = numbered_frame(pushed);
    if (pushed % 2 == 0) {
      gst_buffer_set_size(buffer, 64);
      gst_buffer_add_video_region_of_interest_meta(buffer, "x", 0, 0, 4, 4);
    }
    flow = h.push(buffer);
  }
  EXPECT_EQ(flow, GST_FLOW_ERROR);
  EXPECT_EQ(pushed, 63) << "the 32nd of those that a detector saw something in";
}

TEST_F(ClipGap, AnEmptyBufferWithoutARegionIsAGap) {
  Harness h({{"model", "m"}, {"inference-region", "roi-list"}});
  h.set_caps();
  ASSERT_EQ(h.push(gst_buffer_new()), GST_FLOW_OK);
  EXPECT_NE(h.error_text(nullptr, GST_MESSAGE_WARNING).find("0 bytes"), std::string::npos);
}

}  // namespace
}  // namespace tome::testing
