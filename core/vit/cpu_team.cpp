#include "vit/cpu_team.h"

#include <algorithm>
#include <exception>
#include <mutex>

#include "never_destroyed.h"
#include "vit/default_arithmetic.h"
#include "vit/usable_cores.h"

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
  } catch (const std::exception&) {
    // The system gives no more threads, or no memory for them: the work is done by fewer.
  }
}

CpuTeam::~CpuTeam() {
  stop_ = true;
  ++wake_;
  wake_.notify_all();
  for (std::thread& helper : helpers_) helper.join();
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
  const uint64_t loop = loop_.load(std::memory_order_relaxed) + 1;
  const int64_t shares = std::min<int64_t>(count, threads());
  for (int64_t i = 0; i < shares; ++i) {
    const auto next = static_cast<uint64_t>(count * i / shares);
    const auto end = static_cast<uint64_t>(count * (i + 1) / shares);
    shares_[static_cast<size_t>(i)].ticket.store(loop << (2 * kItemBits) | end << kItemBits | next,
                                                 std::memory_order_release);
  }
  // Before `asleep_` is read, as a helper counts itself there before it looks at `loop_` again: one
  // of the two sees the other.
  loop_.store(loop, std::memory_order_seq_cst);
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
  const DefaultArithmetic arithmetic;
  int looks = 0;
  uint64_t seen = 0;  // the last loop of which nothing is left to take
  while (!stop_.load(std::memory_order_relaxed)) {
    const uint64_t loop = loop_.load(std::memory_order_acquire);
    if (loop != seen) {
      while (take(thread)) {
      }
      seen = loop;
      looks = 0;
    } else if (++looks < kLooks) {
      pause_briefly();
    } else {
      const uint32_t woken = wake_.load(std::memory_order_acquire);
      asleep_.fetch_add(1, std::memory_order_seq_cst);
      if (loop_.load(std::memory_order_seq_cst) == seen && !stop_) wake_.wait(woken);
      asleep_.fetch_sub(1, std::memory_order_relaxed);
      looks = 0;
    }
  }
}

int threads_to_lend(int asked, int cores, int lent, int teams) {
  const int left = std::max(cores, asked) - lent;
  const int fair = std::min(cores / (teams + 1), 2 * cores - lent);
  return std::clamp(std::max(left, fair), 1, asked);
}

namespace {

class Pool {
 public:
  Pool() { idle_.reserve(most_idle()); }

  std::unique_ptr<CpuTeam> lend(int asked) {
    std::unique_ptr<CpuTeam> team;
    int threads = 0;
    {
      const std::lock_guard lock(mutex_);
      threads = threads_to_lend(asked, usable_cores(), lent_, teams_);
      lent_ += threads;
      ++teams_;
      const auto same = [&](const auto& idle) { return idle->threads() == threads; };
      const auto found = std::find_if(idle_.begin(), idle_.end(), same);
      if (found != idle_.end()) {
        team = std::move(*found);
        idle_.erase(found);
      }
    }
    return team ? std::move(team) : make(threads);
  }

  void take_back(std::unique_ptr<CpuTeam> team) {
    std::unique_ptr<CpuTeam> surplus;  // ended without the lock
    const std::lock_guard lock(mutex_);
    lent_ -= team->threads();
    --teams_;
    // Teams that came out short are never asked for again: where threads are scarce, they must not
    // gather here.
    if (idle_.size() >= most_idle()) {
      surplus = std::move(idle_.front());
      idle_.erase(idle_.begin());
    }
    idle_.push_back(std::move(team));
  }

 private:
  std::unique_ptr<CpuTeam> make(int threads) {
    std::unique_ptr<CpuTeam> team;
    try {
      team = std::make_unique<CpuTeam>(threads - 1);
    } catch (...) {
      const std::lock_guard lock(mutex_);
      lent_ -= threads;
      --teams_;
      throw;
    }
    const std::lock_guard lock(mutex_);
    lent_ += team->threads() - threads;  // there may be fewer
    return team;
  }

  static size_t most_idle() { return size_t{4} * static_cast<size_t>(usable_cores()); }

  std::mutex mutex_;
  int lent_ = 0;   // threads
  int teams_ = 0;  // that have them
  std::vector<std::unique_ptr<CpuTeam>> idle_;
};

Pool& pool() { return never_destroyed<Pool>(); }

}  // namespace

LentTeam::LentTeam(int threads) : team_(pool().lend(std::max(1, threads))) {}
LentTeam::~LentTeam() { pool().take_back(std::move(team_)); }

}  // namespace tome
