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
// (only before the first event it is the first answer that counts). A live stream that nobody has
// asked about announces its latency once: the pipeline reckoned before the element was in it, or
// before it was restarted alone. A rise by a quarter is announced at once, for frames come too late
// until then. A fall only means that the picture could come sooner: it must be large and last
// without a break, and after each that was announced the next must last twice as long, so that a
// latency that goes up and down is soon left alone. Half an hour is enough, however often that was:
// without a bound, a peak of every night would double it until no fall lasts long enough.

/// Thread-safe.
class PromisedLatency {
 public:
  static constexpr GstClockTime kLeastFall = 50 * GST_MSECOND;  ///< and to at most half
  static constexpr int64_t kFallLasts = 10 * GST_SECOND;        ///< at least, the first
  static constexpr int64_t kFallLastsAtMost = 1800 * GST_SECOND;

  void reset();
  /// A LATENCY query was answered with this.
  void answered(GstClockTime latency);
  /// A LATENCY event came.
  void distributed();
  /// Whether `latency` is to be announced; if so, it counts as announced.
  ///
  /// @param now   CLOCK_MONOTONIC, nanoseconds
  /// @param live  where it is not, nobody has to hear what nobody has asked for
  bool announce(GstClockTime latency, int64_t now, bool live);

 private:
  bool fell(GstClockTime latency, int64_t now);

  std::mutex mutex_;
  std::optional<GstClockTime> answered_;
  std::optional<GstClockTime> promised_;  // in force, or announced since
  std::optional<int64_t> low_since_;
  int64_t fall_lasts_ = kFallLasts;
};

}  // namespace tome::gst
