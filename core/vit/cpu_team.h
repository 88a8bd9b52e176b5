// Threads that share the work of one forward.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

namespace tome {

/// Note [Threads of a forward]: the caller hands out items of one loop after another and works on
/// them itself. Each thread begins with its own share of a loop's items, the same part of every
/// loop (what it wrote in the last one is in its cache), and then helps the others with theirs. A
/// loop ends when its items are done, whoever did them, so a helper that the kernel has taken off
/// its core delays nobody by more than the item in its hands. Between loops helpers look for work
/// for a short while before they sleep: a forward is a hundred loops of some ten microseconds.
/// Results do not depend on who does what.
///
/// Teams are lent from one pool for the process: Note [Threads to lend].
class CpuTeam {
 public:
  explicit CpuTeam(int helpers);
  ~CpuTeam();
  CpuTeam(const CpuTeam&) = delete;
  CpuTeam& operator=(const CpuTeam&) = delete;

  int threads() const { return static_cast<int>(helpers_.size()) + 1; }

  /// f(item, thread) for every item below `count`, thread below threads(). f must not throw.
  template <class Function>
  void for_each(int64_t count, Function&& f) {
    run(
        count,
        [](void* context, int64_t item, int thread) {
          (*static_cast<std::remove_reference_t<Function>*>(context))(item, thread);
        },
        const_cast<void*>(static_cast<const void*>(&f)));
  }

 private:
  using Body = void (*)(void* context, int64_t item, int thread);
  void run(int64_t count, Body body, void* context);
  void help(int thread);
  bool take(int thread);

  /// A thread's share of a loop: the loop's number (24 bits), its end and its next item (20 bits
  /// each), in one word: an item is taken by adding one, which fails if the loop is no longer the
  /// same.
  struct alignas(64) Share {
    std::atomic<uint64_t> ticket{0};
  };

  std::vector<Share> shares_;  ///< one for each thread that was asked for
  alignas(64) std::atomic<int64_t> done_{0};
  Body body_ = nullptr;
  void* context_ = nullptr;
  /// The last loop whose shares are all handed out: one word for idle helpers to look at, however
  /// many shares there are.
  alignas(64) std::atomic<uint64_t> loop_{0};
  std::atomic<uint32_t> wake_{0};
  std::atomic<int> asleep_{0};
  std::atomic<bool> stop_{false};
  std::vector<std::thread> helpers_;
};

/// Note [Threads to lend]: a forward gets what it asks for as far as cores are free, and where
/// others have them, its fair share: of 8 cores 4 threads beside one forward, 2 beside two. Those
/// others keep theirs to their end, so for that time there are more threads than cores, at most two
/// for each (and one for every further forward); whoever has a core does the work. The second of
/// two forwards on two cores runs alone.
/// @param lent   threads of all teams under way, of which there are `teams`
int threads_to_lend(int asked, int cores, int lent, int teams);

/// A team for one forward; goes back to the pool at the end.
class LentTeam {
 public:
  explicit LentTeam(int threads);
  ~LentTeam();
  LentTeam(const LentTeam&) = delete;
  LentTeam& operator=(const LentTeam&) = delete;
  CpuTeam* operator->() { return team_.get(); }
  CpuTeam& operator*() { return *team_; }

 private:
  std::unique_ptr<CpuTeam> team_;
};

}  // namespace tome
