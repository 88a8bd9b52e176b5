// A block of the host executor: its threads as fibers, and where they meet. What HostContext's
// operations are made of.
#pragma once

#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <array>
#include <cstdlib>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "cuda/executor/host_executor.h"
#include "cuda/executor/race_watch.h"

namespace tome::cuda {

constexpr size_t kStackBytes = size_t{256} * 1024;
/// Behind a block's shared memory, where nothing may be written.
constexpr size_t kGuardBytes = 1024;
constexpr unsigned char kGuard = 0xa5;

/// Threads that meet: a warp, or the whole block.
struct Meeting {
  const char* name = nullptr;
  int arrived = 0;
  uint64_t round = 0;
  std::vector<void*> arguments;
  std::array<races::Word, 2> words;  // of barriers: of this round, and of the one before
};

/// Whether threads that meet see what the others did before.
enum class Orders : uint8_t { kNothing, kMemory };

struct PendingCopy {
  void* to;
  const void* from;
  bool valid;
};

/// Copies of a thread that are waited for together.
struct CopyGroup {
  std::vector<PendingCopy> copies;
  races::Word landed;
};

/// What asynchronous copies left of 16 bytes of shared memory: in flight until the copy_wait of the
/// thread that copies, then not to be read by group_mma before that thread's fence_shared.
struct VectorState {
  enum Kind : uint8_t { kSettled, kInFlight, kUnfenced };
  Kind kind = kSettled;
  int16_t writer = 0;
};

constexpr int kTileVectors = 128;

/// What a warp's product in the background reads of shared memory: 16 x 64 elements.
struct TileRead {
  std::array<const Bytes16*, kTileVectors> place;
  std::array<Bytes16, kTileVectors> seen;
  int group = 0;
};

/// Registers that a product in the background reads.
struct FragmentRead {
  const uint32_t* place;
  std::array<uint32_t, 4> seen;
  int group;
};

/// A thread's part of products that run in the background and have d in common.
struct PendingProduct {
  std::array<float, 32> sum;  ///< what d will be
  std::vector<FragmentRead> left;
  int group;  ///< the last
};

/// A thread of the block. Switching goes through setjmp, which unlike swapcontext needs no system
/// call; under a sanitizer, which must know the stack in use, through swapcontext.
struct Fiber {
  ucontext_t context{};
  jmp_buf jump{};
  unsigned char* stack = nullptr;  // of the block's FiberStacks, or its line's
  races::Line line, copier;        // itself, and its copies
  races::Word word;                // to its copies, and to what is fresh
  bool started = false, done = false;
  const Meeting* waits_at = nullptr;
  uint64_t waits_for_round = 0;
  std::vector<CopyGroup> copies;                    // the last one is open
  std::vector<const void*> unfenced;                // what its copies wrote since its fence_shared
  std::map<const float*, PendingProduct> products;  // by where d is
  std::map<const float*, std::vector<float>> fenced;  // d as its last group_fence found it
  int product_groups = 0;
};

struct Unmap {
  size_t bytes = 0;
  void operator()(unsigned char* p) const { munmap(p, bytes); }
};

/// Stacks for the threads of a block, whose pages cost nothing before a thread uses them: malloc's
/// would be filled whole under MALLOC_PERTURB_, as meson runs tests. The next block of the same OS
/// thread uses them again.
class FiberStacks {
 public:
  /// @throws std::bad_alloc
  explicit FiberStacks(int threads);
  FiberStacks(const FiberStacks&) = delete;
  FiberStacks& operator=(const FiberStacks&) = delete;
  ~FiberStacks();

  /// kStackBytes of them.
  unsigned char* of(int thread) { return memory_.get() + kDistance * static_cast<size_t>(thread); }

 private:
  // Not a power of two, at which the stacks' ends would all share a few lines of the cache.
  static constexpr size_t kDistance = kStackBytes + 4096 + 64;
  using Memory = std::unique_ptr<unsigned char[], Unmap>;
  static Memory& spare();

  Memory memory_;
};

/// A warp's products, as ThreadSanitizer is told of them.
struct ProductLine {
  races::Line line;
  races::Word begun;
  std::map<int, races::Word> read;  // of each group
};

struct FreeDeleter {
  void operator()(void* p) const { std::free(p); }
};

class HostBlock {
 public:
  HostBlock(const LaunchShape& shape, const std::function<void(HostContext&)>& body,
            ThreadOrder order, SaidByBlocks& said);
  ~HostBlock();
  HostBlock(const HostBlock&) = delete;
  HostBlock& operator=(const HostBlock&) = delete;
  void run(Extent place);

  void meet(int thread, Meeting& meeting, int slot, const char* name, void* mine,
            void (*operation)(void* const*), Orders orders = Orders::kNothing);

  /// The last of the blocks that arrived there.
  void see_others(void* counter);
  void load_fresh(int thread, void* to, const void* from, size_t bytes, void* caller);

  /// @param caller  as reports of races shall name it; likewise below
  void begin_copy(int thread, const PendingCopy& copy, void* caller);
  void commit_copies(int thread);
  void wait_for_copies(int thread, int pending);
  /// @throws std::logic_error if a copy may write these 16 bytes at any time
  void check_landed(const void* at);

  void fence_shared(int thread);
  /// @throws std::logic_error if what is read is not there, or not for group_mma to see
  const TileRead& read_tile(int warp, const TileRead& asked);
  /// Products of the groups before `running` have read their tiles.
  /// @throws std::logic_error if any of them may have read something else than read_tile
  void finish_reads(int warp, int running);

  /// For ThreadSanitizer: a line of the block, begun where it is first needed.
  static const races::Line& begun(races::Line& line);
  ProductLine& products_of(int warp) { return product_lines_[warp]; }

  Meeting& warp_of(int thread) { return warps_[thread / kWarpSize]; }
  Meeting& all() { return all_; }
  Fiber& fiber(int thread) { return fibers_[thread]; }
  unsigned char* shared() { return static_cast<unsigned char*>(shared_.get()); }
  const LaunchShape& shape() const { return shape_; }
  const Extent& place() const { return place_; }
  SaidByBlocks& said() { return said_; }

 private:
  static void enter(unsigned low, unsigned high, unsigned thread);
  void thread_main(int thread);
  bool resume(int thread);
  bool resume_warp(int warp);
  void leave(Fiber& fiber);
  static void watch_copy(Fiber& fiber, const PendingCopy& copy, void* caller);
  [[noreturn]] void report_stuck() const;
  void clear();
  VectorState& state_of(const void* at);
  void check_warpgroups() const;
  void check_guard() const;

  LaunchShape shape_;
  const std::function<void(HostContext&)>& body_;
  ThreadOrder order_;
  Extent place_;
  SaidByBlocks& said_;
  FiberStacks stacks_;
  std::vector<Fiber> fibers_;
  std::vector<Meeting> warps_;
  Meeting all_;
  std::unique_ptr<void, FreeDeleter> shared_;
  std::vector<VectorState> vectors_;          // of shared memory
  std::vector<unsigned char> fenced_;         // shared memory at the last fence_shared; empty: none
  std::vector<std::vector<TileRead>> reads_;  // of each warp
  std::vector<int> group_products_;           // of each warp, so far
  std::vector<ProductLine> product_lines_;    // of each warp
  races::Line scheduler_, fresh_;
  ucontext_t scheduler_context_{};
  jmp_buf scheduler_jump_{};
  int remaining_ = 0;
  std::exception_ptr failure_;
  const void* scheduler_stack_ = nullptr;
  size_t scheduler_stack_bytes_ = 0;
};

}  // namespace tome::cuda
