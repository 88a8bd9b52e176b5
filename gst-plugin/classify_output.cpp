// The source pad's task of tomeclassify: waits for results, attaches them, pushes.
#include <utility>

#include "classify_element.h"

namespace tome::gst {
namespace {

/// An error that this element has posted itself, unlike GST_FLOW_ERROR from downstream.
constexpr GstFlowReturn kOwnError = GST_FLOW_CUSTOM_ERROR;

GstClockTime clock_time(int64_t nanoseconds) {
  return nanoseconds >= 0 ? static_cast<GstClockTime>(nanoseconds) : GST_CLOCK_TIME_NONE;
}

Classification to_classification(const TomeResult& result) {
  Classification made;
  if (result.region.width > 0) {
    made.region = {result.region.x, result.region.y, result.region.width, result.region.height};
  }
  made.clip_start = clock_time(result.clip_start_pts);
  made.clip_end = clock_time(result.clip_end_pts);
  made.frames = result.n_frames;
  made.tokens_in = result.tokens_in;
  made.tokens_out = result.tokens_out;
  for (uint32_t i = 0; i < result.n_scores; ++i) {
    const TomeScore& score = result.scores[i];
    made.tags.push_back({score.id, score.label != nullptr ? score.label : "", score.score});
  }
  return made;
}

}  // namespace

void ClassifyElement::loop() {
  auto item = queue_.take();
  if (!item) {
    pause_unless_resumed();
    return;
  }
  relinked_ = false;
  const GstFlowReturn flow = std::visit([this](auto& one) { return handle(one); }, *item);
  if (flow == GST_FLOW_OK) return;
  if (flow == GST_FLOW_EOS) {
    skip_segment();
  } else {
    give_up(flow);
  }
}

/// Downstream wants no more of this segment, but frames of the next one may be in flight already:
/// only what is dropped is given up, and none of it holds for what follows.
void ClassifyElement::skip_segment() {
  held_.clear();
  regions_.forget();
  // Inferences of dropped frames end before their tickets are freed.
  hurry();
  queue_.skip_to_restart(src_);
}

void ClassifyElement::pause_unless_resumed() {
  const std::scoped_lock lock(task_mutex_);
  if (queue_.flow() != GST_FLOW_OK) gst_pad_pause_task(src_);
}

/// Whether the stream stops with `flow`; false if downstream was linked again meanwhile.
bool ClassifyElement::stop_flow(GstFlowReturn flow) {
  const std::scoped_lock lock(task_mutex_);
  if (flow == GST_FLOW_NOT_LINKED && relinked_) return false;
  gst_pad_pause_task(src_);
  queue_.fail(flow);
  return true;
}

void ClassifyElement::give_up(GstFlowReturn flow) {
  if (!stop_flow(flow == kOwnError ? GST_FLOW_ERROR : flow)) return;
  if (flow == GST_FLOW_FLUSHING || !queue_.at_eos()) return;
  // Upstream has ended and will not see the flow return.
  if (!error_posted_.exchange(true)) {
    GstElement* self = element_;
    GST_ELEMENT_FLOW_ERROR(self, flow);
  }
  gst_pad_push_event(src_, gst_event_new_eos());
}

TomeOutcome ClassifyElement::wait_for(TicketPtr& ticket, std::vector<Classification>& results) {
  if (!ticket) return TOME_TICKET_NONE;
  const TomeResult* raw = nullptr;
  uint32_t count = 0;
  TomeError error{};
  awaits_ticket_ = true;
  hurry_if_stuck();
  const TomeOutcome outcome = session_.api()->ticket_wait(ticket.get(), &raw, &count, &error);
  awaits_ticket_ = false;
  if (outcome == TOME_TICKET_RESULT) {
    for (uint32_t i = 0; i < count; ++i) {
      Classification& result = results.emplace_back(to_classification(raw[i]));
      result.model = session_.model_name();
      result.element = name_;
      result.frame_size = frame_size_;
      stats_.count_inference(raw[i]);
    }
  } else if (outcome == TOME_TICKET_FAILED && queue_.flow() == GST_FLOW_OK) {
    // First, so that whoever has read the message finds the stream stopped.
    queue_.fail(GST_FLOW_ERROR);
    post_error({error.status, error.message});
  }
  ticket.reset();
  return outcome;
}

GstFlowReturn ClassifyElement::handle(BufferItem& item) {
  std::vector<Classification> fresh;
  if (item.regions.width > 0) frame_size_ = {item.regions.width, item.regions.height};
  const TomeOutcome outcome = wait_for(item.ticket, fresh);
  queue_.finished_buffer();
  if (outcome == TOME_TICKET_FAILED) return kOwnError;
  // Cancelled by a flush: what the flush left behind must not be pushed after it.
  if (const GstFlowReturn flow = queue_.flow(); flow != GST_FLOW_OK) return flow;
  if (outcome == TOME_TICKET_SKIPPED && item.regions.asks()) {
    stats_.count_skipped();
    post_skip(item);
  }
  attach(item, std::move(fresh));
  stats_.count_frame(item.arrival, monotonic_now());
  if (outcome == TOME_TICKET_RESULT) announce_latency();
  return gst_pad_push(src_, item.buffer.release());
}

GstFlowReturn ClassifyElement::handle(DrainItem& item) {
  std::vector<Classification> results;
  const TomeOutcome outcome = wait_for(item.ticket, results);
  if (outcome == TOME_TICKET_FAILED) return kOwnError;
  if (results.empty()) return queue_.flow();
  auto structure = results_structure(results);
  post_message(Ptr<GstStructure>(gst_structure_copy(structure.get())), item.times);
  gst_pad_push_event(src_, gst_event_new_custom(GST_EVENT_CUSTOM_DOWNSTREAM, structure.release()));
  return GST_FLOW_OK;
}

GstFlowReturn ClassifyElement::handle(EventItem& item) {
  gst_pad_push_event(src_, item.event.release());
  return GST_FLOW_OK;
}

GstFlowReturn ClassifyElement::handle(QueryItem& item) {
  bool answered = gst_pad_peer_query(src_, item.query);
  if (GST_QUERY_TYPE(item.query) == GST_QUERY_ALLOCATION) {
    answered = answer_allocation(item.query, answered);
  }
  queue_.answered(answered);
  return GST_FLOW_OK;
}

void ClassifyElement::attach(BufferItem& item, std::vector<Classification> fresh) {
  if (item.restart) held_.clear();
  if (item.regions.active) {
    attach_regions(item, std::move(fresh));
    return;
  }
  if (!fresh.empty()) {
    post_results(fresh, item.times);
    held_ = std::move(fresh);
  } else {
    for (Classification& held : held_) ++held.age;
  }
  if (held_.empty()) return;
  item.buffer.reset(gst_buffer_make_writable(item.buffer.release()));
  attach_results(item.buffer.get(), held_);
  attach_classes(item.buffer.get(), held_);
}

void ClassifyElement::attach_regions(BufferItem& item, std::vector<Classification> fresh) {
  name_objects(item.regions, fresh);
  post_results(fresh, item.times);
  const auto results = regions_.resolve(item.regions, std::move(fresh));
  if (results.empty()) return;
  item.buffer.reset(gst_buffer_make_writable(item.buffer.release()));
  attach_region_params(item.buffer.get(), item.regions, results);
  attach_region_classes(item.buffer.get(), item.regions, results);
  std::vector<Classification> all;
  for (const auto& one : results) all.push_back(one.result);
  attach_results(item.buffer.get(), all);
}

void ClassifyElement::post_results(const std::vector<Classification>& results,
                                   const FrameTimes& times) {
  if (post_messages_ && !results.empty()) post_message(results_structure(results), times);
}

void ClassifyElement::post_message(Ptr<GstStructure> structure, const FrameTimes& times) {
  gst_structure_set(structure.get(), "running-time", G_TYPE_UINT64, times.running, "stream-time",
                    G_TYPE_UINT64, times.stream, nullptr);
  gst_element_post_message(element_,
                           gst_message_new_element(GST_OBJECT(element_), structure.release()));
}

void ClassifyElement::post_skip(const BufferItem& item) {
  const GstBuffer* buffer = item.buffer.get();
  GstMessage* message =
      gst_message_new_qos(GST_OBJECT(element_), lateness_.live(), item.times.running,
                          item.times.stream, GST_BUFFER_PTS(buffer), GST_BUFFER_DURATION(buffer));
  gst_message_set_qos_stats(message, GST_FORMAT_BUFFERS, stats_.frames(), stats_.skipped());
  gst_element_post_message(element_, message);
}

}  // namespace tome::gst
