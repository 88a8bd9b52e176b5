// Decoded samples, as many as fit into a part of the memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>

#include "train/video.h"

namespace tome::train {

/// A quarter of the memory that is available now, to a container's limit, at least 256 MB.
size_t default_cache_bytes();

/// Keeps what was used last; what was not used for longest goes first. Thread-safe.
class VideoCache {
 public:
  /// @param bytes  of all frames kept; 0 keeps none
  explicit VideoCache(size_t bytes) : limit_(bytes) {}

  /// The video of this file, from `read` if it is not there. Threads read side by side: the first
  /// of two that read the same file is the one whose video is kept.
  std::shared_ptr<const Video> get(const std::filesystem::path& file,
                                   const std::function<Video()>& read);

  size_t bytes() const;

 private:
  struct Entry {
    std::filesystem::path file;
    std::shared_ptr<const Video> video;
    size_t bytes = 0;
  };
  using Entries = std::list<Entry>;

  /// Null if it is not there. The lock is held.
  std::shared_ptr<const Video> find(const std::filesystem::path& file);

  size_t limit_;
  mutable std::mutex mutex_;
  size_t used_ = 0;
  Entries entries_;  // the last used one first
  std::map<std::filesystem::path, Entries::iterator> places_;
};

}  // namespace tome::train
