#include "promised_latency.h"

#include <algorithm>

namespace tome::gst {

void PromisedLatency::reset() {
  const std::scoped_lock lock(mutex_);
  answered_.reset();
  promised_.reset();
  low_since_.reset();
  fall_lasts_ = kFallLasts;
}

void PromisedLatency::answered(GstClockTime latency) {
  const std::scoped_lock lock(mutex_);
  answered_ = latency;
  if (!promised_) promised_ = latency;
}

void PromisedLatency::distributed() {
  const std::scoped_lock lock(mutex_);
  // Where nobody had asked, it was reckoned without us.
  if (answered_) promised_ = answered_;
}

bool PromisedLatency::fell(GstClockTime latency, int64_t now) {
  if (latency > *promised_ / 2 || latency + kLeastFall > *promised_) {
    low_since_.reset();
    return false;
  }
  if (!low_since_) low_since_ = now;
  if (now - *low_since_ < fall_lasts_) return false;
  fall_lasts_ = std::min(2 * fall_lasts_, kFallLastsAtMost);
  return true;
}

bool PromisedLatency::announce(GstClockTime latency, int64_t now, bool live) {
  const std::scoped_lock lock(mutex_);
  if (!promised_ && !live) return false;
  const bool rose = !promised_ || latency > *promised_ + *promised_ / 4;
  if (!rose && !fell(latency, now)) return false;
  promised_ = latency;
  low_since_.reset();
  return true;
}

}  // namespace tome::gst
