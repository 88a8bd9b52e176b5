#include "publish_memory.h"

#include <bit>
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
  Published& last = found->second;
  last.buffer = buffer_;
  if (last.segment == segment_) return result.clip_end > last.clip_end;
  return result.clip_start != last.clip_start || result.clip_end != last.clip_end;
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
    const Published now{result.clip_start, result.clip_end, segment_, buffer_};
    Published& last = published_.try_emplace(*subject, now).first->second;
    last.buffer = buffer_;
    if (last.segment != segment_ || now.clip_end > last.clip_end) last = now;
  }
  if (published_.size() <= kMostSubjects) return;
  std::erase_if(published_, [&](const auto& entry) { return entry.second.buffer != buffer_; });
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
  std::erase_if(results, was_there);
  last_ = std::move(now);
  if (!held_) remember(results);
}

}  // namespace tome::gst
