// What a full batch takes, learnt from the batches that run.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <utility>

#include "engine/task.h"

namespace tome {

/// Note [One slow batch]
/// Deadlines and the latency that a live pipeline asks for rest on this figure, and such a latency
/// hardly ever falls again. A machine that was stopped, or that swapped, shows as one batch of many
/// times the usual; it must not enter the average whole. So a batch counts for no more than twice
/// what is known, unless the one before took as long: where the device has become slower for good,
/// that is believed from the second batch on.
///
/// Written by one thread, read by any.
class BatchDuration {
 public:
  explicit BatchDuration(size_t batch_size) : batch_size_(static_cast<double>(batch_size)) {}

  /// Zero until set or learnt; then an average over the last batches.
  Clock::duration average() const {
    return Clock::duration(average_.load(std::memory_order_relaxed));
  }

  void set(Clock::duration full_batch) { average_ = full_batch.count(); }

  /// A batch of so many requests, 1 to the batch size, took so long.
  void learn(size_t requests, Clock::duration took) {
    const Clock::duration known = average();
    // A full batch takes no less than a part of one, and no more than as many parts as make it up.
    const Clock::duration most = std::chrono::duration_cast<Clock::duration>(
        took * (batch_size_ / static_cast<double>(requests)));
    const Clock::duration seen = std::clamp(known, took, most);
    const Clock::duration before = std::exchange(last_seen_, seen);
    if (known == Clock::duration::zero()) {
      set(most);
    } else {
      set((7 * known + std::min(seen, std::max(2 * known, before))) / 8);
    }
  }

 private:
  double batch_size_;
  Clock::duration last_seen_{};
  std::atomic<Clock::rep> average_ = 0;
};

}  // namespace tome
