// Runs kernel bodies on the host: grid, blocks, shared memory, barriers, warp shuffles,
// asynchronous copies and the tensor-core tile product. For tests; a GPU is not emulated for speed.
// See Note [One kernel body, two machines] in portable.h.
//
// Note [How the host executor schedules]
// Each thread of a block is a fiber. A fiber runs until it reaches a barrier or a warp operation
// that not all of its partners have reached; the last to arrive does the operation for all. Blocks
// run one after the other, forwards or backwards, and so do threads between barriers: a result that
// changes with the order is a missing barrier. Wrong programs are errors, not hangs: threads that
// wait for partners which have left or wait elsewhere make launch_on_host throw std::logic_error.
// Shared memory starts as NaN in every block. Asynchronous copies land as late as they may, when
// they are waited for, if threads run forwards, and as early, when they are asked for, if
// backwards: who reads too early finds NaN in the one, who overwrites too early spoils what others
// read in the other.
//
// Note [What the host executor knows of shared memory]
// It sees copies, ldmatrix and products, but not plain loads and stores. ldmatrix and products may
// not read what a copy, of whatever thread, is still to write. A product in the background reads
// its tile at any time from group_mma to group_wait: it is read at both, and a difference, or a
// copy begun meanwhile, is an error; so are changes of its registers. Products read shared memory
// by the "async proxy", which sees other writes only after a fence_shared of the thread that wrote:
// that is known of each copy; of plain stores it is known that some thread made a fence_shared
// since.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <stdexcept>
#include <utility>

#include "cuda/executor/race_watch.h"
#include "cuda/portable.h"
#include "cuda/types.h"

namespace tome::cuda {

enum class ThreadOrder { kForwards, kBackwards };

class HostBlock;

/// Of a block of dynamic shared memory on compute capability 8.6, 8.9 and 12.0, which have least.
constexpr int kMostSharedBytes = 99 * 1024;

/// What a kernel body sees of its thread, its block and its warp. Operations mean what CudaContext
/// (cuda_context.cuh) says.
class HostContext {
 public:
  HostContext(HostBlock* block, int thread) : block_(block), thread_(thread) {}

  int thread() const { return thread_; }
  int threads() const;
  int lane() const { return thread_ % kWarpSize; }
  int warp() const { return thread_ / kWarpSize; }
  int block_x() const;
  int block_y() const;
  int block_z() const;
  int grid_x() const;

  template <class T>
  T* shared(int byte_offset = 0) const {
    return reinterpret_cast<T*>(shared_bytes() + byte_offset);
  }

  void sync_block() const;
  void sync_warp() const;

  template <class T>
  T shuffle_xor(T value, int mask) const {
    return shuffle(value, lane() ^ mask);
  }
  template <class T>
  T shuffle(T value, int source_lane) const {
    struct Exchange {
      T in, out;
      int source;
    } mine{value, value, source_lane & (kWarpSize - 1)};
    warp_operation("shuffle", &mine, [](void* const* lanes) {
      for (int i = 0; i < kWarpSize; ++i) {
        auto* lane = static_cast<Exchange*>(lanes[i]);
        lane->out = static_cast<const Exchange*>(lanes[lane->source])->in;
      }
    });
    return mine.out;
  }

  bool any(bool value) const {
    int found = value ? 1 : 0;
    for (int mask = kWarpSize / 2; mask > 0; mask /= 2) found |= shuffle_xor(found, mask);
    return found != 0;
  }

  int warp_wide(int value) const { return value; }

  bool arrive_last(unsigned* counter, unsigned expected) const;

  template <class T>
  T load_fresh(const T* p) const {
    T value;
    load_fresh(&value, p, sizeof(T));
    return value;
  }

  /// Nothing runs beside anything else here; launches count which blocks said what.
  void launch_dependents() const;
  void wait_for_prerequisites() const;

  int fetch_add(int* counter, int value) const {
    return std::atomic_ref(*counter).fetch_add(value, std::memory_order_relaxed);
  }

  float exp2(float x) const { return std::exp2(x); }
  float log2(float x) const { return std::log2(x); }

  template <class T>
  void tile_mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) const;

  void load_matrix_x4(uint32_t (&r)[4], const void* row) const;
  void load_matrix_x4_transposed(uint32_t (&r)[4], const void* row) const;

  void copy_async16(void* to_shared, const void* from_global, bool valid = true) const;
  void copy_commit() const;
  template <int kPending>
  void copy_wait() const {
    copy_wait(kPending);
  }

  template <class T, bool kColumns>
  void group_mma(float (&d)[32], const uint32_t (&a)[4], const T* tile, int offset, bool add) const;
  template <class T>
  const T* group_tile(const T* rows) const {
    return rows;
  }
  void group_commit() const;
  template <int kPending, int kCount>
  void group_wait(float (&d)[kCount]) const {
    group_wait(kPending, d);
  }
  template <int kCount>
  void group_fence(float (&d)[kCount]) const {
    group_fence(d, kCount);
  }
  void fence_shared() const;

 private:
  using Operation = void (*)(void* const* lanes);
  unsigned char* shared_bytes() const;
  void warp_operation(const char* name, void* mine, Operation operation) const;
  void load_fresh(void* to, const void* from, size_t bytes) const;
  void copy_wait(int pending) const;
  void group_wait(int pending, float* d) const;
  void group_fence(const float* d, int count) const;

  HostBlock* block_;
  int thread_;
};

/// What blocks of one launch said; see Note [A kernel beside the one before it] in types.h.
struct SaidByBlocks {
  int64_t blocks = 0;
  int64_t launched = 0;  ///< launch_dependents
  int64_t waited = 0;    ///< wait_for_prerequisites
};

/// Runs `body` for each thread of the grid.
/// @throws std::logic_error as the notes say, and for what no supported GPU can launch
SaidByBlocks launch_on_host(const LaunchShape& shape, const std::function<void(HostContext&)>& body,
                            ThreadOrder order = ThreadOrder::kForwards,
                            LaunchOrder when = LaunchOrder::kInTurn);

/// Runs launch plans (match_launch.h and its like) here.
class HostLauncher {
 public:
  /// @param processors  that grids are cut for, as CudaLauncher says
  explicit HostLauncher(ThreadOrder order = ThreadOrder::kForwards, int processors = 132)
      : order_(order), processors_(processors) {}

  int processors() const { return processors_; }

  template <class Body>
  void run(const LaunchShape& shape, const typename Body::Params& params) {
    if (shape.threads > Body::kThreads) {
      throw std::logic_error("a kernel is launched with more threads than it is compiled for");
    }
    const races::Unwatched unwatched;
    // Parameters of its own, of which no line of an earlier launch knows.
    using Call = std::function<void(HostContext&)>;
    const auto call =
        std::make_unique<const Call>([params](HostContext& ctx) { Body::run(ctx, params); });
    said_ = launch_on_host(shape, *call, order_, std::exchange(next_, LaunchOrder::kInTurn));
    ++launches_;
  }
  /// When the next launch begins; of those that may run beside each other, races are seen.
  void next(LaunchOrder when) { next_ = when; }
  int launches() const { return launches_; }
  const SaidByBlocks& last_said() const { return said_; }

 private:
  ThreadOrder order_;
  LaunchOrder next_ = LaunchOrder::kInTurn;
  int processors_;
  int launches_ = 0;
  SaidByBlocks said_;
};

}  // namespace tome::cuda
