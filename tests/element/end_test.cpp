// The core hears of the end of each stream, so that a stream that is over holds up nobody.
#include "element_fixture.h"

namespace tome::testing {
namespace {

using Ends = ElementTest;

/// Streams that end without a word.
class EndsOf : public ElementTest {
 protected:
  void push_end(Harness& h, GstEvent* end) {
    EXPECT_EQ(core_.drains(), 0) << "not before the end";
    EXPECT_TRUE(h.push_event(end));
    EXPECT_EQ(core_.drains(), 1);
    EXPECT_FALSE(h.has_message(GST_MESSAGE_WARNING));
  }
};

TEST_F(EndsOf, AStreamWithoutRegions) {
  for (const char* interval : {"1", "2"}) {
    core_.reset();
    Harness h({{"model", "m"}, {"inference-region", "roi-list"}, {"inference-interval", interval}});
    h.set_caps();
    for (int i = 0; i < 3; ++i) ASSERT_EQ(h.push(1, i), GST_FLOW_OK);
    push_end(h, gst_event_new_eos());
  }
}

TEST_F(EndsOf, AStreamWithoutFrames) {
  Harness h({{"model", "m"}});
  h.set_caps();
  push_end(h, gst_event_new_eos());
}

TEST_F(EndsOf, AStreamThatWasFlushedJustBefore) {
  core_.set({.clip_length = 4});
  Harness h({{"model", "m"}});
  h.set_caps();
  for (int i = 0; i < 3; ++i) ASSERT_EQ(h.push(1, i), GST_FLOW_OK);
  h.push_event(gst_event_new_flush_start());
  h.push_event(gst_event_new_flush_stop(FALSE));
  push_end(h, gst_event_new_eos());
}

TEST_F(EndsOf, ASegment) {
  Harness h({{"model", "m"}, {"inference-region", "roi-list"}});
  h.set_caps();
  ASSERT_EQ(h.push(1, 0), GST_FLOW_OK);
  push_end(h, gst_event_new_segment_done(GST_FORMAT_TIME, 0));
}

TEST_F(Ends, AStreamThatCouldNotBeRead) {
  Harness h({{"model", "m"}});
  h.set_caps();
  ASSERT_EQ(h.push(gst_buffer_new_allocate(nullptr, 5, nullptr)), GST_FLOW_OK);
  h.push_event(gst_event_new_eos());
  EXPECT_EQ(core_.drains(), 1);
}

TEST_F(Ends, AStreamThatIsAboutToBeginHasNotEnded) {
  Harness h({{"model", "m"}, {"inference-region", "roi-list"}});
  h.set_caps();
  EXPECT_TRUE(h.push_event(gst_event_new_stream_start("another")));
  EXPECT_EQ(core_.drains(), 0) << "it counts in the latency that is asked before its first frame";
}

}  // namespace
}  // namespace tome::testing
