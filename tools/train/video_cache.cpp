#include "train/video_cache.h"

#include <algorithm>
#include <utility>

#include "vit/cgroup_limits.h"

namespace tome::train {

size_t default_cache_bytes() {
  constexpr size_t kLeast = size_t{256} << 20U;
  return std::max<size_t>(available_memory() / 4, kLeast);
}

size_t VideoCache::bytes() const {
  const std::lock_guard lock(mutex_);
  return used_;
}

std::shared_ptr<const Video> VideoCache::find(const std::filesystem::path& file) {
  const auto place = places_.find(file);
  if (place == places_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, place->second);
  return entries_.front().video;
}

std::shared_ptr<const Video> VideoCache::get(const std::filesystem::path& file,
                                             const std::function<Video()>& read) {
  {
    const std::lock_guard lock(mutex_);
    if (auto found = find(file)) return found;
  }
  auto video = std::make_shared<const Video>(read());
  const size_t bytes = video->bytes();
  const std::lock_guard lock(mutex_);
  if (auto found = find(file)) return found;
  if (bytes > limit_) return video;  // all others would go, and still it would not fit
  while (used_ + bytes > limit_) {
    used_ -= entries_.back().bytes;
    places_.erase(entries_.back().file);
    entries_.pop_back();
  }
  entries_.push_front({file, video, bytes});
  places_[file] = entries_.begin();
  used_ += bytes;
  return video;
}

}  // namespace tome::train
