// The sink pad's side of tomeclassify: buffers and serialized events into the queue.
#include <algorithm>
#include <utility>

#include "classify_element.h"
#include "frame_mapper.h"
#include "upstream_pool.h"
#include "video_picture.h"

namespace tome::gst {
namespace {

/// A time stamp this far before the one of the frame before is a jump (in reverse playback: this
/// far after it); less is jitter.
constexpr GstClockTime kJumpBack = GST_SECOND;

// Note [DISCONT]
// A leaky queue sets DISCONT on the frame behind each one that it drops, and so do others that
// thin out a live stream. Frames dropped without the flag (by a camera, by videorate) go unnoticed
// anyway, so the flag alone ends nothing: only with a step ahead of more than this time and this
// many frames, or with one back, or where a segment has just begun. Without time stamps there is
// no step.
constexpr GstClockTime kGap = GST_SECOND;
constexpr GstClockTime kGapFrames = 5;

/// No window of these frames shows how things moved: the last come first, also where a server has
/// turned the stream around, or all but the key frames are left out.
bool spoils_windows(const GstSegment& segment) {
  return segment.rate * segment.applied_rate < 0 ||
         (segment.flags & GST_SEGMENT_FLAG_TRICKMODE_KEY_UNITS) != 0;
}

FrameTimes times_of(const GstBuffer* buffer, const GstSegment& segment) {
  const GstClockTime pts = GST_BUFFER_PTS(buffer);
  if (segment.format != GST_FORMAT_TIME || !GST_CLOCK_TIME_IS_VALID(pts)) return {};
  return {gst_segment_to_running_time(&segment, GST_FORMAT_TIME, pts),
          gst_segment_to_stream_time(&segment, GST_FORMAT_TIME, pts)};
}

bool is_empty_gap(GstBuffer* buffer) {
  return GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_GAP) && gst_buffer_get_size(buffer) == 0;
}

}  // namespace

void ClassifyElement::notice_jump(GstBuffer* buffer) {
  const bool told = GST_BUFFER_IS_DISCONT(buffer);
  const bool begins = std::exchange(new_segment_, false);
  if (GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_RESYNC) || (told && begins)) restart_ = true;
  if (!GST_BUFFER_PTS_IS_VALID(buffer)) return;
  GstClockTime later = GST_BUFFER_PTS(buffer);
  GstClockTime earlier = std::exchange(last_pts_, later);
  if (!GST_CLOCK_TIME_IS_VALID(earlier)) return;
  if (segment_.rate < 0) std::swap(earlier, later);
  if (breaks(earlier, later, told)) restart_ = true;
}

/// @param told  the later frame is flagged: see Note [DISCONT]
bool ClassifyElement::breaks(GstClockTime earlier, GstClockTime later, bool told) const {
  if (later < earlier) return told || earlier - later >= kJumpBack;
  const GstClockTime duration = frame_duration_;
  const GstClockTime frames = GST_CLOCK_TIME_IS_VALID(duration) ? kGapFrames * duration : 0;
  return told && later - earlier > std::max(kGap, frames);
}

void ClassifyElement::notice_trick_play(const GstSegment& next) {
  const bool turns = (next.rate < 0) != (segment_.rate < 0);
  if (!turns && spoils_windows(next) == spoils_windows(segment_)) return;
  if (undrained_) drain_windows();
  restart_ = true;
  last_pts_ = GST_CLOCK_TIME_NONE;
}

bool ClassifyElement::is_spoilt_clip() {
  if (!spoils_windows(segment_) || session_.info().clip_length <= 1) return false;
  if (!std::exchange(trick_told_, true)) {
    const bool turned = segment_.rate * segment_.applied_rate < 0;
    post_warning({TOME_ERROR_FORMAT,
                  std::string(turned ? "reverse playback" : "playback of key frames alone") +
                      " found together with clips of " +
                      std::to_string(session_.info().clip_length) +
                      " frames: frames pass without inference until all come again, forward"});
  }
  return true;
}

GstFlowReturn ClassifyElement::chain(Ptr<GstBuffer> buffer) {
  Item queued = BufferItem();
  BufferItem& item = std::get<BufferItem>(queued);
  item.arrival = monotonic_now();
  hurry_if_stuck();
  if (const GstFlowReturn flow = queue_.wait_for_room(); flow != GST_FLOW_OK) {
    return refused_buffer(flow);
  }
  if (!have_info_) {
    post_error({TOME_ERROR_FORMAT, "a buffer came before any caps: expected video/x-raw caps"});
    return GST_FLOW_NOT_NEGOTIATED;
  }
  if (!live_known_) find_out_if_live();
  notice_jump(buffer.get());
  item.times = times_of(buffer.get(), segment_);
  item.restart = std::exchange(restart_, false);
  if (item.restart) regions_.restart();
  item.buffer = std::move(buffer);
  if (auto failure = submit(item)) {
    if (const GstFlowReturn flow = queue_.flow(); flow != GST_FLOW_OK) return refused_buffer(flow);
    post_error(*failure);
    return GST_FLOW_ERROR;
  }
  // One without a ticket too: it waits behind those that have one.
  if (running_.batch_size > 1 && pool_is_dry(item.buffer.get())) hurry();
  return refused_buffer(enqueue(queued));
}

