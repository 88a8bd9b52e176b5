#include "ordered_queue.h"

#include <utility>

namespace tome::gst {
namespace {

/// After one of these a stream that downstream ended may go on.
bool restarts(const GstEvent* event) {
  switch (GST_EVENT_TYPE(event)) {
    case GST_EVENT_EOS:
    case GST_EVENT_SEGMENT:
    case GST_EVENT_STREAM_START:
      return true;
    default:
      return false;
  }
}

/// Says something that holds for what comes when downstream takes buffers again.
bool lasts(const GstEvent* event) {
  return GST_EVENT_IS_STICKY(event) && GST_EVENT_TYPE(event) != GST_EVENT_EOS;
}

/// A pad would keep `later` in the place of `earlier`.
bool replaces(const GstEvent* later, GstEvent* earlier) {
  if (GST_EVENT_TYPE(later) != GST_EVENT_TYPE(earlier)) return false;
  const bool by_name = (GST_EVENT_TYPE(later) & GST_EVENT_TYPE_STICKY_MULTI) != 0;
  const GstStructure* structure = gst_event_get_structure(const_cast<GstEvent*>(later));
  return !by_name || (structure != nullptr &&
                      gst_event_has_name(earlier, gst_structure_get_name(structure)) != FALSE);
}

/// Keeps on the source pad what a dropped sticky event said.
void keep_sticky(GstPad* pad, GstEvent* event) {
  if (!lasts(event) || GST_EVENT_TYPE(event) == GST_EVENT_SEGMENT) return;
  gst_pad_store_sticky_event(pad, event);
}

}  // namespace

void OrderedQueue::set_depth(unsigned depth) {
  const std::scoped_lock lock(mutex_);
  depth_ = depth;
}

bool OrderedQueue::has_room() const {
  const std::scoped_lock lock(mutex_);
  return buffers_ < depth_;
}

GstFlowReturn OrderedQueue::wait_for_room() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return flow_ != GST_FLOW_OK || refusing_ || buffers_ < depth_; });
  if (flow_ != GST_FLOW_OK) return flow_;
  return refusing_ || eos_ ? GST_FLOW_EOS : GST_FLOW_OK;
}

GstFlowReturn OrderedQueue::append(Item& item) {
  const std::scoped_lock lock(mutex_);
  auto* event = std::get_if<EventItem>(&item);
  if (flow_ != GST_FLOW_OK) {
    if (flow_ == GST_FLOW_FLUSHING || event == nullptr || !lasts(event->event.get())) return flow_;
    if (replace_waiting(event->event)) return GST_FLOW_OK;
  }
  if (event != nullptr) note_event(event->event.get());
  if (std::holds_alternative<BufferItem>(item)) {
    if (refusing_) return GST_FLOW_EOS;
    ++buffers_;
  }
  items_.push_back(std::move(item));
  changed_.notify_all();
  return GST_FLOW_OK;
}

void OrderedQueue::note_event(GstEvent* event) {
  if (restarts(event)) refusing_ = false;
  if (GST_EVENT_TYPE(event) == GST_EVENT_EOS) eos_ = true;
  if (GST_EVENT_TYPE(event) == GST_EVENT_STREAM_START) eos_ = false;
}

/// Nothing is taken off, so without this the events of a stream that is not linked would add up.
/// It takes the place of its predecessor, as on a pad, so that CAPS stay before their SEGMENT.
bool OrderedQueue::replace_waiting(Ptr<GstEvent>& event) {
  for (auto item = items_.rbegin(); item != items_.rend(); ++item) {
    auto* waiting = std::get_if<EventItem>(&*item);
    if (waiting == nullptr || !lasts(waiting->event.get())) return false;
    if (!replaces(event.get(), waiting->event.get())) continue;
    note_event(event.get());
    waiting->event = std::move(event);
    return true;
  }
  return false;
}

bool OrderedQueue::ask(GstQuery* query) {
  std::unique_lock lock(mutex_);
  if (flow_ != GST_FLOW_OK || refusing_) return false;
  asked_ = query;
  answer_ = false;
  items_.push_back(QueryItem{query});
  changed_.notify_all();
  // While the task works on it the query must stay alive, even if a flush came in between.
  changed_.wait(lock, [&] { return asked_ == nullptr || (flow_ != GST_FLOW_OK && !answering_); });
  std::erase_if(items_, [](const Item& item) { return std::holds_alternative<QueryItem>(item); });
  asked_ = nullptr;
  return answer_;
}

std::optional<Item> OrderedQueue::take() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return flow_ != GST_FLOW_OK || !items_.empty(); });
  if (flow_ != GST_FLOW_OK) return std::nullopt;
  std::optional<Item> item(std::move(items_.front()));
  items_.pop_front();
  answering_ = std::holds_alternative<QueryItem>(*item);
  return item;
}

void OrderedQueue::finished_buffer() {
  const std::scoped_lock lock(mutex_);
  if (buffers_ > 0) --buffers_;
  changed_.notify_all();
}

void OrderedQueue::answered(bool result) {
  const std::scoped_lock lock(mutex_);
  answering_ = false;
  answer_ = result;
  asked_ = nullptr;
  changed_.notify_all();
}

void OrderedQueue::skip_to_restart(GstPad* pad) {
  std::deque<Item> dropped;
  {
    const std::scoped_lock lock(mutex_);
    while (!items_.empty()) {
      const auto* event = std::get_if<EventItem>(&items_.front());
      if (event != nullptr && restarts(event->event.get())) break;
      if (std::holds_alternative<QueryItem>(items_.front())) asked_ = nullptr;
      if (std::holds_alternative<BufferItem>(items_.front())) --buffers_;
      dropped.push_back(std::move(items_.front()));
      items_.pop_front();
    }
    refusing_ = items_.empty();
    changed_.notify_all();
  }
  keep_stickies(dropped, pad);
}

void OrderedQueue::set_flow(GstFlowReturn flow) {
  const std::scoped_lock lock(mutex_);
  flow_ = flow;
  changed_.notify_all();
}

void OrderedQueue::fail(GstFlowReturn flow) {
  const std::scoped_lock lock(mutex_);
  if (flow_ == GST_FLOW_OK) flow_ = flow;
  changed_.notify_all();
}

bool OrderedQueue::resume_from(GstFlowReturn flow) {
  const std::scoped_lock lock(mutex_);
  if (flow_ != flow) return false;
  flow_ = GST_FLOW_OK;
  return true;
}

GstFlowReturn OrderedQueue::flow() const {
  const std::scoped_lock lock(mutex_);
  return flow_;
}

void OrderedQueue::clear(GstPad* pad) {
  std::deque<Item> dropped;
  {
    const std::scoped_lock lock(mutex_);
    dropped.swap(items_);
    buffers_ = 0;
    eos_ = false;
    refusing_ = false;
    changed_.notify_all();
  }
  keep_stickies(dropped, pad);
}

bool OrderedQueue::at_eos() const {
  const std::scoped_lock lock(mutex_);
  return eos_;
}

void OrderedQueue::keep_stickies(const std::deque<Item>& items, GstPad* pad) {
  if (pad == nullptr) return;
  for (const Item& item : items) {
    if (const auto* event = std::get_if<EventItem>(&item)) keep_sticky(pad, event->event.get());
  }
}

}  // namespace tome::gst
