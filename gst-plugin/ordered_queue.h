// The one queue of tomeclassify: what comes in leaves in the same order.
#pragma once

#include <gst/gst.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <variant>

#include "core_session.h"
#include "gst_ptr.h"
#include "region_tracker.h"

namespace tome::gst {

/// When a frame is due, as its segment says; GST_CLOCK_TIME_NONE where it says nothing.
struct FrameTimes {
  GstClockTime running = GST_CLOCK_TIME_NONE;
  GstClockTime stream = GST_CLOCK_TIME_NONE;
};

/// A frame on its way, with the inference that was asked for it.
struct BufferItem {
  Ptr<GstBuffer> buffer;
  TicketPtr ticket;    ///< none if nothing was submitted
  RegionPlan regions;  ///< with inference-region=roi-list: where the results go
  FrameTimes times;
  int64_t arrival = 0;   ///< CLOCK_MONOTONIC nanoseconds at which the frame came in
  bool restart = false;  ///< results of earlier frames do not hold for this one
};

/// The padded window at the end of a stream.
struct DrainItem {
  TicketPtr ticket;
  FrameTimes times;  ///< of its last frame
};

struct EventItem {
  Ptr<GstEvent> event;
};

/// A serialized query; its thread sleeps in OrderedQueue::ask until it is answered.
struct QueryItem {
  GstQuery* query = nullptr;
};

using Item = std::variant<BufferItem, DrainItem, EventItem, QueryItem>;

// Note [One queue, one task]
// The sink pad's thread appends buffers (submitted to the core), serialized events and serialized
// queries; the source pad's task takes them off one by one, waits for a buffer's inference, and
// pushes. Order in is order out by construction. Several frames are in flight between the two, so
// that even one stream fills batches. Both sides sleep on condition variables; a flush sets the
// state to FLUSHING, which wakes them all.

/// Bounded in buffers only: events and queries never wait for room. The state is a GstFlowReturn as
/// in GstQueue: what downstream said last, handed upstream with the next buffer.
class OrderedQueue {
 public:
  /// Most buffers between entry and the end of their inference.
  void set_depth(unsigned depth);

  /// Upstream side. Whether there is room for one more buffer now.
  bool has_room() const;
  /// Blocks until there is.
  GstFlowReturn wait_for_room();
  /// Appends; on another result than GST_FLOW_OK `item` is left as it was. Sticky events other than
  /// EOS are refused by a flush only: when downstream is linked again, frames that still wait leave
  /// before them. Of a kind that comes again before that, the last stays, as on a pad.
  GstFlowReturn append(Item& item);
  /// Appends a serialized query and blocks until the task has answered it. False if it was refused,
  /// flushed or not answered.
  bool ask(GstQuery* query);

  /// Task side. Blocks; nothing once the state is not GST_FLOW_OK.
  std::optional<Item> take();
  /// The buffer taken last has its result: room for another.
  void finished_buffer();
  void answered(bool result);
  /// Downstream said EOS: drops buffers, queries and the events that no longer matter up to the
  /// next EOS, SEGMENT or STREAM_START; if there is none, buffers are refused with GST_FLOW_EOS
  /// until one comes. Dropped sticky events are stored on `pad`, tickets of dropped buffers waited
  /// for.
  void skip_to_restart(GstPad* pad);

  /// Sets the state and wakes everyone.
  void set_flow(GstFlowReturn flow);
  /// Sets the state to a failure, unless a flush came first.
  void fail(GstFlowReturn flow);
  /// GST_FLOW_OK again if the state is `flow`; whether it was.
  bool resume_from(GstFlowReturn flow);
  GstFlowReturn flow() const;
  /// Empties the queue; queries fail; sticky events other than SEGMENT and EOS are stored on `pad`,
  /// for they describe what comes after a flush too (null: forgotten).
  void clear(GstPad* pad);

  /// True after an EOS event was appended, until STREAM_START or clear().
  bool at_eos() const;

 private:
  void note_event(GstEvent* event);
  bool replace_waiting(Ptr<GstEvent>& event);
  static void keep_stickies(const std::deque<Item>& items, GstPad* pad);

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Item> items_;
  unsigned depth_ = 1;
  unsigned buffers_ = 0;  // appended and not yet finished
  GstFlowReturn flow_ = GST_FLOW_FLUSHING;
  bool eos_ = false;
  bool refusing_ = false;
  const GstQuery* asked_ = nullptr;  // waits for an answer; null again when it has one
  bool answering_ = false;           // the task works on it
  bool answer_ = false;
};

}  // namespace tome::gst
