// State changes that are asked for in a thread that pushes, which cannot be joined then.
#include <future>
#include <thread>

#include "element_fixture.h"
#include "in_time.h"

namespace tome::testing {
namespace {

using States = ElementTest;

/// Lowers an element's state once, in the thread that comes by.
struct Lowering {
  GstElement* element;
  GstState to;
  FakeCore& core;
  GstStateChangeReturn change = GST_STATE_CHANGE_SUCCESS;
  int streams = -1, models = -1;  // as it left them
  std::promise<void> done;

  void run() {
    change = gst_element_set_state(element, to);
    streams = core.streams();
    models = core.models();
    done.set_value();
  }
};

GstPadProbeReturn lower(GstPad*, GstPadProbeInfo*, gpointer lowering) {
  static_cast<Lowering*>(lowering)->run();
  return GST_PAD_PROBE_REMOVE;
}

TEST_F(States, LoweredBehindItselfTheStreamStaysForWhoeverIsInsideIt) {
  for (const GstState low : {GST_STATE_READY, GST_STATE_NULL}) {
    Harness h({{"model", "m"}});
    h.set_caps();
    Lowering lowering{h.element(), low, core_};
    gst_pad_add_probe(h.src(), GST_PAD_PROBE_TYPE_BUFFER, lower, &lowering, nullptr);
    core_.close_gate();
    ASSERT_EQ(h.push(1, 0), GST_FLOW_OK);
    // The next frame is about to enter the stream all the while.
    std::promise<void> inside;
    core_.at_submit([&] {
      inside.set_value();
      lowering.done.get_future().wait();
    });
    GstFlowReturn flow = GST_FLOW_OK;
    std::thread source([&] { flow = h.push(2, 1); });
    inside.get_future().wait();
    core_.open_gate();
    source.join();
    EXPECT_EQ(lowering.change, GST_STATE_CHANGE_FAILURE);
    EXPECT_EQ(lowering.streams, 1) << "a frame was inside it";
    EXPECT_EQ(lowering.models, 1);
    EXPECT_EQ(flow, GST_FLOW_FLUSHING);
    EXPECT_TRUE(h.set_state(low)) << "in a thread that may";
    EXPECT_EQ(core_.streams(), 0);
    EXPECT_EQ(core_.models(), low == GST_STATE_READY ? 1 : 0);
  }
}

GstBusSyncReply lower_at_warning(GstBus*, GstMessage* message, gpointer lowering) {
  if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_WARNING) static_cast<Lowering*>(lowering)->run();
  return GST_BUS_PASS;
}

TEST_F(States, LoweredInFrontOfItselfNothingMoreIsSubmitted) {
  for (const GstState low : {GST_STATE_READY, GST_STATE_NULL}) {
    Harness h({{"model", "m"}, {"inference-region", "roi-list"}, {"inference-interval", "2"}});
    h.set_caps();
    Lowering lowering{h.element(), low, core_};
    const Ptr<GstBus> bus(gst_element_get_bus(h.element()));
    gst_bus_set_sync_handler(bus.get(), lower_at_warning, &lowering, nullptr);
    // Too small for its caps, which is a warning; it counts for inference-interval all the same.
    GstBuffer* buffer = gst_buffer_new_allocate(nullptr, 5, nullptr);
    gst_buffer_add_video_region_of_interest_meta(buffer, "x", 1, 0, 4, 4);
    EXPECT_EQ(h.push(buffer), GST_FLOW_FLUSHING);
    gst_bus_set_sync_handler(bus.get(), nullptr, nullptr, nullptr);
    EXPECT_EQ(lowering.change, GST_STATE_CHANGE_SUCCESS);
    EXPECT_EQ(lowering.streams, 0);
    EXPECT_TRUE(core_.frames().empty());
    EXPECT_FALSE(h.has_message(GST_MESSAGE_ERROR));
  }
}

TEST_F(States, PropertiesAndQueriesDoNotWaitForAModelThatIsClosed) {
  Harness h({{"model", "m"}});
  bool in_time = false;
  core_.at_model_release([&] {
    in_time = ends([element = h.element(), pad = h.src()] {
      g_object_set(element, "tome-r", "4", "top-k", 2, nullptr);
      const Ptr<GstQuery> latency(gst_query_new_latency());
      gst_pad_query(pad, latency.get());
    });
  });
  ASSERT_TRUE(h.set_state(GST_STATE_NULL));
  EXPECT_TRUE(in_time);
}

}  // namespace
}  // namespace tome::testing
