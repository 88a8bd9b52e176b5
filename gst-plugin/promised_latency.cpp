#include "promised_latency.h"

namespace tome::gst {

void PromisedLatency::reset() {
  const std::scoped_lock lock(mutex_);
  answered_ = promised_ = 0;
  low_since_.reset();
  fall_lasts_ = kFallLasts;
}

void PromisedLatency::answered(GstClockTime latency) {
  const std::scoped_lock lock(mutex_);
  answered_ = latency;
  if (promised_ == 0) promised_ = latency;
}

void PromisedLatency::distributed() {
  const std::scoped_lock lock(mutex_);
  promised_ = answered_;
}

bool PromisedLatency::fell(GstClockTime latency, int64_t now) {
  if (latency > promised_ / 2 || latency + kLeastFall > promised_) {
    low_since_.reset();
    return false;
  }
  if (!low_since_) low_since_ = now;
  if (now - *low_since_ < fall_lasts_) return false;
  fall_lasts_ *= 2;
  return true;
}

bool PromisedLatency::announce(GstClockTime latency, int64_t now) {
  const std::scoped_lock lock(mutex_);
  if (promised_ == 0) return false;
  const bool rose = latency > promised_ + promised_ / 4;
  if (!fell(latency, now) && !rose) return false;
  promised_ = latency;
  low_since_.reset();
  return true;
}

}  // namespace tome::gst
