#include "publish_memory.h"

#include <algorithm>
#include <utility>

namespace tome::gst {

PublishMemory::Key PublishMemory::key_of(const Classification& result,
                                         GstClockTime buffer_time) const {
  return {result.model,    result.region,          result.clip_start,
          result.clip_end, held_ ? result.age : 0, held_ ? buffer_time : 0};
}

void PublishMemory::keep_new(std::vector<Classification>& results, GstClockTime buffer_time) {
  if (!held_) std::erase_if(results, [](const auto& result) { return result.age > 0; });
  if (results.empty()) return;
  std::vector<Key> now;
  const auto was_there = [&](const Classification& result) {
    const GstClockTime told_by = held_ ? buffer_time : result.clip_end;
    if (!GST_CLOCK_TIME_IS_VALID(told_by)) return false;
    const Key& key = now.emplace_back(key_of(result, buffer_time));
    return std::find(last_.begin(), last_.end(), key) != last_.end();
  };
  std::erase_if(results, was_there);
  last_ = std::move(now);
}

}  // namespace tome::gst
