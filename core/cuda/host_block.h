// A block of the host executor: its threads as fibers, and where they meet. What HostContext's
// operations are made of.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <array>
#include <cstdlib>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "cuda/host_executor.h"

namespace tome::cuda {

constexpr size_t kStackBytes = size_t{256} * 1024;

/// Threads that meet: a warp, or the whole block.
struct Meeting {
  const char* name = nullptr;
  int arrived = 0;
  uint64_t round = 0;
  std::vector<void*> arguments;
};

struct PendingCopy {
  void* to;
  const void* from;
  bool valid;
};

/// A thread's part of products that run in the background: what d will be, by where d is.
struct PendingProduct {
  std::array<float, 32> sum;
  int group;
};

/// A thread of the block. Switching goes through setjmp, which unlike swapcontext needs no system
/// call; under AddressSanitizer, which must know the stack in use, through swapcontext.
struct Fiber {
  ucontext_t context{};
  jmp_buf jump{};
  std::unique_ptr<unsigned char[]> stack;
  bool started = false, done = false;
  const Meeting* waits_at = nullptr;
  uint64_t waits_for_round = 0;
  std::vector<std::vector<PendingCopy>> copies;  // groups; the last one is open
  std::map<float*, PendingProduct> products;
  int product_groups = 0;
};

struct FreeDeleter {
  void operator()(void* p) const { std::free(p); }
};

class HostBlock {
 public:
  HostBlock(const LaunchShape& shape, const std::function<void(HostContext&)>& body,
            ThreadOrder order);
  void run(Extent place);

  void meet(int thread, Meeting& meeting, int slot, const char* name, void* mine,
            void (*operation)(void* const*));
  Meeting& warp_of(int thread) { return warps_[thread / kWarpSize]; }
  Meeting& all() { return all_; }
  Fiber& fiber(int thread) { return fibers_[thread]; }
  unsigned char* shared() { return static_cast<unsigned char*>(shared_.get()); }
  const LaunchShape& shape() const { return shape_; }
  const Extent& place() const { return place_; }

 private:
  static void enter(unsigned low, unsigned high, unsigned thread);
  void thread_main(int thread);
  bool resume(int thread);
  bool resume_warp(int warp);
  void leave(Fiber& fiber);
  [[noreturn]] void report_stuck() const;

  LaunchShape shape_;
  const std::function<void(HostContext&)>& body_;
  ThreadOrder order_;
  Extent place_;
  std::vector<Fiber> fibers_;
  std::vector<Meeting> warps_;
  Meeting all_;
  std::unique_ptr<void, FreeDeleter> shared_;
  ucontext_t scheduler_context_{};
  jmp_buf scheduler_jump_{};
  int remaining_ = 0;
  std::exception_ptr failure_;
  const void* scheduler_stack_ = nullptr;
  size_t scheduler_stack_bytes_ = 0;
};

}  // namespace tome::cuda
