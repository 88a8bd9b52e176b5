// Queries of tomeclassify, and upstream events.
#include <algorithm>
#include <utility>

#include "classify_element.h"

namespace tome::gst {

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
  return query_default(sink_, query);
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
