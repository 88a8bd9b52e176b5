// Downstream is linked again: while the task is about to stop (the scheduler takes its thread away
// at the worst moment, which gst_pad_pause_task does here), or with frames and events that wait.
#include <dlfcn.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

#include "element_fixture.h"
#include "in_time.h"

namespace {
std::atomic<bool> slow_pause{false};
std::atomic<int> pauses_begun{0}, pauses_ended{0};
}  // namespace

__attribute__((visibility("default"))) gboolean gst_pad_pause_task(GstPad* pad) {
  using Function = gboolean (*)(GstPad*);
  static const auto real = reinterpret_cast<Function>(dlsym(RTLD_NEXT, "gst_pad_pause_task"));
  if (!slow_pause) return real(pad);
  ++pauses_begun;
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  const gboolean paused = real(pad);
  ++pauses_ended;
  return paused;
}

namespace tome::testing {
namespace {

using Relink = ElementTest;

/// @return whether it does within 20 s, and is not more
bool becomes_one(const std::atomic<int>& number) {
  for (int i = 0; i < 4000 && number == 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return number == 1;
}

TEST_F(Relink, WhileTheTaskPausesResumesIt) {
  Harness h({{"model", "m"}});
  h.set_caps();
  ASSERT_EQ(h.push(1, 0), GST_FLOW_OK);
  h.pull();
  ASSERT_TRUE(gst_pad_unlink(h.src(), h.get()->sinkpad));
  pauses_begun = pauses_ended = 0;
  slow_pause = true;
  ASSERT_EQ(h.push(2, 1), GST_FLOW_OK);
  ASSERT_TRUE(becomes_one(pauses_begun));
  ASSERT_EQ(gst_pad_link(h.src(), h.get()->sinkpad), GST_PAD_LINK_OK);
  gst_pad_send_event(h.src(), gst_event_new_reconfigure());
  ASSERT_TRUE(becomes_one(pauses_ended));
  slow_pause = false;
  ASSERT_EQ(h.push(3, 2), GST_FLOW_OK);
  Ptr<GstBuffer> out(gst_harness_try_pull(h.get()));
  for (int i = 0; i < 500 && !out; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    out.reset(gst_harness_try_pull(h.get()));
  }
  ASSERT_NE(out, nullptr) << "the stream stalls";
  EXPECT_EQ(value_on(out.get()), 3);
}

constexpr const char* kNarrowCaps = "video/x-raw,format=GRAY8,width=8,height=16,framerate=10/1";

/// Three frames, and `behind` them, of which the first is refused because nothing is linked.
void lose_the_first_of_three(Harness& h, FakeCore& core, const std::function<void()>& behind) {
  ASSERT_EQ(h.push(0, 0), GST_FLOW_OK);
  h.pull();  // and with it all that comes before frames
  core.close_gate();
  for (int i = 1; i <= 3; ++i) ASSERT_EQ(h.push(static_cast<uint8_t>(i), i), GST_FLOW_OK);
  behind();
  ASSERT_TRUE(gst_pad_unlink(h.src(), h.get()->sinkpad));
  core.let_one_through();
  ASSERT_TRUE(ends([&] {
    while (h.drain() != FALSE || h.push(1, 9) != GST_FLOW_NOT_LINKED) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }));
  core.open_gate();
}

/// Links again. @return what downstream got until all that waited had left
std::vector<std::string> seen_after_linking(Harness& h) {
  const PadLog seen(h.get()->sinkpad);
  EXPECT_EQ(gst_pad_link(h.src(), h.get()->sinkpad), GST_PAD_LINK_OK);
  h.drain();
  auto entries = seen.entries();
  if (!entries.empty() && entries.back() == "query drain") entries.pop_back();
  return entries;
}

void send_title(Harness& h, const char* title) {
  h.push_event(gst_event_new_tag(gst_tag_list_new(GST_TAG_TITLE, title, nullptr)));
}

using Log = std::vector<std::string>;

TEST_F(Relink, EventsThatCameMeanwhileStayBehindTheFramesThatWait) {
  Harness h({{"model", "m"}, {"batch-size", "4"}});
  h.set_caps();
  lose_the_first_of_three(h, core_, [] {});
  const Ptr<GstCaps> caps(gst_caps_from_string(kNarrowCaps));
  EXPECT_TRUE(h.push_event(gst_event_new_caps(caps.get())));
  EXPECT_EQ(seen_after_linking(h), (Log{"buffer 2", "buffer 3", "event caps 8"}));
}

TEST_F(Relink, AFrameThatComesTooLateTakesNoResultsFromThoseThatWait) {
  Harness h({{"model", "m"}, {"batch-size", "4"}});
  h.set_caps();
  ASSERT_EQ(h.push(0, 0), GST_FLOW_OK);
  h.pull();
  core_.close_gate();
  for (int i = 1; i <= 3; ++i) ASSERT_EQ(h.push(static_cast<uint8_t>(i), i), GST_FLOW_OK);
  ASSERT_TRUE(gst_pad_unlink(h.src(), h.get()->sinkpad));
  std::jthread later;
  // There was room for it; while the core takes it, the first is refused downstream.
  core_.at_submit([&] {
    core_.let_one_through();
    EXPECT_FALSE(h.drain());
    later = std::jthread([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(300));
      core_.open_gate();
    });
  });
  EXPECT_EQ(h.push(4, 4), GST_FLOW_NOT_LINKED);
  ASSERT_EQ(gst_pad_link(h.src(), h.get()->sinkpad), GST_PAD_LINK_OK);
  for (int i = 2; i <= 3; ++i) EXPECT_EQ(value_on(h.pull().get()), i);
}

TEST_F(Relink, WhatWasSaidLastIsInForce) {
  Harness h({{"model", "m"}, {"batch-size", "4"}});
  h.set_caps();
  lose_the_first_of_three(h, core_, [&] { h.set_caps(kNarrowCaps); });
  h.set_caps();
  seen_after_linking(h);
  const Ptr<GstCaps> caps(gst_pad_get_current_caps(h.src()));
  gint width = 0;
  gst_structure_get_int(gst_caps_get_structure(caps.get(), 0), "width", &width);
  EXPECT_EQ(width, 16);
}

TEST_F(Relink, CapsThatComeInPlaceOfOthersStayBeforeTheirSegment) {
  Harness h({{"model", "m"}, {"batch-size", "4"}});
  h.set_caps();
  const Ptr<GstCaps> narrow(gst_caps_from_string(kNarrowCaps));
  GstSegment segment;
  gst_segment_init(&segment, GST_FORMAT_TIME);
  segment.start = 2 * GST_SECOND;
  lose_the_first_of_three(h, core_, [] {});
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(h.push_event(gst_event_new_caps(narrow.get())));
    if (i == 0) {
      EXPECT_TRUE(h.push_event(gst_event_new_segment(&segment)));
    }
  }
  EXPECT_EQ(seen_after_linking(h), (Log{"buffer 2", "buffer 3", "event caps 8", "event segment"}));
}

TEST_F(Relink, OfAKindOfEventTheLastWaitsAlone) {
  Harness h({{"model", "m"}, {"batch-size", "4"}});
  h.set_caps();
  lose_the_first_of_three(h, core_, [&] { send_title(h, "before"); });
  for (int i = 0; i < 100; ++i) send_title(h, std::to_string(i).c_str());
  EXPECT_EQ(seen_after_linking(h), (Log{"buffer 2", "buffer 3", "event tag"}));
  const Ptr<GstEvent> last(gst_pad_get_sticky_event(h.src(), GST_EVENT_TAG, 0));
  ASSERT_NE(last, nullptr);
  GstTagList* tags = nullptr;
  gst_event_parse_tag(last.get(), &tags);
  gchar* title = nullptr;
  EXPECT_TRUE(gst_tag_list_get_string(tags, GST_TAG_TITLE, &title));
  EXPECT_STREQ(Ptr<char>(title).get(), "99");
}

}  // namespace
}  // namespace tome::testing
