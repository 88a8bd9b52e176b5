// Which latency the pipeline reckons with, and when it has to hear of another.
#pragma once

#include <gst/gst.h>

#include <cstdint>
#include <mutex>
#include <optional>

namespace tome::gst {

// Note [When a new latency is announced]
// A LATENCY message makes the pipeline ask and distribute anew, which glitches live playback, so
// only a real change counts. It is measured against what is in force: our last answer when the
// LATENCY event came. An answer alone puts nothing in force, since applications ask just to look
// (only before the first event it is the first answer that counts). A rise by a quarter is
// announced at once, for frames come too late until then. A fall only means that the picture could
// come sooner: it must be large and last without a break, and after each that was announced the
// next must last twice as long, so that a latency that goes up and down is soon left alone.

/// Thread-safe.
class PromisedLatency {
 public:
  static constexpr GstClockTime kLeastFall = 50 * GST_MSECOND;  ///< and to at most half
  static constexpr int64_t kFallLasts = 10 * GST_SECOND;        ///< at least, the first

  void reset();
  /// A LATENCY query was answered with this.
  void answered(GstClockTime latency);
  /// A LATENCY event came.
  void distributed();
  /// Whether `latency` is to be announced; if so, it counts as announced.
  ///
  /// @param now  CLOCK_MONOTONIC, nanoseconds
  bool announce(GstClockTime latency, int64_t now);

 private:
  bool fell(GstClockTime latency, int64_t now);

  std::mutex mutex_;
  GstClockTime answered_ = 0;
  GstClockTime promised_ = 0;  // in force, or announced since; 0: nothing yet
  std::optional<int64_t> low_since_;
  int64_t fall_lasts_ = kFallLasts;
};

}  // namespace tome::gst
