// What comes in leaves in the same order, however long inference takes.
#include <future>

#include "element_fixture.h"

namespace tome::testing {
namespace {

using Order = ElementTest;

GstEvent* tag_event(const char* title) {
  return gst_event_new_tag(gst_tag_list_new(GST_TAG_TITLE, title, nullptr));
}

GstEvent* custom_event(const char* name) {
  return gst_event_new_custom(GST_EVENT_CUSTOM_DOWNSTREAM, gst_structure_new_empty(name));
}

GstQuery* custom_query() {
  return gst_query_new_custom(static_cast<GstQueryType>(GST_QUERY_MAKE_TYPE(
                                  900, GST_QUERY_TYPE_DOWNSTREAM | GST_QUERY_TYPE_SERIALIZED)),
                              gst_structure_new_empty("question"));
}

TEST_F(Order, EverythingLeavesInTheOrderItCame) {
  Harness h({{"model", "m"}, {"batch-size", "8"}});
  core_.close_gate();
  const PadLog in(h.sink());
  const PadLog out(h.src());
  h.set_caps();
  for (int i = 0; i < 12; ++i) {
    ASSERT_EQ(h.push(static_cast<uint8_t>(i), i), GST_FLOW_OK);
    if (i % 3 == 0) h.push_event(tag_event(std::to_string(i).c_str()));
    if (i % 4 == 1) h.push_event(custom_event(("custom-" + std::to_string(i)).c_str()));
    if (i == 5) h.push_event(gst_event_new_gap(i * kFrame, kFrame));
    if (i == 7) h.set_caps("video/x-raw,format=GRAY8,width=8,height=16,framerate=10/1");
  }
  // A serialized query behind all of it; it blocks until its turn comes.
  auto asked = std::async(std::launch::async, [&] {
    const Ptr<GstQuery> query(custom_query());
    return gst_pad_query(h.sink(), query.get());
  });
  // The gate is still closed: the first frame's inference has not ended.
  EXPECT_EQ(gst_harness_buffers_received(h.get()), 0U);
  core_.open_gate();
  asked.get();
  for (int i = 0; i < 12; ++i) {
    const auto buffer = h.pull();
    EXPECT_EQ(GST_BUFFER_PTS(buffer.get()), i * kFrame);
    EXPECT_EQ(value_on(buffer.get()), i) << "the result belongs to its own frame";
  }
  EXPECT_TRUE(h.push_event(gst_event_new_eos()));
  for (bool eos = false; !eos;) {
    const Ptr<GstEvent> event(gst_harness_pull_event(h.get()));
    ASSERT_NE(event, nullptr);
    eos = GST_EVENT_TYPE(event.get()) == GST_EVENT_EOS;
  }
  auto expected = in.entries();
  EXPECT_GT(expected.size(), 20U);
  EXPECT_EQ(out.entries(), expected);
}

TEST_F(Order, SeveralFramesAreInFlightUpToTheDepth) {
  Harness h({{"model", "m"}, {"batch-size", "2"}});
  h.set_caps();
  core_.close_gate();
  // Note [Depth in flight]: 2 x batch-size + 1.
  for (int i = 0; i < 5; ++i) ASSERT_EQ(h.push(1, i), GST_FLOW_OK);
  EXPECT_EQ(core_.mapped_frames(), 5);
  auto sixth = std::async(std::launch::async, [&] { return h.push(1, 5); });
  EXPECT_EQ(sixth.wait_for(std::chrono::milliseconds(100)), std::future_status::timeout)
      << "the sixth frame waits for room";
  core_.let_one_through();
  EXPECT_EQ(sixth.get(), GST_FLOW_OK);
  core_.open_gate();
  for (int i = 0; i < 6; ++i) h.pull();
}

TEST_F(Order, ASerializedQueryIsAnsweredByDownstreamAfterTheBuffersBeforeIt) {
  Harness h({{"model", "m"}, {"batch-size", "4"}});
  core_.close_gate();
  const PadLog out(h.src());  // before anything can pass
  h.set_caps();
  ASSERT_EQ(h.push(1, 0), GST_FLOW_OK);
  auto asked = std::async(std::launch::async, [&] { return h.drain(); });
  EXPECT_EQ(asked.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
  core_.open_gate();
  asked.get();
  h.pull();
  EXPECT_EQ(out.entries(), (std::vector<std::string>{"event stream-start", "event caps 16",
                                                     "event segment", "buffer 0", "query drain"}));
}

TEST_F(Order, AFullElementDoesNotWaitForABatchThatItCannotFill) {
  core_.set({.batches_fill = true});
  Harness h({{"model", "m"}, {"batch-size", "4"}, {"batch-timeout", "6000"}});
  h.set_caps();
  core_.close_gate();
  constexpr int kDepth = 9;  // 2 x 4 + 1
  for (int i = 0; i < kDepth; ++i) ASSERT_EQ(h.push(1, i), GST_FLOW_OK);
  auto next = std::async(std::launch::async, [&] { return h.push(1, kDepth); });
  EXPECT_EQ(next.wait_for(std::chrono::seconds(5)), std::future_status::ready);
  core_.open_gate();
  EXPECT_EQ(next.get(), GST_FLOW_OK);
}

TEST_F(Order, AFullElementBehindASlowSinkHurriesNobody) {
  Harness h({{"model", "m"}, {"batch-size", "4"}, {"batch-timeout", "6000"}});
  h.set_caps();
  const Ptr<GstPad> peer(gst_pad_get_peer(h.src()));
  std::promise<void> arrived;
  const gulong block = gst_pad_add_probe(
      peer.get(),
      static_cast<GstPadProbeType>(GST_PAD_PROBE_TYPE_BLOCK | GST_PAD_PROBE_TYPE_BUFFER),
      [](GstPad*, GstPadProbeInfo*, gpointer arrived) {
        static_cast<std::promise<void>*>(arrived)->set_value();
        return GST_PAD_PROBE_OK;
      },
      &arrived, nullptr);
  ASSERT_EQ(h.push(1, 0), GST_FLOW_OK);
  arrived.get_future().wait();
  const int before = core_.hurries();
  constexpr int kHeld = 1 + 9;  // one on its way to the sink, 2 x 4 + 1 behind it
  for (int i = 1; i < kHeld; ++i) ASSERT_EQ(h.push(1, i), GST_FLOW_OK);
  auto next = std::async(std::launch::async, [&] { return h.push(1, kHeld); });
  EXPECT_EQ(next.wait_for(std::chrono::milliseconds(100)), std::future_status::timeout);
  EXPECT_EQ(core_.hurries(), before) << "all that was asked for is there";
  gst_pad_remove_probe(peer.get(), block);
  EXPECT_EQ(next.get(), GST_FLOW_OK);
}

TEST_F(Order, WhatIsBehindFramesDoesNotWaitForTheirBatchToFill) {
  core_.set({.batches_fill = true});
  Harness h({{"model", "m"}, {"batch-size", "4"}, {"batch-timeout", "6000"}});
  h.set_caps();
  core_.close_gate();
  ASSERT_EQ(h.push(1, 0), GST_FLOW_OK);
  auto asked = std::async(std::launch::async, [&] { return h.drain(); });
  EXPECT_EQ(asked.wait_for(std::chrono::seconds(5)), std::future_status::ready) << "a query";
  core_.open_gate();
  asked.get();
  h.pull();
  core_.close_gate();
  ASSERT_EQ(h.push(1, 1), GST_FLOW_OK);
  h.set_caps("video/x-raw,format=GRAY8,width=8,height=16,framerate=10/1");
  EXPECT_NE(h.pull(), nullptr) << "caps";
  core_.open_gate();
}

}  // namespace
}  // namespace tome::testing
