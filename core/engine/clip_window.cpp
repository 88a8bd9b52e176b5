#include "engine/clip_window.h"

#include <algorithm>

namespace tome {

bool ClipWindows::samples(const Open& window) const {
  return (next_frame_ - window.first) % options_.frame_stride == 0;
}

bool ClipWindows::advance() {
  if (next_frame_ % options_.stride == 0) {
    Open window;
    window.first = next_frame_;
    window.counted_before = due_windows_;
    window.due = due_windows_.next(options_.interval);
    open_.push_back(std::move(window));
  }
  return std::any_of(open_.begin(), open_.end(),
                     [this](const Open& window) { return window.due && samples(window); });
}

std::optional<Window> ClipWindows::push(PatchesPtr patches, int64_t pts) {
  for (Open& window : open_) {
    if (!samples(window)) continue;
    if (window.sampled++ == 0) window.start_pts = pts;
    window.end_pts = pts;
    if (window.due) window.frames.push_back(patches);
  }
  std::optional<Window> completed;
  // All windows are equally long, so at most one ends with any frame: the oldest.
  if (!open_.empty() && open_.front().sampled == options_.length) {
    Open& window = open_.front();
    if (window.due) {
      completed = close(window);
      last_classified_ = next_frame_;
    }
    open_.pop_front();
  }
  ++next_frame_;
  return completed;
}

Window ClipWindows::close(Open& window) const {
  Window closed{std::move(window.frames), window.start_pts, window.end_pts,
                static_cast<uint32_t>(window.sampled)};
  closed.frames.resize(static_cast<size_t>(options_.length), closed.frames.back());
  return closed;
}

std::optional<Window> ClipWindows::drain() {
  std::optional<Window> last;
  const auto oldest =
      std::find_if(open_.begin(), open_.end(), [](const Open& window) { return window.due; });
  if (oldest != open_.end() && 2 * oldest->sampled >= options_.length) {
    const int64_t newest = oldest->first + (oldest->sampled - 1) * options_.frame_stride;
    if (newest > last_classified_) {
      last = close(*oldest);
      // It was classified, so it counts for the interval; the younger ones do not.
      open_.erase(open_.begin(), oldest + 1);
    }
  }
  reset();
  return last;
}

void ClipWindows::reset() {
  if (!open_.empty()) due_windows_ = open_.front().counted_before;
  open_.clear();
  next_frame_ = 0;
  last_classified_ = -1;
}

}  // namespace tome