GstFlowReturn ClassifyElement::refused_buffer(GstFlowReturn flow) {
  // What comes when downstream wants buffers again does not continue what was before this one, and
  // neither a flag nor a region of this one may count as dealt with.
  if (flow != GST_FLOW_OK) restart_ = true;
  return flow;
}

GstFlowReturn ClassifyElement::enqueue(Item& item) {
  const GstFlowReturn flow = queue_.append(item);
  if (flow == GST_FLOW_OK) return flow;
  if (flow == GST_FLOW_NOT_LINKED) {
    // Those before it wait for a link, and for their results. Only this one's ticket goes, once it
    // is ready.
    hurry();
    return flow;
  }
  // A flush came between submission and here; without this its ticket would be waited for.
  session_.flush();
  regions_.recount();
  return flow;
}

MaybeFailure ClassifyElement::submit(BufferItem& item) {
  if (is_spoilt_clip()) return std::nullopt;
  std::vector<TomeRegion> regions;
  std::string error;
  if (running_.region == InferenceRegion::kRoiList) {
    const auto picture = picture_of(item.buffer.get(), info_, error);
    if (!picture) return pass_unread(item, error);
    if (gst_buffer_get_size(item.buffer.get()) == 0) {
      return pass_unread(item, "a buffer of 0 bytes holds no picture");
    }
    item.regions =
        regions_.plan(item.buffer.get(), picture->width, picture->height, inference_interval_);
    watch_.looked_for_regions(!item.regions.targets.empty());
    regions = item.regions.submitted();
    if (regions.empty()) return submit_nothing(item);  // nobody has looked at its pixels
  }
  auto frame = map(item.buffer.get(), std::move(regions), error);
  if (!frame) return pass_unread(item, error);
  watch_.read(item.restart);
  item.regions.width = frame->width;
  item.regions.height = frame->height;
  frame->discont = item.restart ? 1 : 0;
  if (skip_late_) judge_urgency(item, *frame);
  undrained_ = true;
  last_times_ = item.times;
  return session_.submit(*frame, item.ticket);
}

/// A frame without a region counts for inference-interval like any other, so the core is given one:
/// a single pixel, because nobody looks at it.
MaybeFailure ClassifyElement::submit_nothing(BufferItem& item) {
  if (inference_interval_ <= 1) return std::nullopt;
  static constexpr uint8_t kPixel = 0;
  TomeFrame frame{};
  frame.format = TOME_FORMAT_GRAY8;
  frame.width = frame.height = 1;
  frame.plane[0] = &kPixel;
  frame.stride[0] = 1;
  frame.plane_size[0] = 1;
  frame.pts = frame.duration = -1;
  frame.discont = item.restart ? 1 : 0;
  frame.no_inference = 1;
  frame.release = [](void*) {};
  return session_.submit(frame, item.ticket);
}

/// Note [Frames that cannot be read]
MaybeFailure ClassifyElement::pass_unread(BufferItem& item, const std::string& error) {
  item.restart = restart_ = true;
  item.regions.targets.clear();
  if (auto failure = watch_.unread(error, is_empty_gap(item.buffer.get()))) return failure;
  // The tracker has counted it if it was planned, so the core must.
  return item.regions.active ? submit_nothing(item) : std::nullopt;
}

std::optional<TomeFrame> ClassifyElement::map(GstBuffer* buffer, std::vector<TomeRegion> regions,
                                              std::string& error) {
  if (!cuda_memory_) return map_frame(buffer, info_, std::move(regions), error);
  CudaFrame made = cuda_.map(buffer, info_, std::move(regions));
  error = made.error;
  if (!made.detour.empty() && !std::exchange(detour_told_, true)) {
    post_warning({TOME_ERROR_DEVICE, made.detour});
  }
  return made.frame;
}

void ClassifyElement::judge_urgency(const BufferItem& item, TomeFrame& frame) {
  const Urgency urgency = lateness_.judge(element_, item.times.running, item.arrival, patience());
  frame.no_inference = urgency.no_inference ? 1 : 0;
  frame.deadline = urgency.deadline;
}

void ClassifyElement::find_out_if_live() {
  live_known_ = true;
  const Ptr<GstQuery> query(gst_query_new_latency());
  if (!gst_pad_peer_query(sink_, query.get())) return;
  gboolean live = FALSE;
  gst_query_parse_latency(query.get(), &live, nullptr, nullptr);
  lateness_.set_live(live != FALSE);
  announce_latency();
}

GstFlowReturn ClassifyElement::sink_event(Ptr<GstEvent> event) {
  switch (GST_EVENT_TYPE(event.get())) {
    case GST_EVENT_FLUSH_START:
      return flush_start(std::move(event));
    case GST_EVENT_FLUSH_STOP:
      return flush_stop(std::move(event));
    default:
      break;
  }
  if (GST_EVENT_IS_SERIALIZED(event.get())) return serialized_event(std::move(event));
  return gst_pad_push_event(src_, event.release()) ? GST_FLOW_OK : GST_FLOW_ERROR;
}

