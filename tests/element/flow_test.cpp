// Flushes, state changes, and what downstream returns.
#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <thread>

#include "element_fixture.h"

namespace tome::testing {
namespace {

using Flow = ElementTest;

/// Lets downstream answer every buffer with a flow return of the test's choice.
class FlowOverride {
 public:
  FlowOverride(GstPad* pad, GstFlowReturn flow) : pad_(pad), flow_(flow) {
    probe_ = gst_pad_add_probe(
        pad, GST_PAD_PROBE_TYPE_BUFFER,
        [](GstPad*, GstPadProbeInfo* info, gpointer self) {
          gst_buffer_unref(GST_PAD_PROBE_INFO_BUFFER(info));
          GST_PAD_PROBE_INFO_FLOW_RETURN(info) = static_cast<FlowOverride*>(self)->flow_;
          return GST_PAD_PROBE_HANDLED;
        },
        this, nullptr);
  }
  ~FlowOverride() { gst_pad_remove_probe(pad_, probe_); }
  FlowOverride(const FlowOverride&) = delete;
  FlowOverride& operator=(const FlowOverride&) = delete;

 private:
  GstPad* pad_;
  GstFlowReturn flow_;
  gulong probe_;
};

/// Lets downstream refuse the first buffer, after `meanwhile`, and take all others.
class FirstRefused {
 public:
  FirstRefused(
      GstPad* pad, GstFlowReturn flow, std::function<void()> meanwhile = [] {})
      : pad_(pad), flow_(flow), meanwhile_(std::move(meanwhile)) {
    probe_ = gst_pad_add_probe(pad, GST_PAD_PROBE_TYPE_BUFFER, refuse, this, nullptr);
  }
  ~FirstRefused() { gst_pad_remove_probe(pad_, probe_); }
  FirstRefused(const FirstRefused&) = delete;
  FirstRefused& operator=(const FirstRefused&) = delete;

 private:
  static GstPadProbeReturn refuse(GstPad*, GstPadProbeInfo* info, gpointer data) {
    auto* self = static_cast<FirstRefused*>(data);
    if (self->done_.exchange(true)) return GST_PAD_PROBE_OK;
    gst_buffer_unref(GST_PAD_PROBE_INFO_BUFFER(info));
    self->meanwhile_();
    GST_PAD_PROBE_INFO_FLOW_RETURN(info) = self->flow_;
    return GST_PAD_PROBE_HANDLED;
  }

