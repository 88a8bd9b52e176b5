// Windows, held results with their age, and the end of a stream.
#include "element_fixture.h"
#include "logged_warnings.h"

namespace tome::testing {
namespace {

using Clip = ElementTest;

GstBuffer* flagged(GstBuffer* buffer, GstBufferFlags flag = GST_BUFFER_FLAG_DISCONT) {
  GST_BUFFER_FLAG_SET(buffer, flag);
  return buffer;
}

/// The first GstTomeClassification event out, and whether EOS came before it.
Ptr<GstEvent> result_event(Harness& h, bool& eos_first) {
  eos_first = false;
  while (true) {
    Ptr<GstEvent> event(gst_harness_pull_event(h.get()));
    if (!event) return event;
    if (GST_EVENT_TYPE(event.get()) == GST_EVENT_EOS) {
      eos_first = true;
      return nullptr;
    }
    const GstStructure* structure = gst_event_get_structure(event.get());
    if (GST_EVENT_TYPE(event.get()) == GST_EVENT_CUSTOM_DOWNSTREAM &&
        gst_structure_has_name(structure, gst::kClassificationName)) {
      return event;
    }
  }
}

TEST_F(Clip, FramesBetweenInferencesCarryTheLastResultWithItsAge) {
  Harness h({{"model", "m"}, {"inference-interval", "3"}});
  h.set_caps();
  for (int i = 0; i < 7; ++i) ASSERT_EQ(h.push(1, i), GST_FLOW_OK);
  EXPECT_EQ(ages(h, 7), (std::vector<int>{0, 1, 2, 0, 1, 2, 0}));
}

TEST_F(Clip, TheResultIsOnTheWindowsLastFrameAndFramesInsideLeaveAtOnce) {
  core_.set({.clip_length = 4});
  Harness h({{"model", "m"}});
  h.set_caps();
  core_.close_gate();
  for (int i = 0; i < 3; ++i) ASSERT_EQ(h.push(1, i), GST_FLOW_OK);
  EXPECT_EQ(ages(h, 3), (std::vector<int>{-1, -1, -1})) << "no frame waits for its window";
  core_.open_gate();
  for (int i = 3; i < 10; ++i) ASSERT_EQ(h.push(static_cast<uint8_t>(i), i), GST_FLOW_OK);
  const auto last = h.pull();
  const auto results = gst::results_of(last.get());
  ASSERT_EQ(results.size(), 1U);
  EXPECT_EQ(results[0].clip_start, 0U);
  EXPECT_EQ(results[0].clip_end, 3 * kFrame);
  EXPECT_EQ(results[0].frames, 4U);
  EXPECT_EQ(results[0].tags[0].id, 3);
  EXPECT_EQ(ages(h, 6), (std::vector<int>{1, 2, 3, 0, 1, 2}));
}

TEST_F(Clip, AJumpAndNewCapsStartTheWindowAnewAndEndWhatWasHeld) {
  core_.set({.clip_length = 2});
  Harness h({{"model", "m"}});
  h.set_caps();
  for (int i = 0; i < 2; ++i) ASSERT_EQ(h.push(1, i), GST_FLOW_OK);
  EXPECT_EQ(ages(h, 2), (std::vector<int>{-1, 0}));
  ASSERT_EQ(h.push(1, 2), GST_FLOW_OK);
  ASSERT_EQ(h.push(flagged(Harness::frame(1, 19))), GST_FLOW_OK);
  ASSERT_EQ(h.push(1, 20), GST_FLOW_OK);
  EXPECT_EQ(ages(h, 3), (std::vector<int>{1, -1, 0}));
  h.set_caps("video/x-raw,format=GRAY8,width=8,height=16,framerate=10/1");
  for (int i = 21; i < 23; ++i) ASSERT_EQ(h.push(1, i), GST_FLOW_OK);
  EXPECT_EQ(ages(h, 2), (std::vector<int>{-1, 0}));
  const auto frames = core_.frames();
  std::vector<bool> discont;
  for (const auto& frame : frames) discont.push_back(frame.discont);
  EXPECT_EQ(discont, (std::vector<bool>{true, false, false, true, false, true, false}));
}

TEST_F(Clip, CapsThatAreSentAgainChangeNothing) {
  core_.set({.clip_length = 2});
  Harness h({{"model", "m"}});
  h.set_caps();
  ASSERT_EQ(h.push(1, 0), GST_FLOW_OK);
  h.set_caps();
  ASSERT_EQ(h.push(1, 1), GST_FLOW_OK);
  EXPECT_EQ(ages(h, 2), (std::vector<int>{-1, 0}));
}

TEST_F(Clip, AnotherFrameRateStartsTheWindowAnew) {
  core_.set({.clip_length = 2});
  Harness h({{"model", "m"}});
  h.set_caps();
  ASSERT_EQ(h.push(1, 0), GST_FLOW_OK);
  h.set_caps("video/x-raw,format=GRAY8,width=16,height=8,framerate=25/1");
  for (int i = 1; i < 3; ++i) ASSERT_EQ(h.push(1, i), GST_FLOW_OK);
  EXPECT_EQ(ages(h, 3), (std::vector<int>{-1, -1, 0}));
}

/// A frame at `ms` milliseconds; without a time stamp if that is negative.
GstBuffer* grey_at(uint8_t value, int ms) {
  GstBuffer* buffer = Harness::frame(value, 0);
  GST_BUFFER_PTS(buffer) = ms < 0 ? GST_CLOCK_TIME_NONE : static_cast<guint64>(ms) * GST_MSECOND;
  GST_BUFFER_DTS(buffer) = GST_CLOCK_TIME_NONE;
  GST_BUFFER_DURATION(buffer) = GST_CLOCK_TIME_NONE;
  return buffer;
}

TEST_F(Clip, AVariableFrameRateChangesNothingWindowsCountFrames) {
  core_.set({.clip_length = 3});
  Harness h({{"model", "m"}});
  h.set_caps("video/x-raw,format=GRAY8,width=16,height=8,framerate=0/1");
  for (const int ms : {0, 7, 1400, 1401, 9000, 9040})
    ASSERT_EQ(h.push(grey_at(1, ms)), GST_FLOW_OK);
  EXPECT_EQ(ages(h, 2), (std::vector<int>{-1, -1}));
  const auto results = gst::results_of(h.pull().get());
  ASSERT_EQ(results.size(), 1U);
  EXPECT_EQ(results[0].clip_start, 0U);
  EXPECT_EQ(results[0].clip_end, 1400 * GST_MSECOND);
  EXPECT_EQ(ages(h, 3), (std::vector<int>{1, 2, 0}));
}

TEST_F(Clip, MissingTimeStampsChangeNothing) {
  core_.set({.clip_length = 2});
  Harness h({{"model", "m"}});
  h.set_caps();
  for (const int ms : {-1, 100, -1, -1}) ASSERT_EQ(h.push(grey_at(1, ms)), GST_FLOW_OK);
  EXPECT_EQ(ages(h, 1), (std::vector<int>{-1}));
  const auto first = gst::results_of(h.pull().get());
  ASSERT_EQ(first.size(), 1U);
  EXPECT_EQ(first[0].clip_start, GST_CLOCK_TIME_NONE);
  EXPECT_EQ(first[0].clip_end, 100 * GST_MSECOND);
  EXPECT_EQ(ages(h, 2), (std::vector<int>{1, 0}));
}

TEST_F(Clip, TimeStampsThatJumpBackStartTheWindowAnewAndJitterDoesNot) {
  core_.set({.clip_length = 3});
  Harness h({{"model", "m"}});
  h.set_caps();
  for (const int ms : {5000, 5100, 5060}) ASSERT_EQ(h.push(grey_at(1, ms)), GST_FLOW_OK);
  EXPECT_EQ(ages(h, 3), (std::vector<int>{-1, -1, 0})) << "40 ms back";
  // The file starts over, and nobody said so.
  for (const int ms : {5200, 0, 100, 200}) ASSERT_EQ(h.push(grey_at(1, ms)), GST_FLOW_OK);
  EXPECT_EQ(ages(h, 4), (std::vector<int>{1, -1, -1, 0}));
}

void send_segment(Harness& h, double rate, double applied_rate = 1,
                  GstSegmentFlags flags = GST_SEGMENT_FLAG_NONE) {
  GstSegment segment;
  gst_segment_init(&segment, GST_FORMAT_TIME);
  segment.rate = rate;
  segment.applied_rate = applied_rate;
  segment.flags = flags;
  segment.stop = GST_SECOND;
  h.push_event(gst_event_new_segment(&segment));
}

TEST_F(Clip, FramesOfReversePlaybackPassWithoutInferenceAndOneWarningSaysSo) {
  core_.set({.clip_length = 4});
  Harness h({{"model", "m"}});
  h.set_caps();
  for (int i = 0; i < 6; ++i) ASSERT_EQ(h.push(1, i), GST_FLOW_OK);
  EXPECT_EQ(ages(h, 6), (std::vector<int>{-1, -1, -1, 0, 1, 2}));
  send_segment(h, -1);
  for (int i = 9; i > 3; --i) ASSERT_EQ(h.push(2, i), GST_FLOW_OK);
  EXPECT_EQ(ages(h, 6), std::vector<int>(6, -1)) << "not even what was held";
  EXPECT_EQ(core_.frames().size(), 6U);
  const std::string text = h.error_text(nullptr, GST_MESSAGE_WARNING);
  EXPECT_NE(text.find("reverse playback"), std::string::npos) << text;
  EXPECT_NE(text.find("4 frames"), std::string::npos) << text;
  EXPECT_FALSE(h.has_message(GST_MESSAGE_WARNING));
  bool eos_first = false;
  EXPECT_NE(result_event(h, eos_first), nullptr) << "the window that the turn cut short";
  send_segment(h, 2);
  for (int i = 0; i < 4; ++i) ASSERT_EQ(h.push(3, i), GST_FLOW_OK);
  EXPECT_EQ(ages(h, 4), (std::vector<int>{-1, -1, -1, 0}));
  EXPECT_TRUE(core_.frames().at(6).discont);
}

TEST_F(Clip, FramesThatAServerReversesAndKeyFramesAlonePassWithoutInferenceToo) {
  for (const bool server : {true, false}) {
    core_.reset();
    core_.set({.clip_length = 2});
    Harness h({{"model", "m"}});
    h.set_caps();
    send_segment(h, 1, server ? -1 : 1,
                 server ? GST_SEGMENT_FLAG_NONE : GST_SEGMENT_FLAG_TRICKMODE_KEY_UNITS);
    for (int i = 0; i < 4; ++i) ASSERT_EQ(h.push(1, i), GST_FLOW_OK);
    EXPECT_EQ(ages(h, 4), std::vector<int>(4, -1));
    EXPECT_TRUE(core_.frames().empty());
    const std::string text = h.error_text(nullptr, GST_MESSAGE_WARNING);
    EXPECT_NE(text.find(server ? "reverse" : "key frames"), std::string::npos) << text;
    EXPECT_FALSE(h.has_message(GST_MESSAGE_WARNING));
    send_segment(h, 1);
    for (int i = 0; i < 2; ++i) ASSERT_EQ(h.push(1, i), GST_FLOW_OK);
    EXPECT_EQ(ages(h, 2), (std::vector<int>{-1, 0}));
  }
}

TEST_F(Clip, WhatAServerReversesIsForwardAgainInReversePlayback) {
  core_.set({.clip_length = 2});
  Harness h({{"model", "m"}});
  h.set_caps();
  send_segment(h, -1, -1);
  for (int i = 9; i > 7; --i) ASSERT_EQ(h.push(1, i), GST_FLOW_OK);
  EXPECT_EQ(ages(h, 2), (std::vector<int>{-1, 0}));
  EXPECT_FALSE(h.has_message(GST_MESSAGE_WARNING));
}

TEST_F(Clip, AWindowEndsWhereThePlaybackTurns) {
  core_.set({.clip_length = 2});
  Harness h({{"model", "m"}});
  h.set_caps();
  ASSERT_EQ(h.push(1, 7), GST_FLOW_OK);
  send_segment(h, -1, -1);
  for (int i = 9; i > 7; --i) ASSERT_EQ(h.push(1, i), GST_FLOW_OK);
  EXPECT_EQ(ages(h, 3), (std::vector<int>{-1, -1, 0}));
}

TEST_F(Clip, ImageModelsGoOnInReversePlayback) {
  Harness h({{"model", "m"}, {"inference-interval", "2"}});
  h.set_caps();
  send_segment(h, -1);
  // A second apart, which would be a jump forward.
  for (int i = 50; i > 0; i -= 10) ASSERT_EQ(h.push(1, i), GST_FLOW_OK);
  EXPECT_EQ(ages(h, 5), (std::vector<int>{0, 1, 0, 1, 0}));
  ASSERT_EQ(h.push(1, 30), GST_FLOW_OK);
  EXPECT_EQ(ages(h, 1), (std::vector<int>{-1})) << "a jump: two seconds on";
  EXPECT_FALSE(h.has_message(GST_MESSAGE_WARNING));
}

TEST_F(Clip, AtEosAHalfFullWindowGoesOutAsEventAndMessageBeforeEos) {
  core_.set({.clip_length = 4});
  Harness h({{"model", "m"}});
  h.set_caps();
  for (int i = 0; i < 6; ++i) ASSERT_EQ(h.push(static_cast<uint8_t>(i), i), GST_FLOW_OK);
  const PadLog out(h.src());
  EXPECT_TRUE(h.push_event(gst_event_new_eos()));
  bool eos_first = false;
  const auto event = result_event(h, eos_first);
  ASSERT_NE(event, nullptr) << (eos_first ? "EOS came first" : "nothing came");
  EXPECT_TRUE(GST_EVENT_IS_SERIALIZED(event.get()));
  const auto results = gst::results_of(gst_event_get_structure(event.get()));
  ASSERT_EQ(results.size(), 1U);
  EXPECT_EQ(results[0].clip_start, 4 * kFrame);
  EXPECT_EQ(results[0].clip_end, 5 * kFrame);
  EXPECT_EQ(results[0].tags[0].id, 5);
  EXPECT_EQ(results[0].age, 0U);
  const auto message = h.message(GST_MESSAGE_ELEMENT);
  ASSERT_NE(message, nullptr);
  const GstStructure* posted = gst_message_get_structure(message.get());
  EXPECT_EQ(gst::results_of(posted)[0].tags[0].id, 5);
  guint64 stream_time = 0;
  EXPECT_TRUE(gst_structure_get_uint64(posted, "stream-time", &stream_time));
  EXPECT_EQ(stream_time, 5 * kFrame) << "of its last frame";
  const Ptr<GstEvent> eos(gst_harness_pull_event(h.get()));
  EXPECT_EQ(GST_EVENT_TYPE(eos.get()), GST_EVENT_EOS);
}

TEST_F(Clip, AtEosALessThanHalfFullWindowIsDropped) {
  core_.set({.clip_length = 4});
  Harness h({{"model", "m"}});
  h.set_caps();
  for (int i = 0; i < 5; ++i) ASSERT_EQ(h.push(1, i), GST_FLOW_OK);
  EXPECT_TRUE(h.push_event(gst_event_new_eos()));
  bool eos_first = false;
  EXPECT_EQ(result_event(h, eos_first), nullptr);
  EXPECT_TRUE(eos_first);
}

TEST_F(Clip, AStreamThatFollowsAnotherDoesNotShareItsWindow) {
  core_.set({.clip_length = 4});
  Harness h({{"model", "m"}});
  h.set_caps();
  for (int i = 0; i < 3; ++i) ASSERT_EQ(h.push(1, i), GST_FLOW_OK);
  // As concat does: no EOS between the streams.
  h.push_event(gst_event_new_stream_start("second"));
  bool eos_first = false;
  EXPECT_NE(result_event(h, eos_first), nullptr);
  h.set_caps();
  for (int i = 0; i < 4; ++i) ASSERT_EQ(h.push(1, i), GST_FLOW_OK);
  EXPECT_EQ(ages(h, 7), (std::vector<int>{-1, -1, -1, -1, -1, -1, 0}));
}

TEST_F(Clip, EosWaitsForAllThatIsInFlight) {
  Harness h({{"model", "m"}, {"batch-size", "4"}});
  h.set_caps();
  core_.set({.delay_ms = 20});
  for (int i = 0; i < 5; ++i) ASSERT_EQ(h.push(static_cast<uint8_t>(i), i), GST_FLOW_OK);
  EXPECT_TRUE(h.push_event(gst_event_new_eos()));
  bool eos_first = false;
  EXPECT_EQ(result_event(h, eos_first), nullptr);
  EXPECT_TRUE(eos_first);
  ASSERT_EQ(gst_harness_buffers_in_queue(h.get()), 5U);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(value_on(h.pull().get()), i);
}

TEST_F(Clip, AStreamThatIsTooShortForAWindowIsToldInTheLogAtItsEnd) {
  core_.set({.clip_length = 8});
  for (const int frames : {0, 3, 5}) {
    Harness h({{"model", "m"}});
    const LoggedWarnings logged("tomeclassify");
    h.set_caps();
    for (int i = 0; i < frames; ++i) ASSERT_EQ(h.push(1, i), GST_FLOW_OK);
    h.push_event(gst_event_new_eos());
    const bool told =
        logged.text().find("at most 3 frames in a row, and a window has 8") != std::string::npos;
    EXPECT_EQ(told, frames == 3) << "of 5 one is made: " << logged.text();
    EXPECT_TRUE(told || logged.text().empty()) << logged.text();
  }
}

}  // namespace
}  // namespace tome::testing
