// What tomeclassify does, apart from being a GObject.
#pragma once

#include <gst/gst.h>
#include <gst/video/video.h>

#include <array>
#include <atomic>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "classification_meta.h"
#include "classify_settings.h"
#include "classify_stats.h"
#include "core_session.h"
#include "cuda_input.h"
#include "lateness.h"
#include "ordered_queue.h"
#include "promised_latency.h"
#include "region_tracker.h"
#include "stream_watch.h"

namespace tome::gst {

// Note [Threads of tomeclassify]
// Four kinds of threads meet here:
//  - the application's: state changes and properties;
//  - the sink pad's: chain, serialized events and queries, and FLUSH_STOP;
//  - the task of the source pad: loop;
//  - any other, at any time, several at once: FLUSH_START, queries that are not serialized, and
//    what comes from downstream (LATENCY and other queries, QOS, RECONFIGURE).
// Members say which of the first three may touch them. What two touch, or any of the fourth kind,
// is atomic or guards itself (queue, session, lateness, latency, regions, stats, cuda). State
// changes run while neither pad's thread does, except for the wake-up in activate_sink and
// activate_src. FLUSH_STOP runs while the task is paused.

// Note [Who starts and pauses the task]
// The task pauses itself when the queue's state is not GST_FLOW_OK any more, and FLUSH_STOP or
// RECONFIGURE, in other threads, start it again with that state. task_mutex_ makes a change of
// state and what it does to the task one step: a pause that comes after the start it was meant to
// precede would stall the stream for good, and so would a start on a pad that has just been
// deactivated. It is not held while anybody waits for the task to end.

// Note [Depth in flight]
// Buffers between their entry and the end of their inference are bounded by
//     2 x batch-size + clip length, and at least as many as hold batch-size due frames, up to 128.
// Twice the batch keeps one batch filling while another runs; the clip length lets the frames of a
// window gather behind one that is being inferred. With batch-size=1 no batch has to fill: frames
// between two inferences are held only so that upstream can go on while one runs (a decoder works,
// a camera is not kept waiting): of inference-interval as many as come meanwhile at 250 frames/s,
// 32 at most. The LATENCY and ALLOCATION answers use it.

// Note [Changes at once]
// tome-r, top-k, threshold and inference-interval go to the stream that is open when they are set,
// in the thread that sets them; settings_ keeps what the core took. inference_interval_ is what the
// sink pad's thread, which plans regions, goes by: a frame that is planned by the old value and
// submitted under the new one is what Note [Due frames] allows for. The depth in flight stays as it
// was at the start: upstream's pool was made for it. All others count from the next start, and what
// is changed between the copy that start() opens the stream with and stop() is told of.

/// The element behind the GObject. Every function is called by the thread that Note [Threads of
/// tomeclassify] names.
class ClassifyElement {
 public:
  ClassifyElement(GstElement* element, GstPad* sink, GstPad* src);

  // State changes; false: an error has been posted.
  bool open();
  bool start();
  void stop();
  void close();

  // Pads.
  GstFlowReturn chain(Ptr<GstBuffer> buffer);
  GstFlowReturn sink_event(Ptr<GstEvent> event);
  /// Before the pad asks whether it accepts them, and sink_event never hears of those it does not.
  void caps_arrive(GstEvent* event);
  bool sink_query(GstQuery* query);
  bool src_event(Ptr<GstEvent> event);
  bool src_query(GstQuery* query);
  bool activate_sink(bool active);
  bool activate_src(bool active);
  void loop();

  void set_context(GstContext* context) { cuda_.offer(context); }

  // Properties; false: no such property.
  bool set_property(guint id, const GValue* value);
  bool get_property(guint id, GValue* value);

 private:
  // classify_input.cpp: the sink pad's thread
  void notice_jump(GstBuffer* buffer);
  bool breaks(GstClockTime earlier, GstClockTime later, bool told) const;
  void notice_trick_play(const GstSegment& next);
  bool is_spoilt_clip();
  MaybeFailure submit(BufferItem& item);
  MaybeFailure submit_nothing(BufferItem& item);
  MaybeFailure pass_unread(BufferItem& item, const std::string& error);
  std::optional<TomeFrame> map(GstBuffer* buffer, std::vector<TomeRegion> regions,
                               std::string& error);
  void judge_urgency(const BufferItem& item, TomeFrame& frame);
  void find_out_if_live();
  bool set_caps(GstEvent* event);
  bool accept(GstCaps* caps, GstVideoInfo& info);
  void drain_windows();
  void end_stream();
  GstFlowReturn serialized_event(Ptr<GstEvent> event);
  GstFlowReturn refused_event(const GstEvent* event, GstFlowReturn flow);
  GstFlowReturn enqueue(Item& item);
  GstFlowReturn refused_buffer(GstFlowReturn flow);
  GstFlowReturn flush_start(Ptr<GstEvent> event);
  GstFlowReturn flush_stop(Ptr<GstEvent> event);
  void wake_everyone();

