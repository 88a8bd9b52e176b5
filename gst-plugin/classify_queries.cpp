// Queries of tomeclassify, and upstream events.
#include <algorithm>
#include <utility>

#include "classify_element.h"
#include "frame_mapper.h"
#include "printable.h"

GST_DEBUG_CATEGORY_EXTERN(tome_classify_debug);

namespace tome::gst {
namespace {

std::string found(GstCaps* caps) {
  return std::string("caps ") + Ptr<char>(gst_caps_to_string(caps)).get() + ": ";
}

/// About caps that the sink pad's template does not take.
std::string expected_instead_of(GstCaps* caps) {
  const char* others = has_cuda_memory(caps)
                           ? "video/x-raw(memory:CUDAMemory) in one of " TOME_GST_CUDA_FORMATS
                           : "video/x-raw in system memory, in one of " TOME_GST_VIDEO_FORMATS;
  return found(caps) + "expected " + others + ", width and height of 1 or more";
}

}  // namespace

// Note [Refused caps]
// A pad asks itself ACCEPT_CAPS about each CAPS event, and one that it refuses ends there: upstream
// hears "not negotiated", and what it tells the user names neither the caps nor what would do. The
// same query comes from whoever tries elements out, so its answer is logged at most. The event
// means that frames follow, and what the template does not take nobody downstream can make
// acceptable: that is an error, said by a probe, which comes before the query. Who corrects caps in
// a probe must do it upstream of this pad.

// Note [Latency]
// A live frame waits at most batch-timeout for its batch to fill (not at all with batch-size 1),
// then for the forward that is under way when it comes, and, where the model has more streams than
// a batch has places, for those that serve the others; its own forward takes another batch
// duration. All of this is measured and counted by the core. A clip window adds nothing, for its
// frames leave at once. The maximum grows by what can be held back without losing anything: `depth`
// frames, or, where the caps do not say how long a frame lasts, our own latency, which is the
// least.

int64_t ClassifyElement::patience() const { return fill_wait_ + session_.longest_wait(); }

GstClockTime ClassifyElement::own_latency() const {
  return static_cast<GstClockTime>(patience() + session_.batch_duration());
}

void ClassifyElement::announce_latency() {
  if (!promised_latency_.announce(own_latency(), monotonic_now(), lateness_.live())) return;
  gst_element_post_message(element_, gst_message_new_latency(GST_OBJECT(element_)));
}

bool ClassifyElement::answer_latency(GstQuery* query) {
  if (!gst_pad_peer_query(sink_, query)) return false;
  gboolean live = FALSE;
  GstClockTime min = 0;
  GstClockTime max = 0;
  gst_query_parse_latency(query, &live, &min, &max);
  lateness_.set_live(live != FALSE);
  const GstClockTime own = own_latency();
  promised_latency_.answered(own);
  const GstClockTime duration = frame_duration_;
  const GstClockTime held = GST_CLOCK_TIME_IS_VALID(duration) ? depth_ * duration : 0;
  if (GST_CLOCK_TIME_IS_VALID(max)) max += std::max(own, held);
  lateness_.set_asked_latency(min + own);
  gst_query_set_latency(query, live, min + own, max);
  return true;
}

bool ClassifyElement::answer_allocation(GstQuery* query, bool answered) {
  // Frames in flight, and the one that is being pushed, are out of upstream's pool.
  const guint held = depth_ + 1;
  const guint pools = answered ? gst_query_get_n_allocation_pools(query) : 0;
  for (guint i = 0; i < pools; ++i) {
    GstBufferPool* pool = nullptr;
    guint size = 0;
    guint min = 0;
    guint max = 0;
    gst_query_parse_nth_allocation_pool(query, i, &pool, &size, &min, &max);
    // A pool that cannot grow enough would run dry; without it upstream makes its own.
    const bool fits = max == 0 || min + held <= max;
    gst_query_set_nth_allocation_pool(query, i, fits ? pool : nullptr, size, min + held,
                                      fits ? max : 0);
    if (pool != nullptr) gst_object_unref(pool);
  }
  if (pools > 0) return true;
  GstCaps* caps = nullptr;
  gst_query_parse_allocation(query, &caps, nullptr);
  GstVideoInfo info;
  if (caps == nullptr || !gst_video_info_from_caps(&info, caps)) return answered;
  gst_query_add_allocation_pool(query, nullptr, static_cast<guint>(GST_VIDEO_INFO_SIZE(&info)),
                                held, 0);
  // GstVideoMeta stays downstream's to offer: pixels pass through untouched, strides included.
  return true;
}

bool ClassifyElement::query_default(GstPad* pad, GstQuery* query) {
  if (GST_QUERY_TYPE(query) == GST_QUERY_CONTEXT && cuda_.answer(query)) return true;
  if (gst_pad_query_default(pad, GST_OBJECT(element_), query) == FALSE) return false;
  if (GST_QUERY_TYPE(query) == GST_QUERY_CAPS) cuda_.narrow(query);
  return true;
}

bool ClassifyElement::sink_query(GstQuery* query) {
  if (GST_QUERY_IS_SERIALIZED(query)) {
    hurry();
    return queue_.ask(query);
  }
  const bool answered = query_default(sink_, query);
  if (answered && GST_QUERY_TYPE(query) == GST_QUERY_ACCEPT_CAPS) log_refusal(query);
  return answered;
}

bool ClassifyElement::fits_template(GstCaps* caps) const {
  const Ptr<GstCaps> taken(gst_pad_get_pad_template_caps(sink_));
  return gst_caps_can_intersect(caps, taken.get()) != FALSE;
}

/// Note [Refused caps]
void ClassifyElement::log_refusal(GstQuery* query) const {
  gboolean accepted = FALSE;
  gst_query_parse_accept_caps_result(query, &accepted);
  if (accepted != FALSE) return;
  GstCaps* caps = nullptr;
  gst_query_parse_accept_caps(query, &caps);
  const std::string text = fits_template(caps)
                               ? found(caps) + "expected those that are taken downstream"
                               : expected_instead_of(caps);
  GST_CAT_WARNING_OBJECT(tome_classify_debug, element_, "%s", printable(text).c_str());
}

void ClassifyElement::caps_arrive(GstEvent* event) {
  GstCaps* caps = nullptr;
  gst_event_parse_caps(event, &caps);
  // Upstream sends them again with each frame.
  if (fits_template(caps) || error_posted_) return;
  post_error({TOME_ERROR_FORMAT, expected_instead_of(caps)});
}

/// Nothing comes for a while that could fill the batch.
void ClassifyElement::hurry() {
  if (fill_wait_ > 0) session_.hurry();
}

/// Nothing can come before what is waited for has run: also where few of the buffers in flight have
/// a request. Asked from both sides, by whichever comes second.
void ClassifyElement::hurry_if_stuck() {
  if (awaits_ticket_ && !queue_.has_room()) hurry();
}

bool ClassifyElement::src_query(GstQuery* query) {
  if (GST_QUERY_TYPE(query) == GST_QUERY_LATENCY) return answer_latency(query);
  return query_default(src_, query);
}

bool ClassifyElement::src_event(Ptr<GstEvent> event) {
  switch (GST_EVENT_TYPE(event.get())) {
    case GST_EVENT_QOS:
      lateness_.observe(event.get());
      break;
    case GST_EVENT_LATENCY: {
      GstClockTime latency = 0;
      gst_event_parse_latency(event.get(), &latency);
      lateness_.set_pipeline_latency(latency);
      promised_latency_.distributed();
      break;
    }
    case GST_EVENT_RECONFIGURE:
      // Downstream may be linked again.
      relinked();
      break;
    default:
      break;
  }
  return gst_pad_push_event(sink_, event.release());
}

}  // namespace tome::gst
