// Where the time of the CPU's own forward goes.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace tome {

enum class CpuPhase { kEmbed, kNorm, kQkv, kAttention, kProjection, kMerge, kFc1, kFc2, kHead };

/// Nanoseconds by phase, summed over forwards.
struct CpuProfile {
  static constexpr std::array<const char*, 9> kNames{
      "embed", "norm", "qkv", "attention", "projection", "merge+norm", "fc1+act", "fc2", "head"};
  std::array<int64_t, kNames.size()> ns{};
  /// Matching runs beside attention, within its time: what it took of all threads together.
  std::atomic<int64_t> matching_ns{0};

  /// What forwards of this thread report to, or null.
  static CpuProfile*& current();
};

/// Adds the time since the last call to a phase.
class PhaseClock {
 public:
  explicit PhaseClock(CpuProfile* profile) : profile_(profile) {
    if (profile_ != nullptr) last_ = Clock::now();
  }
  void ended(CpuPhase phase) {
    if (profile_ == nullptr) return;
    const auto now = Clock::now();
    profile_->ns[static_cast<size_t>(phase)] += (now - last_).count();
    last_ = now;
  }

 private:
  using Clock = std::chrono::steady_clock;
  CpuProfile* profile_;
  Clock::time_point last_;
};

/// Adds its lifetime to what matching took.
class MatchingClock {
 public:
  explicit MatchingClock(CpuProfile* profile) : profile_(profile) {
    if (profile_ != nullptr) started_ = Clock::now();
  }
  ~MatchingClock() {
    if (profile_ != nullptr) profile_->matching_ns += (Clock::now() - started_).count();
  }
  MatchingClock(const MatchingClock&) = delete;
  MatchingClock& operator=(const MatchingClock&) = delete;

 private:
  using Clock = std::chrono::steady_clock;
  CpuProfile* profile_;
  Clock::time_point started_;
};

}  // namespace tome
