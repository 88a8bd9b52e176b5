// LATENCY and ALLOCATION answers, late frames, and stats.
#include <algorithm>

#include "element_fixture.h"
#include "promised_latency.h"

namespace tome::testing {
namespace {

class Latency : public ElementTest {
 protected:
  /// Upstream answers LATENCY with this; 5 ms, at most 50 ms.
  static void make_upstream(Harness& h, bool live) {
    gst_pad_add_probe(
        h.get()->srcpad,
        static_cast<GstPadProbeType>(GST_PAD_PROBE_TYPE_QUERY_UPSTREAM | GST_PAD_PROBE_TYPE_PUSH),
        [](GstPad*, GstPadProbeInfo* info, gpointer live) {
          GstQuery* query = GST_PAD_PROBE_INFO_QUERY(info);
          if (GST_QUERY_TYPE(query) != GST_QUERY_LATENCY) return GST_PAD_PROBE_OK;
          gst_query_set_latency(query, GPOINTER_TO_INT(live), 5 * GST_MSECOND, 50 * GST_MSECOND);
          return GST_PAD_PROBE_HANDLED;
        },
        GINT_TO_POINTER(live ? 1 : 0), nullptr);
  }

  struct Answer {
    gboolean live = FALSE;
    GstClockTime min = 0, max = 0;
  };

