#include "lateness.h"

#include <ctime>
#include <optional>

#include "gst_ptr.h"

namespace tome::gst {
namespace {

/// Time of the element's clock minus its base time; nothing without a clock.
std::optional<GstClockTime> current_running_time(GstElement* element) {
  const Ptr<GstClock> clock(gst_element_get_clock(element));
  const GstClockTime base = gst_element_get_base_time(element);
  if (!clock || !GST_CLOCK_TIME_IS_VALID(base)) return std::nullopt;
  const GstClockTime now = gst_clock_get_time(clock.get());
  if (!GST_CLOCK_TIME_IS_VALID(now) || now < base) return std::nullopt;
  return now - base;
}

}  // namespace

void Lateness::reset() {
  const std::scoped_lock lock(mutex_);
  live_ = waits_for_clock_ = false;
  pipeline_latency_ = asked_latency_ = 0;
  earliest_ = GST_CLOCK_TIME_NONE;
}

void Lateness::flushed() {
  const std::scoped_lock lock(mutex_);
  earliest_ = GST_CLOCK_TIME_NONE;
}

void Lateness::observe(GstEvent* qos_event) {
  GstClockTimeDiff jitter = 0;
  GstClockTime timestamp = GST_CLOCK_TIME_NONE;
  gst_event_parse_qos(qos_event, nullptr, nullptr, &jitter, &timestamp);
  if (!GST_CLOCK_TIME_IS_VALID(timestamp)) return;
  const std::scoped_lock lock(mutex_);
  // As GStreamer's own elements: a late frame means that those up to twice its lateness ahead will
  // be late too.
  const GstClockTimeDiff ahead = jitter > 0 ? 2 * jitter : jitter;
  const auto earliest = static_cast<GstClockTimeDiff>(timestamp) + ahead;
  earliest_ = earliest > 0 ? static_cast<GstClockTime>(earliest) : 0;
}

void Lateness::set_pipeline_latency(GstClockTime latency) {
  const std::scoped_lock lock(mutex_);
  pipeline_latency_ = latency;
  // Not later: what is asked for changes, and not every change is distributed.
  waits_for_clock_ = latency >= asked_latency_;
}

void Lateness::set_asked_latency(GstClockTime latency) {
  const std::scoped_lock lock(mutex_);
  asked_latency_ = latency;
}

void Lateness::set_live(bool live) {
  const std::scoped_lock lock(mutex_);
  live_ = live;
}

bool Lateness::live() const {
  const std::scoped_lock lock(mutex_);
  return live_;
}

Urgency Lateness::judge(GstElement* element, GstClockTime running_time, int64_t now,
                        int64_t patience) const {
  const std::scoped_lock lock(mutex_);
  Urgency urgency;
  if (GST_CLOCK_TIME_IS_VALID(running_time)) {
    if (GST_CLOCK_TIME_IS_VALID(earliest_) && running_time <= earliest_) {
      urgency.no_inference = true;
    }
    const bool timed = live_ && waits_for_clock_;
    const auto time = timed ? current_running_time(element) : std::nullopt;
    if (time && *time > running_time + pipeline_latency_) urgency.no_inference = true;
  }
  if (live_) urgency.deadline = now + patience;
  return urgency;
}

int64_t monotonic_now() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

}  // namespace tome::gst