  GstPad* pad_;
  GstFlowReturn flow_;
  std::function<void()> meanwhile_;
  std::atomic<bool> done_{false};
  gulong probe_;
};

/// Pushes until the element says something else than OK; gives up after 5 s.
GstFlowReturn push_until_refused(Harness& h) {
  for (int i = 0; i < 500; ++i) {
    const GstFlowReturn flow = h.push(1, i);
    if (flow != GST_FLOW_OK) return flow;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return GST_FLOW_OK;
}

bool flush(Harness& h) {
  return h.push_event(gst_event_new_flush_start()) && h.push_event(gst_event_new_flush_stop(TRUE));
}

void send_segment(Harness& h) {
  GstSegment segment;
  gst_segment_init(&segment, GST_FORMAT_TIME);
  h.push_event(gst_event_new_segment(&segment));
}

TEST_F(Flow, AFlushOvertakesAndDiscards) {
  Harness h({{"model", "m"}, {"batch-size", "2"}});
  h.set_caps();
  core_.close_gate();
  for (int i = 0; i < 5; ++i) ASSERT_EQ(h.push(1, i), GST_FLOW_OK);
  auto blocked = std::async(std::launch::async, [&] { return h.push(1, 5); });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_TRUE(h.push_event(gst_event_new_flush_start()));
  EXPECT_EQ(blocked.get(), GST_FLOW_FLUSHING);
  EXPECT_EQ(h.push(1, 6), GST_FLOW_FLUSHING);
  EXPECT_TRUE(h.push_event(gst_event_new_flush_stop(TRUE)));
  EXPECT_EQ(core_.mapped_frames(), 0) << "what was in flight is unmapped";
  core_.open_gate();
  send_segment(h);
  ASSERT_EQ(h.push(7, 7), GST_FLOW_OK);
  const auto buffer = h.pull();
  EXPECT_EQ(GST_BUFFER_PTS(buffer.get()), 7 * kFrame) << "nothing from before the flush comes out";
  EXPECT_EQ(value_on(buffer.get()), 7);
  EXPECT_TRUE(core_.frames().back().discont);
}

TEST_F(Flow, AFlushKeepsStickyEventsThatHadNotLeftYet) {
  Harness h({{"model", "m"}, {"batch-size", "4"}});
  h.set_caps();
  core_.close_gate();
  ASSERT_EQ(h.push(1, 0), GST_FLOW_OK);
  h.set_caps("video/x-raw,format=GRAY8,width=8,height=16,framerate=10/1");
  ASSERT_TRUE(flush(h));
  core_.open_gate();
  send_segment(h);
  ASSERT_EQ(h.push(1, 1), GST_FLOW_OK);
  h.pull();
  const Ptr<GstCaps> caps(gst_pad_get_current_caps(h.src()));
  gint width = 0;
  gst_structure_get_int(gst_caps_get_structure(caps.get(), 0), "width", &width);
  EXPECT_EQ(width, 8);
}

TEST_F(Flow, AFlushWakesAQueryThatWaits) {
  Harness h({{"model", "m"}});
  h.set_caps();
  core_.close_gate();
  ASSERT_EQ(h.push(1, 0), GST_FLOW_OK);
  auto asked = std::async(std::launch::async, [&] { return h.drain(); });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_TRUE(h.push_event(gst_event_new_flush_start()));
  EXPECT_EQ(asked.get(), FALSE);
  EXPECT_TRUE(h.push_event(gst_event_new_flush_stop(TRUE)));
}

TEST_F(Flow, ManyFlushesUnderLoadLoseNothingAfterwards) {
  Harness h({{"model", "m"}, {"batch-size", "4"}});
  h.set_caps();
  gst_harness_set_drop_buffers(h.get(), TRUE);
  core_.set({.delay_ms = 1});
  std::atomic<bool> stop{false};
  std::mutex stream;  // no buffer between FLUSH_STOP and SEGMENT
  auto pusher = std::async(std::launch::async, [&] {
    for (int i = 0; !stop; ++i) {
      const std::scoped_lock lock(stream);
      h.push(1, i);
    }
  });
  for (int i = 0; i < 50; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    ASSERT_TRUE(h.push_event(gst_event_new_flush_start()));
    const std::scoped_lock lock(stream);
    ASSERT_TRUE(h.push_event(gst_event_new_flush_stop(TRUE)));
    send_segment(h);
  }
  stop = true;
  pusher.get();
  const unsigned before = gst_harness_buffers_received(h.get());
  ASSERT_EQ(h.push(9, 0), GST_FLOW_OK);
  EXPECT_TRUE(h.push_event(gst_event_new_eos()));
  for (int i = 0; i < 500 && gst_harness_buffers_received(h.get()) == before; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_GT(gst_harness_buffers_received(h.get()), before);
}

TEST_F(Flow, DownstreamsErrorReachesUpstream) {
  Harness h({{"model", "m"}});
  h.set_caps();
  const FlowOverride failing(h.src(), GST_FLOW_ERROR);
  EXPECT_EQ(push_until_refused(h), GST_FLOW_ERROR);
  EXPECT_FALSE(h.has_message(GST_MESSAGE_ERROR)) << "who failed says so, not we";
  EXPECT_FALSE(h.push_event(gst_event_new_eos()));
  EXPECT_NE(h.error_text(), "") << "no buffer follows EOS that could carry the failure";
}

TEST_F(Flow, DownstreamsEosEndsTheSegmentButNotTheElement) {
  Harness h({{"model", "m"}});
  h.set_caps();
  {
    const FlowOverride ended(h.src(), GST_FLOW_EOS);
    EXPECT_EQ(push_until_refused(h), GST_FLOW_EOS);
  }
  send_segment(h);
  ASSERT_EQ(h.push(3, 3), GST_FLOW_OK);
  EXPECT_EQ(value_on(h.pull().get()), 3);
  EXPECT_FALSE(h.has_message(GST_MESSAGE_ERROR));
}

TEST_F(Flow, FramesOfTheNextSegmentKeepTheirResultsWhenDownstreamEndsTheOneBefore) {
  Harness h({{"model", "m"}, {"batch-size", "4"}});
  h.set_caps();
  std::promise<void> refused;
  const FirstRefused ended(h.src(), GST_FLOW_EOS, [&] { refused.set_value(); });
  core_.close_gate();
  for (int i = 1; i < 3; ++i) ASSERT_EQ(h.push(static_cast<uint8_t>(i), i), GST_FLOW_OK);
  send_segment(h);
  for (int i = 3; i < 6; ++i) ASSERT_EQ(h.push(static_cast<uint8_t>(i), i), GST_FLOW_OK);
  core_.let_one_through();
  refused.get_future().wait();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  core_.open_gate();
  for (int i = 3; i < 6; ++i) {
    const auto buffer = h.pull();
    EXPECT_EQ(GST_BUFFER_PTS(buffer.get()), i * kFrame);
    EXPECT_EQ(value_on(buffer.get()), i);
  }
}

TEST_F(Flow, WhatAnEndedSegmentHadDoesNotHoldForTheNext) {
  Harness h({{"model", "m"}, {"inference-interval", "100"}});
  h.set_caps();
  ASSERT_EQ(h.push(1, 0), GST_FLOW_OK);
  EXPECT_EQ(value_on(h.pull().get()), 1);
  {
    const FlowOverride ended(h.src(), GST_FLOW_EOS);
    EXPECT_EQ(push_until_refused(h), GST_FLOW_EOS);
  }
  send_segment(h);
  ASSERT_EQ(h.push(2, 1), GST_FLOW_OK);
  EXPECT_TRUE(gst::results_of(h.pull().get()).empty());
  EXPECT_TRUE(core_.frames().back().discont);
}

TEST_F(Flow, ATrackOfAnEndedSegmentIsClassifiedAnew) {
  Harness h({{"model", "m"}, {"inference-region", "roi-list"}, {"reclassify-interval", "0"}});
  h.set_caps();
  const auto tracked = [](int number) {
    GstBuffer* buffer = Harness::frame(static_cast<uint8_t>(number), number);
    gst_buffer_add_video_region_of_interest_meta(buffer, "x", 0, 0, 4, 4)->id = 7;
    return buffer;
  };
  const FirstRefused ended(h.src(), GST_FLOW_EOS);
  ASSERT_EQ(h.push(tracked(1)), GST_FLOW_OK);
  GstFlowReturn flow = GST_FLOW_OK;
  for (int i = 0; i < 500 && flow == GST_FLOW_OK; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    if (h.drain() == FALSE) flow = GST_FLOW_EOS;
  }
  send_segment(h);
  ASSERT_EQ(h.push(tracked(2)), GST_FLOW_OK);
  EXPECT_EQ(value_on(h.pull().get()), 2);
}

TEST_F(Flow, EosStillPassesWhenDownstreamHasEnded) {
  Harness h({{"model", "m"}});
  h.set_caps();
  const FlowOverride ended(h.src(), GST_FLOW_EOS);
  EXPECT_EQ(push_until_refused(h), GST_FLOW_EOS);
  EXPECT_TRUE(h.push_event(gst_event_new_eos()));
  bool eos = false;
  while (!eos) {
    const Ptr<GstEvent> event(gst_harness_pull_event(h.get()));
    ASSERT_NE(event, nullptr);
    eos = GST_EVENT_TYPE(event.get()) == GST_EVENT_EOS;
  }
}

TEST_F(Flow, RelinkingDownstreamResumes) {
  Harness h({{"model", "m"}});
  h.set_caps();
  {
    const FlowOverride unlinked(h.src(), GST_FLOW_NOT_LINKED);
    EXPECT_EQ(push_until_refused(h), GST_FLOW_NOT_LINKED);
  }
  EXPECT_TRUE(gst_harness_push_upstream_event(h.get(), gst_event_new_reconfigure()));
  ASSERT_EQ(h.push(4, 4), GST_FLOW_OK);
  // What was in flight when the link was lost comes first.
  int64_t value = 1;
  while (value == 1) value = value_on(h.pull().get());
  EXPECT_EQ(value, 4);
}

TEST_F(Flow, RelinkingWhileABufferIsStillRefusedResumes) {
  Harness h({{"model", "m"}});
  h.set_caps();
  const FirstRefused unlinked(h.src(), GST_FLOW_NOT_LINKED,
                              [&] { gst_pad_send_event(h.src(), gst_event_new_reconfigure()); });
  ASSERT_EQ(h.push(1, 0), GST_FLOW_OK);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  ASSERT_EQ(h.push(2, 1), GST_FLOW_OK);
  EXPECT_EQ(value_on(h.pull().get()), 2);
}

void relink(Harness& h) {
  EXPECT_TRUE(gst_harness_push_upstream_event(h.get(), gst_event_new_reconfigure()));
}

TEST_F(Flow, WhatWasKnownBeforeAnUnlinkedPadLostFramesDoesNotHoldAfterThem) {
  Harness h({{"model", "m"}, {"inference-interval", "100"}});
  h.set_caps();
  ASSERT_EQ(h.push(1, 0), GST_FLOW_OK);
  EXPECT_EQ(value_on(h.pull().get()), 1);
  {
    const FlowOverride unlinked(h.src(), GST_FLOW_NOT_LINKED);
    EXPECT_EQ(push_until_refused(h), GST_FLOW_NOT_LINKED);
  }
  relink(h);
  ASSERT_EQ(h.push(2, 999), GST_FLOW_OK);
  Ptr<GstBuffer> out;
  while (!out || GST_BUFFER_PTS(out.get()) != 999 * kFrame) out = h.pull();
  EXPECT_TRUE(gst::results_of(out.get()).empty());
  EXPECT_TRUE(core_.frames().back().discont) << "nor does a window go on";
}

TEST_F(Flow, AFrameThatIsRefusedAfterItsSubmissionLeavesNoTrace) {
  Harness h({{"model", "m"}, {"inference-region", "roi-list"}, {"reclassify-interval", "0"}});
  h.set_caps();
  const auto tracked = [](int number, int id) {
    GstBuffer* buffer = Harness::frame(static_cast<uint8_t>(number), number);
    gst_buffer_add_video_region_of_interest_meta(buffer, "x", 0, 0, 4, 4)->id = id;
    return buffer;
  };
  const FirstRefused unlinked(h.src(), GST_FLOW_NOT_LINKED);
  core_.close_gate();
  ASSERT_EQ(h.push(tracked(1, 7)), GST_FLOW_OK);
  core_.at_submit([&] {
    core_.open_gate();
    while (h.drain() != FALSE) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  });
  GstBuffer* jump = tracked(22, 8);
  GST_BUFFER_FLAG_SET(jump, GST_BUFFER_FLAG_DISCONT);
  ASSERT_EQ(h.push(jump), GST_FLOW_NOT_LINKED);
  relink(h);
  ASSERT_EQ(h.push(tracked(23, 8)), GST_FLOW_OK);
  EXPECT_EQ(value_on(h.pull().get()), 23);
  EXPECT_TRUE(core_.frames().back().discont) << "the jump's flag";
}

TEST_F(Flow, AFlushLeavesAPadAloneThatWasDeactivated) {
  LoneElement e({{"model", "m"}});
  ASSERT_TRUE(e.set_state(GST_STATE_PLAYING));
  const Ptr<GstPad> sink(gst_element_get_static_pad(e.element(), "sink"));
  const Ptr<GstPad> src(gst_element_get_static_pad(e.element(), "src"));
  // As PLAYING to READY does, source pads first, while a seek flushes.
  ASSERT_TRUE(gst_pad_set_active(src.get(), FALSE));
  gst_pad_send_event(sink.get(), gst_event_new_flush_start());
  gst_pad_send_event(sink.get(), gst_event_new_flush_stop(TRUE));
  EXPECT_EQ(gst_pad_get_task_state(src.get()), GST_TASK_STOPPED);
  ASSERT_TRUE(gst_pad_set_active(src.get(), TRUE));
  EXPECT_EQ(gst_pad_get_task_state(src.get()), GST_TASK_STARTED);
}

TEST_F(Flow, BuffersAfterEosAreRefusedUntilANewStream) {
  Harness h({{"model", "m"}});
  h.set_caps();
  ASSERT_EQ(h.push(1, 0), GST_FLOW_OK);
  EXPECT_TRUE(h.push_event(gst_event_new_eos()));
  EXPECT_EQ(h.push(1, 1), GST_FLOW_EOS);
  h.push_event(gst_event_new_stream_start("second"));
  h.set_caps();
  send_segment(h);
  ASSERT_EQ(h.push(2, 0), GST_FLOW_OK);
  h.pull();
  EXPECT_EQ(value_on(h.pull().get()), 2);
  EXPECT_TRUE(core_.frames().back().discont);
}

TEST_F(Flow, StatesGoUpAndDownAnyNumberOfTimes) {
  Harness h({{"model", "m"}, {"batch-size", "4"}});
  for (int round = 0; round < 20; ++round) {
    h.push_event(gst_event_new_stream_start("s"));
    h.set_caps();
    send_segment(h);
    core_.close_gate();
    for (int i = 0; i < 3; ++i) ASSERT_EQ(h.push(1, i), GST_FLOW_OK);
    // In flight while the state goes down: cancelled, not waited for.
    const GstState low = round % 2 == 0 ? GST_STATE_READY : GST_STATE_NULL;
    ASSERT_EQ(gst_element_set_state(h.element(), low), GST_STATE_CHANGE_SUCCESS);
    EXPECT_EQ(core_.streams(), 0);
    EXPECT_EQ(core_.models(), low == GST_STATE_READY ? 1 : 0);
    EXPECT_EQ(core_.mapped_frames(), 0);
    ASSERT_EQ(gst_element_set_state(h.element(), GST_STATE_PLAYING), GST_STATE_CHANGE_SUCCESS);
    core_.open_gate();
  }
}

TEST_F(Flow, SettingsOfReadyTakeEffectAtTheNextStart) {
  Harness h({{"model", "m"}});
  gst_element_set_state(h.element(), GST_STATE_READY);
  g_object_set(h.element(), "model", "other", "top-k", 3, nullptr);
  ASSERT_EQ(gst_element_set_state(h.element(), GST_STATE_PLAYING), GST_STATE_CHANGE_SUCCESS);
  EXPECT_NE(core_.model_config().find("model=other "), std::string::npos);
  EXPECT_NE(core_.stream_config().find(" k=3 "), std::string::npos);
  EXPECT_EQ(core_.models(), 1) << "the model before was given back";
}

}  // namespace
}  // namespace tome::testing
