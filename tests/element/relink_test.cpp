// Downstream is linked again while the task is about to stop: the scheduler takes its thread away
// at the worst moment, which gst_pad_pause_task does here.
#include <dlfcn.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "element_fixture.h"

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

}  // namespace
}  // namespace tome::testing
