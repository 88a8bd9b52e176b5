// Whatever one stream does, another waits one batch longer at most. By timestamps, on a device
// whose batches take 200 ms each.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <iostream>
#include <memory>
#include <thread>

#include "camera.h"

namespace tome::testing {
namespace {

constexpr auto kBatch = milliseconds(200);
constexpr auto kTimeout = milliseconds(5);
constexpr auto kPeriod = milliseconds(250);
/// What a busy machine may add by not waking a thread at once.
constexpr auto kSlack = milliseconds(120);
const LoneElement::Properties kShared = {
    {"model", "200ms"}, {"model-instance-id", "one"}, {"batch-size", "4"}, {"top-k", "1"}};

/// Another stream of the same model, as fast as it is taken.
class Neighbour {
 public:
  Neighbour() : harness_(std::make_unique<Harness>(kShared)) {
    gst_harness_set_drop_buffers(harness_->get(), TRUE);
    harness_->set_caps();
    start();
  }
  ~Neighbour() { kill(); }
  Neighbour(const Neighbour&) = delete;
  Neighbour& operator=(const Neighbour&) = delete;

  Harness& harness() { return *harness_; }
  void start() {
    stop_ = false;
    thread_ = std::thread([this] {
      for (int i = 0; !stop_ && harness_->push(1, i) == GST_FLOW_OK; ++i) {
      }
    });
  }
  /// Sends no more; what is in flight stays.
  void pause() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  /// Gone, with everything in flight.
  void kill() {
    stop_ = true;
    if (harness_) gst_element_set_state(harness_->element(), GST_STATE_NULL);
    if (thread_.joinable()) thread_.join();
    harness_.reset();
  }

 private:
  std::unique_ptr<Harness> harness_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

class Isolation : public ::testing::Test {
 protected:
  /// Lets the cameras run for a while and looks at the longest time of both.
  void expect_undisturbed(const char* during, milliseconds time = milliseconds(1200)) {
    std::this_thread::sleep_for(time);
    // Its batch has to wait for the one that runs: that is the one batch more.
    constexpr auto kMost = kTimeout + 2 * kBatch + kSlack;
    for (Camera* camera : {&first_, &second_}) {
      const auto times = camera->times();
      ASSERT_GE(times.size(), static_cast<size_t>(time / kPeriod / 2)) << during;
      const auto longest =
          std::chrono::duration_cast<milliseconds>(*std::max_element(times.begin(), times.end()));
      std::cout << during << ": at most " << longest.count() << " ms\n";
      EXPECT_LE(longest, kMost) << during;
    }
  }
  void SetUp() override {
    std::this_thread::sleep_for(3 * kBatch);
    first_.times();
    second_.times();
  }

  Camera first_{kShared, kPeriod}, second_{kShared, kPeriod};
};

TEST_F(Isolation, OfAFastOneThatPausesForSeconds) {
  expect_undisturbed("nobody else");
  Neighbour neighbour;
  expect_undisturbed("a neighbour as fast as it can");
  neighbour.pause();
  expect_undisturbed("the neighbour pauses", milliseconds(2500));
  neighbour.start();
  expect_undisturbed("the neighbour is back");
}

TEST_F(Isolation, OfOneThatIsKilled) {
  Neighbour neighbour;
  expect_undisturbed("a neighbour as fast as it can");
  neighbour.kill();
  expect_undisturbed("the neighbour is gone");
  for (int i = 0; i < 5; ++i) {
    Neighbour another;
    std::this_thread::sleep_for(milliseconds(130));
    another.kill();
  }
  expect_undisturbed("five have come and gone");
}

TEST_F(Isolation, OfFlushes) {
  Neighbour neighbour;
  for (int i = 0; i < 6; ++i) {
    std::this_thread::sleep_for(milliseconds(150));
    neighbour.harness().push_event(gst_event_new_flush_start());
    neighbour.pause();
    neighbour.harness().push_event(gst_event_new_flush_stop(TRUE));
    GstSegment segment;
    gst_segment_init(&segment, GST_FORMAT_TIME);
    neighbour.harness().push_event(gst_event_new_segment(&segment));
    neighbour.start();
  }
  expect_undisturbed("the neighbour was flushed six times");
}

TEST_F(Isolation, OfEosAndOfCapsThatChange) {
  Neighbour neighbour;
  expect_undisturbed("a neighbour as fast as it can");
  neighbour.pause();
  neighbour.harness().set_caps("video/x-raw,format=RGB,width=64,height=48,framerate=25/1");
  neighbour.harness().push_event(gst_event_new_eos());
  expect_undisturbed("the neighbour has ended", milliseconds(2000));
}

TEST_F(Isolation, OfOneThatFails) {
  Neighbour neighbour;
  expect_undisturbed("a neighbour as fast as it can");
  neighbour.pause();
  // One frame that cannot be read is a gap; 32 in a row are a failure.
  GstFlowReturn flow = GST_FLOW_OK;
  for (int i = 0; i < 32; ++i) {
    ASSERT_EQ(flow, GST_FLOW_OK) << i;
    flow = neighbour.harness().push(gst_buffer_new_allocate(nullptr, 3, nullptr));
  }
  EXPECT_EQ(flow, GST_FLOW_ERROR);
  expect_undisturbed("the neighbour has failed", milliseconds(2000));
}

TEST_F(Isolation, OfOneWithThousandsOfRegions) {
  Harness regions({{"model", "200ms"},
                   {"model-instance-id", "one"},
                   {"batch-size", "4"},
                   {"inference-region", "roi-list"}});
  regions.set_caps();
  GstBuffer* buffer = Harness::frame(1, 0);
  for (guint i = 0; i < 3000; ++i) {
    gst_buffer_add_video_region_of_interest_meta(buffer, "x", i % 12, i % 6, 2, 2);
  }
  ASSERT_EQ(regions.push(buffer), GST_FLOW_OK);
  expect_undisturbed("the neighbour has 750 batches of its own", milliseconds(2000));
}

}  // namespace
}  // namespace tome::testing
