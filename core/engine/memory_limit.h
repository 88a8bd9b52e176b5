// How many requests of a batch fit the device's memory.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>

#include "engine/batch_policy.h"

namespace tome {

/// Note [Batches that do not fit]
/// A batch that does not fit the device's memory, with its pixels or in its forward, runs in
/// halves. What did fit is remembered, or every batch would fail first, which on a GPU costs memory
/// that is freed and asked for again and graphs that are captured anew. Other programs' memory
/// comes and goes: after kTryAgain, and again after as long, twice as many are tried.
class MemoryLimit {
 public:
  static constexpr std::chrono::seconds kTryAgain{60};

  explicit MemoryLimit(size_t batch_size) : batch_size_(batch_size), most_(batch_size) {}

  /// Requests that may run together now; at least 1.
  size_t most(TimePoint now) {
    if (most_ < batch_size_ && now >= try_again_) {
      most_ = std::min(batch_size_, 2 * most_);
      try_again_ = now + kTryAgain;
    }
    return most_;
  }

  /// So many, more than 1, did not fit.
  void refuse(size_t requests, TimePoint now) {
    most_ = std::min(most_, (requests + 1) / 2);
    try_again_ = now + kTryAgain;
  }

 private:
  size_t batch_size_, most_;
  TimePoint try_again_{};
};

}  // namespace tome