GstFlowReturn ClassifyElement::flush_start(Ptr<GstEvent> event) {
  const bool pushed = gst_pad_push_event(src_, event.release());
  wake_everyone();
  // Downstream is flushing too by now, so the task is on its way out of any push.
  gst_pad_pause_task(src_);
  return pushed ? GST_FLOW_OK : GST_FLOW_ERROR;
}

GstFlowReturn ClassifyElement::flush_stop(Ptr<GstEvent> event) {
  gboolean reset_time = TRUE;
  gst_event_parse_flush_stop(event.get(), &reset_time);
  const bool pushed = gst_pad_push_event(src_, event.release());
  session_.flush();
  queue_.clear(src_);
  regions_.forget();
  regions_.recount();
  lateness_.flushed();
  held_.clear();
  restart_ = true;
  watch_.flushed();
  undrained_ = false;
  error_posted_ = false;
  if (reset_time) gst_segment_init(&segment_, GST_FORMAT_UNDEFINED);
  resume();
  return pushed ? GST_FLOW_OK : GST_FLOW_ERROR;
}

bool ClassifyElement::accept(GstCaps* caps, GstVideoInfo& info) {
  if (gst_video_info_from_caps(&info, caps) == FALSE) {
    const Ptr<char> text(gst_caps_to_string(caps));
    post_error({TOME_ERROR_FORMAT, std::string("caps ") + text.get() +
                                       ": expected video/x-raw with format, width and height"});
    return false;
  }
  cuda_memory_ = has_cuda_memory(caps);
  const std::string refusal = cuda_memory_ ? cuda_.refusal() : "";
  if (!refusal.empty()) post_error({TOME_ERROR_FORMAT, refusal});
  return refusal.empty();
}

bool ClassifyElement::set_caps(GstEvent* event) {
  GstCaps* caps = nullptr;
  gst_event_parse_caps(event, &caps);
  GstVideoInfo info;
  if (!accept(caps, info)) return false;
  if (have_info_ && gst_video_info_is_equal(&info, &info_)) return true;
  hurry();
  notice_hdr(element_, info);
  info_ = info;
  have_info_ = true;
  restart_ = true;
  watch_.changed();
  frame_duration_ = info.fps_n > 0 ? gst_util_uint64_scale_int(GST_SECOND, info.fps_d, info.fps_n)
                                   : GST_CLOCK_TIME_NONE;
  return true;
}

// Note [The window at the end]
// At EOS (also of a segment, or of a stream that another one follows) the core pads and classifies
// a window that has at least half its frames. Those frames have left, so the result goes out as a
// serialized custom downstream event, and as an element message, before the event that ended the
// stream. The core hears of an end whatever came before it: a stream that it was given no frame of
// (without regions, unread, flushed) would count in everybody's latency for ever. Where another
// stream follows this one goes on, and only what was submitted needs an end.
void ClassifyElement::drain_windows() {
  DrainItem window{nullptr, last_times_};
  const auto failure = session_.drain(window.ticket);
  if (failure && queue_.flow() == GST_FLOW_OK) post_error(*failure);
  if (!std::exchange(undrained_, false)) return;
  restart_ = true;
  watch_.drained(window.ticket != nullptr);
  if (!window.ticket) return;
  Item item = std::move(window);
  enqueue(item);
}

void ClassifyElement::end_stream() {
  if (const auto failure = watch_.ended()) post_error(*failure);
}

GstFlowReturn ClassifyElement::serialized_event(Ptr<GstEvent> event) {
  switch (GST_EVENT_TYPE(event.get())) {
    case GST_EVENT_STREAM_START:
      if (undrained_) drain_windows();
      end_stream();
      watch_.began();
      live_known_ = false;
      restart_ = true;
      break;
    case GST_EVENT_CAPS:
      if (!set_caps(event.get())) return GST_FLOW_NOT_NEGOTIATED;
      break;
    case GST_EVENT_SEGMENT: {
      const GstSegment* segment = nullptr;
      gst_event_parse_segment(event.get(), &segment);
      notice_trick_play(*segment);
      gst_segment_copy_into(segment, &segment_);
      new_segment_ = true;
      watch_.changed();
      break;
    }
    case GST_EVENT_SEGMENT_DONE:
      drain_windows();
      break;
    case GST_EVENT_EOS:
      drain_windows();
      end_stream();
      break;
    default:
      break;
  }
  Item item = EventItem{std::move(event)};
  const GstFlowReturn flow = queue_.append(item);
  if (flow == GST_FLOW_OK) return flow;
  return refused_event(std::get<EventItem>(item).event.get(), flow);
}

GstFlowReturn ClassifyElement::refused_event(const GstEvent* event, GstFlowReturn flow) {
  if (flow == GST_FLOW_FLUSHING || GST_EVENT_TYPE(event) != GST_EVENT_EOS) return flow;
  // No buffer follows that could carry the failure upstream, so the application must hear it.
  if (!error_posted_.exchange(true)) {
    GstElement* self = element_;
    GST_ELEMENT_FLOW_ERROR(self, flow);
  }
  return flow;
}

}  // namespace tome::gst
