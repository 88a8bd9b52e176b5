// The execution context of the GPU: each operation is an instruction or a few. See
// Note [One kernel body, two machines] in portable.h; the tests' context means the same by each.
#pragma once

#include <type_traits>

#include "cuda/portable.h"

namespace tome::cuda {

// As swizzled tiles need it.
extern __shared__ __align__(1024) unsigned char dynamic_shared_memory[];

class CudaContext {
 public:
  __device__ int thread() const { return static_cast<int>(threadIdx.x); }
  __device__ int threads() const { return static_cast<int>(blockDim.x); }
  __device__ int lane() const { return thread() % kWarpSize; }
  __device__ int warp() const { return thread() / kWarpSize; }
  __device__ int block_x() const { return static_cast<int>(blockIdx.x); }
  __device__ int block_y() const { return static_cast<int>(blockIdx.y); }
  __device__ int block_z() const { return static_cast<int>(blockIdx.z); }
  __device__ int grid_x() const { return static_cast<int>(gridDim.x); }

  /// Dynamic shared memory of the block, 1024-byte aligned.
  template <class T>
  __device__ T* shared(int byte_offset = 0) const {
    return reinterpret_cast<T*>(dynamic_shared_memory + byte_offset);
  }

  __device__ void sync_block() const { __syncthreads(); }
  __device__ void sync_warp() const { __syncwarp(); }

  /// Value of the lane whose number differs by `mask`, or of one lane. All 32 take part.
  template <class T>
  __device__ T shuffle_xor(T value, int mask) const {
    return __shfl_xor_sync(0xffffffffU, value, mask);
  }
  template <class T>
  __device__ T shuffle(T value, int source_lane) const {
    return __shfl_sync(0xffffffffU, value, source_lane);
  }

  /// Note [A kernel beside the one before it] (types.h).
  __device__ void launch_dependents() const {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
  }
  __device__ void wait_for_prerequisites() const {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
  }

  /// Whether it is true in any lane of the warp.
  __device__ bool any(bool value) const { return __any_sync(0xffffffffU, value) != 0; }

  /// A value that all lanes of a warp have in common, so that the compiler knows it, too.
  __device__ int warp_wide(int value) const { return __shfl_sync(0xffffffffU, value, 0); }

  /// Note [Last block done]
  /// Each of `expected` blocks calls this once, all threads together, after its writes; true in
  /// all threads of the block that comes last, which may then read the others' writes with
  /// load_fresh. The counter must be 0 before the first launch and is 0 again after, so nothing
  /// needs to be cleared between replays of a CUDA graph. No block ever waits for another.
  __device__ bool arrive_last(unsigned* counter, unsigned expected) const {
    __syncthreads();
    int last = 0;
    if (threadIdx.x == 0) {
      unsigned before;  // acquire and release in one; fences on both sides would cost more
      asm volatile("atom.acq_rel.gpu.global.inc.u32 %0, [%1], %2;"
                   : "=r"(before)
                   : "l"(__cvta_generic_to_global(counter)), "r"(expected - 1)
                   : "memory");
      last = before == expected - 1 ? 1 : 0;
    }
    return __syncthreads_or(last) != 0;
  }

  /// Reads what another block of this launch wrote (past the first-level cache).
  template <class T>
  __device__ T load_fresh(const T* p) const {
    return __ldcg(p);
  }

  /// Adds to an integer in shared memory, atomically. @return what it was before
  __device__ int fetch_add(int* counter, int value) const { return atomicAdd(counter, value); }

  __device__ float exp2(float x) const {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
  }

  __device__ float log2(float x) const {
    float y;
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
  }

  /// d[16x8] += a[16x16] b[16x8] over the warp, T = Bf16 or Half, sums in float32. Lane layouts are
  /// those of mma.m16n8k16 (g = lane / 4, t = lane % 4): a = {(g,2t) (g+8,2t) (g,2t+8) (g+8,2t+8)}
  /// and the next column each; b = {(2t,g) (2t+8,g)} and the next row each;
  /// d = {(g,2t) (g,2t+1) (g+8,2t) (g+8,2t+1)}.
  template <class T>
  __device__ void tile_mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) const;