  // classify_output.cpp: the source pad's task
  GstFlowReturn handle(BufferItem& item);
  GstFlowReturn handle(DrainItem& item);
  GstFlowReturn handle(EventItem& item);
  GstFlowReturn handle(QueryItem& item);
  TomeOutcome wait_for(TicketPtr& ticket, std::vector<Classification>& results);
  void attach(BufferItem& item, std::vector<Classification> fresh);
  void attach_regions(BufferItem& item, std::vector<Classification> fresh);
  void post_results(const std::vector<Classification>& results, const FrameTimes& times);
  void post_message(Ptr<GstStructure> structure, const FrameTimes& times);
  void post_skip(const BufferItem& item);
  void skip_segment();
  void pause_unless_resumed();
  bool stop_flow(GstFlowReturn flow);
  void give_up(GstFlowReturn flow);

  bool open_model(const Settings& settings);
  void warn_of_ignored_settings();
  MaybeFailure pass_on(Settings& changed, const Settings& before);
  void apply_late_changes();
  void tell_of_late(const std::vector<const char*>& names);

  // classify_queries.cpp
  bool query_default(GstPad* pad, GstQuery* query);
  bool fits_template(GstCaps* caps) const;
  void log_refusal(GstQuery* query) const;
  bool answer_latency(GstQuery* query);
  bool answer_allocation(GstQuery* query, bool answered);
  int64_t patience() const;
  GstClockTime own_latency() const;
  void announce_latency();
  void hurry();
  void hurry_if_stuck();

  // Note [Who starts and pauses the task]
  bool start_task();
  bool resume();
  void relinked();

  void post_error(const Failure& failure);
  void post_warning(const Failure& failure);
  Settings settings() const;

  GstElement* element_;
  GstPad* sink_;
  GstPad* src_;

  mutable std::mutex settings_mutex_;  // held from reading a setting to writing it
  Settings settings_;                  // as the application set them
  bool started_ = false;               // they count from the next start; guarded by it, too
  std::atomic<bool> skip_late_{false};
  std::atomic<bool> post_messages_{false};

  // Written in state changes only.
  CoreSession session_;
  CudaInput cuda_;
  Settings running_;  // settings that the stream was opened with; the sink pad's thread reads them
  std::string name_;  // the element's, which may change between two starts
  std::atomic<unsigned> inference_interval_{1};  // Note [Changes at once]
  std::atomic<unsigned> depth_{1};
  std::atomic<int64_t> fill_wait_{0};  // nanoseconds that a batch waits to fill

  OrderedQueue queue_;
  Lateness lateness_;
  PromisedLatency promised_latency_;
  RegionTracker regions_;
  ClassifyStats stats_;
  std::atomic<bool> error_posted_{false};
  std::atomic<GstClockTime> frame_duration_{GST_CLOCK_TIME_NONE};
  std::atomic<bool> awaits_ticket_{false};  // the task

  std::mutex task_mutex_;              // see Note [Who starts and pauses the task]
  bool src_active_ = false;            // guarded by it
  std::atomic<bool> relinked_{false};  // a RECONFIGURE has come since the task took its last item

  // The sink pad's thread.
  StreamWatch watch_;
  GstVideoInfo info_{};
  bool have_info_ = false;
  bool cuda_memory_ = false;  // the caps say so
  bool detour_told_ = false;  // see CudaFrame::detour
  bool trick_told_ = false;
  GstSegment segment_{};
  bool restart_ = true;       // the next frame does not continue the one before
  bool new_segment_ = false;  // no frame has come in it yet
  GstClockTime last_pts_ = GST_CLOCK_TIME_NONE;
  FrameTimes last_times_;
  bool live_known_ = false;
  bool undrained_ = false;  // frames that windows may take were submitted since the last drain

  // The source pad's task.
  std::vector<Classification> held_;              // the last results, with their age
  std::optional<std::array<int, 2>> frame_size_;  // of the picture that was looked at last
};

}  // namespace tome::gst
