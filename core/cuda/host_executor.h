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

#include <functional>
#include <stdexcept>

#include "cuda/portable.h"

namespace tome::cuda {

enum class ThreadOrder { kForwards, kBackwards };

class HostBlock;

/// Of a block of dynamic shared memory on compute capability 8.6, 8.9 and 12.0, which have least.
constexpr int kMostSharedBytes = 99 * 1024;

/// What a kernel body sees of its thread, its block and its warp.
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

  /// Dynamic shared memory of the block, 1024-byte aligned.
  template <class T>
  T* shared(int byte_offset = 0) const {
    return reinterpret_cast<T*>(shared_bytes() + byte_offset);
  }

  void sync_block() const;
  void sync_warp() const;

  /// Value of the lane whose number differs by `mask`, or of one lane. All 32 take part.
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

  /// Whether it is true in any lane of the warp.
  bool any(bool value) const {
    int found = value ? 1 : 0;
    for (int mask = kWarpSize / 2; mask > 0; mask /= 2) found |= shuffle_xor(found, mask);
    return found != 0;
  }

  /// A value that all lanes of a warp have in common, so that the compiler knows it, too.
  int warp_wide(int value) const { return value; }

  /// Note [Last block done]
  /// Each of `expected` blocks calls this once, all threads together, after its writes; true in
  /// all threads of the block that comes last, which may then read the others' writes with
  /// load_fresh. The counter must be 0 before the first launch and is 0 again after, so nothing
  /// needs to be cleared between replays of a CUDA graph. No block ever waits for another.
  bool arrive_last(unsigned* counter, unsigned expected) const;

  template <class T>
  T load_fresh(const T* p) const {
    return *p;
  }

  /// Note [A kernel beside the one before it]
  /// Two kernels that do not need each other run beside each other if the second is launched as a
  /// dependent (CudaLauncher) and the first says launch_dependents: the second begins when all
  /// blocks of the first have said so, and takes what places they leave. It ends after the first,
  /// since at least its last block, which also begins last, ends with wait_for_prerequisites. So
  /// what is enqueued next comes after both, and a forward's graph stays a chain; forking it to a
  /// second stream, and joining, made the gap before each product 1.7 us longer. Programmatic
  /// dependent launch is of compute capability 9.0 and later; elsewhere neither does anything. Here
  /// nothing runs beside anything else, and launches count which blocks said what.
  void launch_dependents() const;
  void wait_for_prerequisites() const;

  /// Adds to an integer in shared memory, atomically. @return what it was before
  int fetch_add(int* counter, int value) const {
    *counter += value;
    return *counter - value;
  }

  float exp2(float x) const { return std::exp2(x); }
  float log2(float x) const { return std::log2(x); }

  /// d[16x8] += a[16x16] b[16x8] over the warp, T = Bf16 or Half, sums in float32. Lane layouts are
  /// those of mma.m16n8k16 (g = lane / 4, t = lane % 4): a = {(g,2t) (g+8,2t) (g,2t+8) (g+8,2t+8)}
  /// and the next column each; b = {(2t,g) (2t+8,g)} and the next row each;
  /// d = {(g,2t) (g,2t+1) (g+8,2t) (g+8,2t+1)}.
  template <class T>
  void tile_mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) const;

  /// ldmatrix: four 8x8 matrices of 16-bit elements in shared memory; lane i passes the address of
  /// row i % 8 of matrix i / 8 (16-byte aligned). Register m of a lane holds row g, columns 2t and
  /// 2t+1 of matrix m; transposed: column g, rows 2t and 2t+1.
  void load_matrix_x4(uint32_t (&r)[4], const void* row) const;
  void load_matrix_x4_transposed(uint32_t (&r)[4], const void* row) const;

  /// Copies 16 aligned bytes (zeros unless valid) to shared memory; there after copy_wait<n>, which
  /// waits for all committed groups but the last n, and a barrier.
  void copy_async16(void* to_shared, const void* from_global, bool valid = true) const;
  void copy_commit() const;
  template <int kPending>
  void copy_wait() const {
    copy_wait(kPending);
  }

  /// d[64x64] (+)= a[64x16] b[16x64] over four warps, in the background (wgmma): each warp has 16
  /// rows, d as eight results of tile_mma side by side. b lies in a tile in shared memory, in rows
  /// of 128 bytes, 16-byte vector v of row i in the place of v ^ i % 8, the first row 1024-byte
  /// aligned. Rows are b's columns, from `offset` elements on (K-major, within the row); with
  /// kColumns they are b's rows (whole groups of 8).
  /// Neither d nor a is to be touched before group_wait<n>, which waits for all committed groups
  /// but the last n, and gives back the d that it names. group_fence comes between other use of d
  /// (and a) and the next product: before the first, and after each group_wait; it names d.
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
  /// Between writes to shared memory by this thread, copies that it has waited for among them, and
  /// products that read them; before a barrier.
  void fence_shared() const;

 private:
  using Operation = void (*)(void* const* lanes);
  unsigned char* shared_bytes() const;
  void warp_operation(const char* name, void* mine, Operation operation) const;
  void copy_wait(int pending) const;
  void group_wait(int pending, float* d) const;
  void group_fence(const float* d, int count) const;

  HostBlock* block_;
  int thread_;
};

/// What blocks of one launch said; see Note [A kernel beside the one before it].
struct SaidByBlocks {
  int64_t blocks = 0;
  int64_t launched = 0;  ///< launch_dependents
  int64_t waited = 0;    ///< wait_for_prerequisites
};

/// Runs `body` for each thread of the grid.
/// @throws std::logic_error as the notes say, and for what no supported GPU can launch
SaidByBlocks launch_on_host(const LaunchShape& shape, const std::function<void(HostContext&)>& body,
                            ThreadOrder order = ThreadOrder::kForwards);

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
    said_ = launch_on_host(
        shape, [&params](HostContext& ctx) { Body::run(ctx, params); }, order_);
    ++launches_;
  }
  int launches() const { return launches_; }
  const SaidByBlocks& last_said() const { return said_; }

 private:
  ThreadOrder order_;
  int processors_;
  int launches_ = 0;
  SaidByBlocks said_;
};

}  // namespace tome::cuda
