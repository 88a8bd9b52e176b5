#include "publish_memory.h"

#include <bit>
#include <utility>

namespace tome::gst {

PublishMemory::Key PublishMemory::key_of(const Classification& result,
                                         GstClockTime buffer_time) const {
  Key key{result.model, result.region,          result.clip_start,      result.clip_end,
          {},           held_ ? result.age : 0, held_ ? buffer_time : 0};
  for (const Tag& tag : result.tags) {
    key.tags.emplace_back(tag.id, std::bit_cast<uint64_t>(tag.score));
  }
  return key;
}

void PublishMemory::keep_new(std::vector<Classification>& results, GstClockTime buffer_time) {
  if (!held_) std::erase_if(results, [](const auto& result) { return result.age > 0; });
  if (results.empty()) return;
  std::set<Key> now;
  const auto was_there = [&](const Classification& result) {
    const GstClockTime told_by = held_ ? buffer_time : result.clip_end;
    if (!GST_CLOCK_TIME_IS_VALID(told_by)) return false;
    return last_.contains(*now.insert(key_of(result, buffer_time)).first);
  };
  std::erase_if(results, was_there);
  last_ = std::move(now);
}

}  // namespace tome::gst