  /// ldmatrix: four 8x8 matrices of 16-bit elements in shared memory; lane i passes the address of
  /// row i % 8 of matrix i / 8 (16-byte aligned). Register m of a lane holds row g, columns 2t and
  /// 2t+1 of matrix m; transposed: column g, rows 2t and 2t+1.
  __device__ void load_matrix_x4(uint32_t (&r)[4], const void* row) const {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
  }
  __device__ void load_matrix_x4_transposed(uint32_t (&r)[4], const void* row) const {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
  }

  /// Copies 16 aligned bytes (zeros unless valid) to shared memory; there after copy_wait<n>, which
  /// waits for all committed groups but the last n, and a barrier.
  __device__ void copy_async16(void* to_shared, const void* from_global) const {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to_shared)),
                 "l"(from_global)
                 : "memory");
  }
  __device__ void copy_async16(void* to_shared, const void* from_global, bool valid) const {
    const int bytes = valid ? 16 : 0;  // the rest of the 16 becomes zero
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to_shared)),
                 "l"(from_global), "r"(bytes)
                 : "memory");
  }
  __device__ void copy_commit() const { asm volatile("cp.async.commit_group;" ::: "memory"); }
  template <int kPending>
  __device__ void copy_wait() const {
    asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
  }

  /// What products read it by: swizzled rows of 128 bytes, and 8 of them, 1024 bytes, from group to
  /// group in both directions. Made once for all products, each of which adds its offset.
  template <class T>
  __device__ uint64_t group_tile(const T* rows) const {
    return (shared_address(rows) & 0x3ffffU) >> 4 | (uint64_t{1024 >> 4} << 16) |
           (uint64_t{1024 >> 4} << 32) | (uint64_t{1} << 62);
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
  __device__ void group_mma(float (&d)[32], const uint32_t (&a)[4], uint64_t tile, int offset,
                            bool add) const;
  __device__ void group_commit() const {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
  }
  template <int kPending, int kCount>
  __device__ void group_wait(float (&d)[kCount]) const {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
    hold(d);
  }
  template <int kCount>
  __device__ void group_fence(float (&d)[kCount]) const {
    hold(d);
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
  }
  /// Between writes to shared memory by this thread, copies that it has waited for among them, and
  /// products that read them; before a barrier.
  __device__ void fence_shared() const {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  }

 private:
  /// Keeps the compiler from moving registers across a product that runs in the background.
  template <int kCount>
  static __device__ void hold(float (&d)[kCount]) {
    TOME_UNROLL
    for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(d[i])::"memory");
  }

  static __device__ uint32_t shared_address(const void* p) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(p));
  }
};

template <>
__device__ __forceinline__ void CudaContext::tile_mma<Bf16>(float (&d)[4], const uint32_t (&a)[4],
                                                            const uint32_t (&b)[2]) const {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

template <>
__device__ __forceinline__ void CudaContext::tile_mma<Half>(float (&d)[4], const uint32_t (&a)[4],
                                                            const uint32_t (&b)[2]) const {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// wgmma.m64n64k16, a in registers, b by its descriptor; %37 tells whether d is added to.
#define TOME_GROUP_MMA(type, transposed)                                                           \
  asm volatile(                                                                                    \
      "{\n.reg .pred add;\nsetp.ne.b32 add, %37, 0;\n"                                             \
      "wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type                                  \
      " "                                                                                          \
      "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,"        \
      "%23,%24,%25,%26,%27,%28,%29,%30,%31}, {%32,%33,%34,%35}, %36, add, 1, 1, " transposed       \
      ";\n}"                                                                                       \
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]),        \
        "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]),    \
        "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), \
        "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), \
        "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31])                                         \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(descriptor), "r"(static_cast<int>(add)))

template <class T, bool kColumns>
__device__ __forceinline__ void CudaContext::group_mma(float (&d)[32], const uint32_t (&a)[4],
                                                       uint64_t tile, int offset, bool add) const {
  const uint64_t descriptor = tile + static_cast<uint64_t>(offset * sizeof(T) >> 4);
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  if constexpr (kColumns) {
    if constexpr (std::is_same_v<T, Bf16>) {
      TOME_GROUP_MMA("bf16", "1");
    } else {
      TOME_GROUP_MMA("f16", "1");
    }
  } else {
    if constexpr (std::is_same_v<T, Bf16>) {
      TOME_GROUP_MMA("bf16", "0");
    } else {
      TOME_GROUP_MMA("f16", "0");
    }
  }
#endif
}
#undef TOME_GROUP_MMA

}  // namespace tome::cuda
