// late-policy=skip: which frames are too late to be worth an inference.
#pragma once

#include <gst/gst.h>

#include <cstdint>
#include <mutex>

namespace tome::gst {

/// What to tell the core about one frame.
struct Urgency {
  bool no_inference = false;  ///< already too late
  int64_t deadline = 0;       ///< CLOCK_MONOTONIC nanoseconds to start by; 0: none
};

// Note [Late frames]
// Only inference is skipped, never a buffer. A frame is too late when
//  - downstream's QoS events say that frames of its running time arrive late at the sink, or
//  - the stream is live and its time at the sink (base time + running time + pipeline latency) has
//    passed already when it arrives here, unless that latency is less than what was asked for
//    (nobody waits for the clock then: sinks with sync=false), or
//  - the stream is live and its inference has not begun when the wait that the LATENCY query
//    allows for is over (Note [Latency]): it would leave later than was promised. This bounds
//    the latency of a stream that is faster than the machine, or
//  - the stream is live and the core, given that deadline, prefers a newer frame of it (Note
//    [Overload] in the core).
// A stream that is not live has no clock to miss: back-pressure slows its source down instead.

/// Fed by the element's QoS and LATENCY events; asked for each frame. Thread-safe.
class Lateness {
 public:
  void reset();
  /// What was said of the frames before holds no more.
  void flushed();
  /// A QoS event from downstream.
  void observe(GstEvent* qos_event);
  /// The pipeline's latency, from the LATENCY event.
  void set_pipeline_latency(GstClockTime latency);
  /// The least that our last answer to a LATENCY query said it must be.
  void set_asked_latency(GstClockTime latency);
  void set_live(bool live);
  bool live() const;

  /// @param running_time  of the frame, or GST_CLOCK_TIME_NONE
  /// @param now           CLOCK_MONOTONIC, nanoseconds
  /// @param patience      nanoseconds that a live frame may wait for its inference to begin
  Urgency judge(GstElement* element, GstClockTime running_time, int64_t now,
                int64_t patience) const;

 private:
  mutable std::mutex mutex_;
  bool live_ = false;
  GstClockTime pipeline_latency_ = 0;
  GstClockTime asked_latency_ = 0;
  bool waits_for_clock_ = false;  // whether the latency that came was the one that was asked for
  GstClockTime earliest_ = GST_CLOCK_TIME_NONE;  // running time from which frames are in time
};

/// CLOCK_MONOTONIC in nanoseconds.
int64_t monotonic_now();

}  // namespace tome::gst
