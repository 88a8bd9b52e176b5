#include "publish_memory.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <utility>

namespace tome::gst {
namespace {

/// Whose result it is: a model's, of the full frame or of an object. Nothing: of a region that
/// nobody can tell from others.
std::optional<std::pair<std::string, std::optional<int64_t>>> subject_of(
    const Classification& result) {
  if (!result.region) return std::pair(result.model, std::optional<int64_t>());
  if (!result.object) return std::nullopt;
  return std::pair(result.model, std::optional(result.object->id));
}

}  // namespace

PublishMemory::Key PublishMemory::key_of(const Classification& result,
                                         GstClockTime buffer_time) const {
  Key key{result.model, result.region,          result.clip_start,      result.clip_end,
          {},           held_ ? result.age : 0, held_ ? buffer_time : 0};
  for (const Tag& tag : result.tags) {
    key.tags.emplace_back(tag.id, std::bit_cast<uint64_t>(tag.score));
  }
  return key;
}

/// Whether a result that is not fresh was never published: see Note [A result whose frame was
/// dropped].
bool PublishMemory::was_missed(const Classification& result) {
  const auto subject = subject_of(result);
  if (!subject || !GST_CLOCK_TIME_IS_VALID(result.clip_end)) return false;
  const auto found = published_.find(*subject);
  if (found == published_.end()) return true;
  found->second.buffer = buffer_;
  return !use(found->second, {result.clip_start, result.clip_end});
}

/// Whether `clip` was published. It is kept longest then: what is held on and on stays, however
/// many come and go beside it.
bool PublishMemory::use(Published& published, const Clip& clip) {
  auto& clips = published.clips;
  const auto found = std::find(clips.begin(), clips.end(), clip);
  if (found == clips.end()) return false;
  std::rotate(clips.begin(), found, found + 1);
  return true;
}

void PublishMemory::drop_held(std::vector<Classification>& results, bool in_order) {
  ++buffer_;
  std::erase_if(results, [&](const auto& result) {
    return result.age > 0 && (!was_missed(result) || !in_order);
  });
}

void PublishMemory::remember(const std::vector<Classification>& results) {
  for (const Classification& result : results) {
    const auto subject = subject_of(result);
    if (!subject || !GST_CLOCK_TIME_IS_VALID(result.clip_end)) continue;
    Published& published = published_[*subject];
    published.buffer = buffer_;
    const Clip clip{result.clip_start, result.clip_end};
    if (use(published, clip)) continue;
    if (published.clips.size() == kMostClips) published.clips.pop_back();
    published.clips.insert(published.clips.begin(), clip);
  }
  forget_absent();
}

void PublishMemory::forget_absent() {
  if (published_.size() <= kMostAbsent) return;
  std::vector<uint64_t> absent;
  for (const auto& [subject, published] : published_) {
    if (published.buffer != buffer_) absent.push_back(published.buffer);
  }
  if (absent.size() <= kMostAbsent) return;
  const auto nth = absent.begin() + kMostAbsent - 1;
  std::nth_element(absent.begin(), nth, absent.end(), std::greater<>());
  const uint64_t first = std::max(*nth, buffer_ - std::min(buffer_, kLongestAbsence));
  std::erase_if(published_, [&](const auto& entry) { return entry.second.buffer < first; });
}

void PublishMemory::keep_new(std::vector<Classification>& results, GstClockTime buffer_time,
                             bool in_order) {
  if (!held_) drop_held(results, in_order);
  if (results.empty()) return;
  std::set<Key> now;
  const auto was_there = [&](const Classification& result) {
    const GstClockTime told_by = held_ ? buffer_time : result.clip_end;
    if (!GST_CLOCK_TIME_IS_VALID(told_by)) return false;
    return last_.contains(*now.insert(key_of(result, buffer_time)).first);
  };
  if (!held_) remember(results);  // copies, too: they show who is still there
  std::erase_if(results, was_there);
  last_ = std::move(now);
}

}  // namespace tome::gst
