#include "vit/cpu_team.h"

#include <algorithm>
#include <mutex>
#include <system_error>

#include "never_destroyed.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tome {
namespace {

constexpr int kItemBits = 20;
constexpr uint64_t kItemMask = (uint64_t{1} << kItemBits) - 1;
constexpr int64_t kMostItems = kItemMask;
constexpr int kLooks = 2000;  // about 100 microseconds before a helper sleeps

void pause_briefly() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

bool holds_items(uint64_t ticket) {
  return (ticket & kItemMask) < (ticket >> kItemBits & kItemMask);
}

}  // namespace

CpuTeam::CpuTeam(int helpers) : shares_(static_cast<size_t>(helpers) + 1) {
  helpers_.reserve(static_cast<size_t>(helpers));
  try {
    for (int i = 1; i <= helpers; ++i) helpers_.emplace_back([this, i] { help(i); });
  } catch (const std::system_error&) {
    // The system gives no more threads: the work is done by fewer.
  }
}

CpuTeam::~CpuTeam() {
  stop_ = true;
  ++wake_;
  wake_.notify_all();
  for (std::thread& helper : helpers_) helper.join();
}

bool CpuTeam::has_items() const {
  return std::any_of(shares_.begin(), shares_.end(), [](const Share& share) {
    return holds_items(share.ticket.load(std::memory_order_seq_cst));
  });
}

bool CpuTeam::take(int thread) {
  const size_t threads = shares_.size();
  for (size_t i = 0; i < threads; ++i) {
    std::atomic<uint64_t>& share = shares_[(static_cast<size_t>(thread) + i) % threads].ticket;
    uint64_t ticket = share.load(std::memory_order_acquire);
    while (holds_items(ticket)) {
      if (!share.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel,
                                       std::memory_order_acquire)) {
        continue;
      }
      // The loop cannot end before this item is done, so what describes it stays.
      body_(context_, static_cast<int64_t>(ticket & kItemMask), thread);
      done_.fetch_add(1, std::memory_order_release);
      return true;
    }
  }
  return false;
}

void CpuTeam::run(int64_t count, Body body, void* context) {
  if (helpers_.empty() || count <= 1 || count > kMostItems) {
    for (int64_t item = 0; item < count; ++item) body(context, item, 0);
    return;
  }
  body_ = body;
  context_ = context;
  done_.store(0, std::memory_order_relaxed);
  ++loops_;
  for (int64_t i = 0; i < threads(); ++i) {
    const auto next = static_cast<uint64_t>(count * i / threads());
    const auto end = static_cast<uint64_t>(count * (i + 1) / threads());
    shares_[static_cast<size_t>(i)].ticket.store(
        loops_ << (2 * kItemBits) | end << kItemBits | next, std::memory_order_seq_cst);
  }
  if (asleep_.load(std::memory_order_seq_cst) > 0) {
    wake_.fetch_add(1, std::memory_order_release);
    wake_.notify_all();
  }
  while (take(0)) {
  }
  for (int looks = 0; done_.load(std::memory_order_acquire) < count; ++looks) {
    if (looks < kLooks) {
      pause_briefly();
    } else {
      std::this_thread::yield();
    }
  }
}

void CpuTeam::help(int thread) {
  int looks = 0;
  while (!stop_.load(std::memory_order_relaxed)) {
    if (take(thread)) {
      looks = 0;
    } else if (++looks < kLooks) {
      pause_briefly();
    } else {
      const uint32_t woken = wake_.load(std::memory_order_acquire);
      asleep_.fetch_add(1, std::memory_order_seq_cst);
      if (!has_items() && !stop_) wake_.wait(woken);
      asleep_.fetch_sub(1, std::memory_order_relaxed);
      looks = 0;
    }
  }
}

namespace {

class Pool {
 public:
  std::unique_ptr<CpuTeam> lend(int threads) {
    const int cores = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
    std::unique_ptr<CpuTeam> team;
    int helpers = 0;
    {
      const std::lock_guard lock(mutex_);
      const int limit = std::max(cores, threads);
      helpers = std::clamp(limit - 1 - busy_, 0, threads - 1);
      busy_ += helpers + 1;
      const auto same = [&](const auto& idle) { return idle->threads() == helpers + 1; };
      const auto found = std::find_if(idle_.begin(), idle_.end(), same);
      if (found != idle_.end()) {
        team = std::move(*found);
        idle_.erase(found);
      }
    }
    return team ? std::move(team) : make(helpers);
  }

  void take_back(std::unique_ptr<CpuTeam> team) {
    std::unique_ptr<CpuTeam> surplus;  // ended without the lock
    const std::lock_guard lock(mutex_);
    busy_ -= team->threads();
    // Teams that came out short are never asked for again: where threads are scarce, they must not
    // gather here.
    if (idle_.size() >= kMostIdle * std::max(1U, std::thread::hardware_concurrency())) {
      surplus = std::move(idle_.front());
      idle_.erase(idle_.begin());
    }
    idle_.push_back(std::move(team));
  }

 private:
  std::unique_ptr<CpuTeam> make(int helpers) {
    std::unique_ptr<CpuTeam> team;
    try {
      team = std::make_unique<CpuTeam>(helpers);
    } catch (...) {
      const std::lock_guard lock(mutex_);
      busy_ -= helpers + 1;
      throw;
    }
    const std::lock_guard lock(mutex_);
    busy_ += team->threads() - (helpers + 1);  // there may be fewer
    return team;
  }

  static constexpr size_t kMostIdle = 4;  // teams for each core
  std::mutex mutex_;
  int busy_ = 0;
  std::vector<std::unique_ptr<CpuTeam>> idle_;
};

Pool& pool() { return never_destroyed<Pool>(); }

}  // namespace

LentTeam::LentTeam(int threads) : team_(pool().lend(std::max(1, threads))) {}
LentTeam::~LentTeam() { pool().take_back(std::move(team_)); }

}  // namespace tome
