// A camera on the device of steady_core.cpp, and how long its frames take through the element.
#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "element_fixture.h"

namespace tome::testing {

using SteadyClock = std::chrono::steady_clock;
using std::chrono::milliseconds;

/// Pushes a frame every `period` from a thread of its own.
class Camera {
 public:
  /// @param may_skip  a frame may carry the result of one before, or none
  Camera(LoneElement::Properties properties, milliseconds period, bool may_skip = false)
      : harness_(properties), period_(period), may_skip_(may_skip) {
    gst_harness_set_drop_buffers(harness_.get(), TRUE);
    harness_.set_caps();
    gst_pad_add_probe(harness_.src(), GST_PAD_PROBE_TYPE_BUFFER, &Camera::on_out, this, nullptr);
    thread_ = std::thread([this] { run(); });
  }
  ~Camera() { stop(); }
  Camera(const Camera&) = delete;
  Camera& operator=(const Camera&) = delete;

  void stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }

  /// The time of each frame that has come out since the last call.
  std::vector<SteadyClock::duration> times() {
    const std::scoped_lock lock(mutex_);
    return std::exchange(times_, {});
  }
  /// Frames that went in and have not come out.
  size_t inside() const {
    const std::scoped_lock lock(mutex_);
    return pushed_.size();
  }
  guint64 stat(const char* name) const {
    guint64 value = 0;
    gst_structure_get_uint64(harness_.stats().get(), name, &value);
    return value;
  }

 private:
  void run() {
    auto next = SteadyClock::now();
    for (int i = 0; !stop_; ++i, next += period_) {
      std::this_thread::sleep_until(next);
      {
        const std::scoped_lock lock(mutex_);
        pushed_.push_back(SteadyClock::now());
      }
      ASSERT_EQ(harness_.push(static_cast<uint8_t>(i), i), GST_FLOW_OK);
    }
  }

  void check_result(GstBuffer* buffer) const {
    const auto results = gst::results_of(buffer);
    EXPECT_TRUE(may_skip_ || results.size() == 1);
    const GstClockTime number = GST_BUFFER_PTS(buffer) / kFrame;
    for (const Classification& result : results) {
      EXPECT_TRUE(may_skip_ || result.age == 0);
      EXPECT_EQ(static_cast<GstClockTime>(result.tags.at(0).id), (number - result.age) % 256);
    }
  }

  static GstPadProbeReturn on_out(GstPad*, GstPadProbeInfo* info, gpointer self) {
    auto* camera = static_cast<Camera*>(self);
    camera->check_result(GST_PAD_PROBE_INFO_BUFFER(info));
    const std::scoped_lock lock(camera->mutex_);
    camera->times_.push_back(SteadyClock::now() - camera->pushed_.front());
    camera->pushed_.pop_front();
    return GST_PAD_PROBE_OK;
  }

  Harness harness_;
  const milliseconds period_;
  const bool may_skip_;
  mutable std::mutex mutex_;
  std::deque<SteadyClock::time_point> pushed_;
  std::vector<SteadyClock::duration> times_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

}  // namespace tome::testing