  static Answer ask(Harness& h) {
    Answer answer;
    const Ptr<GstQuery> query(gst_query_new_latency());
    EXPECT_TRUE(gst_pad_query(h.src(), query.get()));
    gst_query_parse_latency(query.get(), &answer.live, &answer.min, &answer.max);
    return answer;
  }
};

TEST_F(Latency, IsBatchTimeoutPlusTwoBatchesAndBoundedByTheDepth) {
  core_.set({.batch_duration = 30'000'000});
  Harness h({{"model", "m"}, {"batch-size", "4"}, {"batch-timeout", "8"}});
  make_upstream(h, true);
  h.set_caps();
  ASSERT_EQ(h.push(1, 0), GST_FLOW_OK);
  h.pull();
  const Answer answer = ask(h);
  EXPECT_TRUE(answer.live);
  EXPECT_EQ(answer.min, (5 + 8 + 2 * 30) * GST_MSECOND);
  // 2 x 4 + 1 frames of 100 ms may be held.
  EXPECT_EQ(answer.max, 50 * GST_MSECOND + 9 * kFrame);
}

TEST_F(Latency, StreamsThatShareAModelMayAllBeServedBefore) {
  core_.set({.batch_duration = 30'000'000, .round_length = 4});
  Harness h({{"model", "m"}});
  make_upstream(h, true);
  EXPECT_EQ(ask(h).min, (5 + (4 + 1) * 30) * GST_MSECOND);
}

TEST_F(Latency, WithBatchSizeOneNothingWaitsForABatchToFill) {
  Harness h({{"model", "m"}, {"batch-timeout", "1000"}});
  make_upstream(h, true);
  EXPECT_EQ(ask(h).min, (5 + 2 * 10) * GST_MSECOND);
}

TEST_F(Latency, WithoutAFrameRateUpstreamsLimitStays) {
  Harness h({{"model", "m"}});
  make_upstream(h, true);
  EXPECT_EQ(ask(h).max, (50 + 2 * 10) * GST_MSECOND) << "no caps yet";
  h.set_caps("video/x-raw,format=GRAY8,width=16,height=8,framerate=0/1");
  ASSERT_EQ(h.push(1, 0), GST_FLOW_OK);
  h.pull();
  EXPECT_EQ(ask(h).max, (50 + 2 * 10) * GST_MSECOND);
}

TEST_F(Latency, AGrowingBatchDurationIsAnnounced) {
  Harness h({{"model", "m"}});
  make_upstream(h, true);
  h.set_caps();
  ask(h);
  ASSERT_EQ(h.push(1, 0), GST_FLOW_OK);
  h.pull();
  EXPECT_FALSE(h.has_message(GST_MESSAGE_LATENCY));
  core_.set({.batch_duration = 40'000'000});
  ASSERT_EQ(h.push(1, 1), GST_FLOW_OK);
  h.pull();
  EXPECT_TRUE(h.has_message(GST_MESSAGE_LATENCY));
}

void begin_stream(Harness& h) {
  h.push_event(gst_event_new_stream_start("again"));
  h.set_caps();
  GstSegment segment;
  gst_segment_init(&segment, GST_FORMAT_TIME);
  h.push_event(gst_event_new_segment(&segment));
}

/// LATENCY messages after another frame has passed.
int announced_with_a_frame(Harness& h) {
  EXPECT_EQ(h.push(1, 0), GST_FLOW_OK);
  h.pull();
  int messages = 0;
  while (h.has_message(GST_MESSAGE_LATENCY)) ++messages;
  return messages;
}

TEST_F(Latency, OfALiveStreamIsAnnouncedOnceWhereNobodyHasAsked) {
  Harness h({{"model", "m"}});
  make_upstream(h, true);
  h.set_caps();
  EXPECT_EQ(announced_with_a_frame(h), 1);
  EXPECT_EQ(announced_with_a_frame(h), 0);
  ASSERT_EQ(gst_element_set_state(h.element(), GST_STATE_READY), GST_STATE_CHANGE_SUCCESS);
  core_.set({.batch_duration = 40'000'000});
  ASSERT_EQ(gst_element_set_state(h.element(), GST_STATE_PLAYING), GST_STATE_CHANGE_SUCCESS);
  begin_stream(h);
  EXPECT_EQ(announced_with_a_frame(h), 1) << "restarted alone";
  EXPECT_EQ(announced_with_a_frame(h), 0);
}

TEST_F(Latency, IsAnnouncedBeforeAFirstWindowIsFull) {
  core_.set({.clip_length = 4});
  Harness h({{"model", "m"}});
  make_upstream(h, true);
  h.set_caps();
  EXPECT_EQ(announced_with_a_frame(h), 1);
}

TEST_F(Latency, OfAStreamThatIsNotLiveIsLeftToThoseWhoAsk) {
  Harness h({{"model", "m"}});
  make_upstream(h, false);
  h.set_caps();
  EXPECT_EQ(announced_with_a_frame(h), 0);
}

TEST_F(Latency, WhoeverOnlyAsksPutsNothingInForce) {
  Harness h({{"model", "m"}});
  make_upstream(h, true);
  h.set_caps();
  const auto announces = [&] {
    EXPECT_EQ(h.push(1, 0), GST_FLOW_OK);
    h.pull();
    return h.has_message(GST_MESSAGE_LATENCY);
  };
  gst_harness_push_upstream_event(h.get(), gst_event_new_latency(ask(h).min));
  EXPECT_FALSE(announces());
  core_.set({.batch_duration = 40'000'000});
  const GstClockTime asked = ask(h).min;
  EXPECT_TRUE(announces()) << "an application that looks does not distribute it";
  EXPECT_FALSE(announces()) << "once is enough";
  gst_harness_push_upstream_event(h.get(), gst_event_new_latency(asked));
  core_.set({.batch_duration = 45'000'000});
  EXPECT_FALSE(announces()) << "close to what is in force";
}

constexpr GstClockTime kHigh = 200 * GST_MSECOND, kLow = 20 * GST_MSECOND;
constexpr int64_t kLasts = gst::PromisedLatency::kFallLasts;

void put_in_force(gst::PromisedLatency& promised, GstClockTime latency) {
  promised.answered(latency);
  promised.distributed();
}

TEST(PromisedLatency, ALargeFallIsAnnouncedOnceItHasLasted) {
  gst::PromisedLatency promised;
  put_in_force(promised, kHigh);
  EXPECT_FALSE(promised.announce(kLow, 0, true));
  EXPECT_FALSE(promised.announce(kLow, kLasts - 1, true));
  EXPECT_FALSE(promised.announce(kHigh, kLasts, true)) << "a break";
  EXPECT_FALSE(promised.announce(kLow, kLasts + 1, true));
  EXPECT_FALSE(promised.announce(kLow, 2 * kLasts, true));
  EXPECT_TRUE(promised.announce(kLow, 2 * kLasts + 1, true));
  EXPECT_FALSE(promised.announce(kLow, 9 * kLasts, true)) << "once, whether or not anybody listens";
}

TEST(PromisedLatency, IsAnnouncedWhereNobodyHasAskedOnceAndOnlyIfLive) {
  gst::PromisedLatency promised;
  EXPECT_FALSE(promised.announce(kHigh, 0, false));
  EXPECT_TRUE(promised.announce(kHigh, 0, true));
  EXPECT_FALSE(promised.announce(kHigh, 0, true));
  promised.distributed();
  EXPECT_FALSE(promised.announce(kHigh, 0, true)) << "an event of those who had not asked us";
  promised.reset();
  EXPECT_TRUE(promised.announce(kLow, 0, true)) << "a new start";
}

TEST(PromisedLatency, ASmallFallIsNone) {
  gst::PromisedLatency promised;
  for (const auto& [high, low] : {std::pair{200, 101}, {90, 41}}) {
    put_in_force(promised, high * GST_MSECOND);
    EXPECT_FALSE(promised.announce(low * GST_MSECOND, 0, true));
    EXPECT_FALSE(promised.announce(low * GST_MSECOND, 9 * kLasts, true)) << high;
  }
}

TEST(PromisedLatency, WhatGoesUpAndDownIsSoonLeftAlone) {
  gst::PromisedLatency promised;
  put_in_force(promised, kHigh);
  int announced = 0;
  // A day, every 11 s of calm followed by a hiccup.
  for (int64_t second = 0; second < 24 * 3600; ++second) {
    const GstClockTime latency = second % 12 == 0 ? kHigh : kLow;
    if (!promised.announce(latency, second * GST_SECOND, true)) continue;
    ++announced;
    put_in_force(promised, latency);
  }
  EXPECT_EQ(announced, 2) << "the first calm, and the hiccup after it";
}

TEST(PromisedLatency, APeakOfEveryNightIsOverHalfAnHourAfterIt) {
  gst::PromisedLatency promised;
  put_in_force(promised, kLow);
  GstClockTime in_force = kLow;
  int announced = 0, minutes = 0, longest = 0;
  constexpr int kDay = 24 * 60;
  for (int minute = 0; minute < 14 * kDay; ++minute) {
    const GstClockTime latency = minute % kDay < 120 ? kHigh : kLow;
    if (promised.announce(latency, minute * 60 * GST_SECOND, true)) {
      ++announced;
      in_force = latency;
      put_in_force(promised, latency);
    }
    minutes = in_force > latency ? minutes + 1 : 0;
    longest = std::max(longest, minutes);
  }
  EXPECT_EQ(announced, 14 * 2);
  EXPECT_LE(longest, 30);
}

TEST_F(Latency, AllocationAsksForTheFramesInFlight) {
  Harness h({{"model", "m"}, {"batch-size", "4"}});
  gst_harness_add_propose_allocation_meta(h.get(), GST_VIDEO_META_API_TYPE, nullptr);
  h.set_caps();
  const Ptr<GstCaps> caps(gst_caps_from_string(kGrayCaps));
  const Ptr<GstQuery> query(gst_query_new_allocation(caps.get(), TRUE));
  ASSERT_TRUE(gst_pad_query(h.sink(), query.get()));
  ASSERT_GE(gst_query_get_n_allocation_pools(query.get()), 1U);
  guint size = 0;
  guint min = 0;
  guint max = 1;
  gst_query_parse_nth_allocation_pool(query.get(), 0, nullptr, &size, &min, &max);
  EXPECT_GE(min, 10U) << "9 in flight and the one that is pushed";
  EXPECT_EQ(max, 0U);
  EXPECT_TRUE(gst_query_find_allocation_meta(query.get(), GST_VIDEO_META_API_TYPE, nullptr))
      << "what downstream offers is passed on";
}

TEST_F(Latency, WithoutSkipNoFrameHasADeadline) {
  Harness h({{"model", "m"}});
  make_upstream(h, true);
  h.set_caps();
  ASSERT_EQ(h.push(1, 0), GST_FLOW_OK);
  h.pull();
  EXPECT_EQ(core_.frames().at(0).deadline, 0);
}

TEST_F(Latency, WithSkipALiveFrameMayWaitBatchTimeoutPlusOneBatch) {
  core_.set({.batch_duration = 10'000'000});
  Harness h({{"model", "m"}, {"batch-size", "4"}, {"batch-timeout", "5"}, {"late-policy", "skip"}});
  make_upstream(h, true);
  h.set_caps();
  const gint64 before = g_get_monotonic_time() * 1000;
  ASSERT_EQ(h.push(1, 0), GST_FLOW_OK);
  const gint64 after = (g_get_monotonic_time() + 1) * 1000;
  h.pull();
  EXPECT_GE(core_.frames().at(0).deadline, before + 15'000'000);
  EXPECT_LE(core_.frames().at(0).deadline, after + 15'000'000);
}

TEST_F(Latency, ASkippedFrameKeepsItsBufferAndTheResultBefore) {
  core_.set({.late_after_first = true});
  Harness h({{"model", "m"}, {"batch-size", "4"}, {"late-policy", "skip"}});
  make_upstream(h, true);
  h.set_caps();
  for (int i = 0; i < 4; ++i) ASSERT_EQ(h.push(static_cast<uint8_t>(i + 1), i), GST_FLOW_OK);
  for (int i = 0; i < 4; ++i) {
    const auto buffer = h.pull();
    EXPECT_EQ(GST_BUFFER_PTS(buffer.get()), i * kFrame) << "no buffer is dropped";
    const auto results = gst::results_of(buffer.get());
    ASSERT_EQ(results.size(), 1U);
    EXPECT_EQ(results[0].tags[0].id, 1) << "the first frame's result is held";
    EXPECT_EQ(results[0].age, static_cast<unsigned>(i));
  }
  guint64 skipped = 0;
  gst_structure_get_uint64(h.stats().get(), "skipped", &skipped);
  EXPECT_EQ(skipped, 3U);
  EXPECT_TRUE(h.has_message(GST_MESSAGE_QOS));
}

TEST_F(Latency, WithSkipAStreamThatIsNotLiveWaitsInstead) {
  core_.set({.late_after_first = true});
  Harness h({{"model", "m"}, {"batch-size", "4"}, {"late-policy", "skip"}});
  make_upstream(h, false);
  h.set_caps();
  for (int i = 0; i < 4; ++i) ASSERT_EQ(h.push(static_cast<uint8_t>(i), i), GST_FLOW_OK);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(value_on(h.pull().get()), i);
}

TEST_F(Latency, QosOfALateSinkSkipsUntilInTimeAgain) {
  Harness h({{"model", "m"}, {"late-policy", "skip"}});
  make_upstream(h, false);
  h.set_caps();
  // The sink is 150 ms late at 1 s: all up to 1 s + 2 x 150 ms will be.
  gst_harness_push_upstream_event(
      h.get(), gst_event_new_qos(GST_QOS_TYPE_UNDERFLOW, 1.0, 150 * GST_MSECOND, GST_SECOND));
  std::vector<bool> skipped;
  for (int i = 11; i < 16; ++i) {
    ASSERT_EQ(h.push(1, i), GST_FLOW_OK);
    h.pull();
    skipped.push_back(core_.frames().back().no_inference);
  }
  EXPECT_EQ(skipped, (std::vector<bool>{true, true, true, false, false}));
  const Ptr<GstEvent> forwarded(gst_harness_pull_upstream_event(h.get()));
  ASSERT_NE(forwarded, nullptr);
}

TEST_F(Latency, ALiveFrameWhoseTimeHasPassedIsSkippedIfTheSinkWaitsForTheClock) {
  Harness h({{"model", "m"}, {"late-policy", "skip"}});
  make_upstream(h, true);
  h.set_caps();
  const Ptr<GstClock> clock(gst_system_clock_obtain());
  gst_element_set_clock(h.element(), clock.get());
  gst_element_set_base_time(h.element(), gst_clock_get_time(clock.get()) - 10 * GST_SECOND);
  const auto skips_with = [&](GstClockTime latency) {
    gst_harness_push_upstream_event(h.get(), gst_event_new_latency(latency));
    EXPECT_EQ(h.push(1, 0), GST_FLOW_OK);
    h.pull();
    return core_.frames().back().no_inference;
  };
  const GstClockTime asked = ask(h).min;
  EXPECT_TRUE(skips_with(asked));
  EXPECT_TRUE(skips_with(2 * asked));
  core_.set({.batch_duration = 11'000'000});
  EXPECT_GT(ask(h).min, asked);
  EXPECT_EQ(h.push(1, 0), GST_FLOW_OK);
  h.pull();
  EXPECT_TRUE(core_.frames().back().no_inference) << "somebody asked again";
  // Sinks with sync=false ask for no latency, and show frames whenever they come.
  EXPECT_FALSE(skips_with(0));
}

TEST_F(Latency, QosChangesNothingWithoutSkip) {
  Harness h({{"model", "m"}});
  h.set_caps();
  gst_harness_push_upstream_event(
      h.get(), gst_event_new_qos(GST_QOS_TYPE_UNDERFLOW, 1.0, 150 * GST_MSECOND, GST_SECOND));
  ASSERT_EQ(h.push(1, 11), GST_FLOW_OK);
  h.pull();
  EXPECT_FALSE(core_.frames().back().no_inference);
}

TEST_F(Latency, StatsCountAndMeasure) {
  core_.set({.delay_ms = 20, .tokens_in = 100, .tokens_out = 30});
  Harness h({{"model", "m"}, {"inference-interval", "2"}});
  h.set_caps();
  for (int i = 0; i < 10; ++i) {
    ASSERT_EQ(h.push(1, i), GST_FLOW_OK);
    h.pull();
  }
  const auto stats = h.stats();
  guint64 frames = 0;
  guint64 inferences = 0;
  guint64 skipped = 1;
  double fps = 0;
  double p50 = 0;
  double p99 = 0;
  double queued = -1;
  double forward = -1;
  double batch = 0;
  guint in = 0;
  guint out = 0;
  ASSERT_TRUE(gst_structure_get(
      stats.get(), "frames", G_TYPE_UINT64, &frames, "inferences", G_TYPE_UINT64, &inferences,
      "skipped", G_TYPE_UINT64, &skipped, "fps", G_TYPE_DOUBLE, &fps, "latency-p50", G_TYPE_DOUBLE,
      &p50, "latency-p99", G_TYPE_DOUBLE, &p99, "queue-p50", G_TYPE_DOUBLE, &queued,
      "inference-p50", G_TYPE_DOUBLE, &forward, "tokens-in", G_TYPE_UINT, &in, "tokens-out",
      G_TYPE_UINT, &out, "average-batch", G_TYPE_DOUBLE, &batch, nullptr));
  EXPECT_EQ(frames, 10U);
  EXPECT_EQ(inferences, 5U);
  EXPECT_EQ(skipped, 0U);
  EXPECT_EQ(in, 100U);
  EXPECT_EQ(out, 30U);
  EXPECT_EQ(batch, 1.0);
  EXPECT_LE(p50, p99);
  EXPECT_GE(p99, 20.0);
  EXPECT_EQ(queued, 0.0);
  EXPECT_EQ(forward, 20.0);
  EXPECT_GT(fps, 0.0);
  // Nine intervals, four of which hold a forward of 20 ms.
  EXPECT_LT(fps, 9 / 0.080);
}

}  // namespace
}  // namespace tome::testing
