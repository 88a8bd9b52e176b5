// The execution context of the GPU: each operation is an instruction or a few. See
// Note [One kernel body, two machines] in portable.h, and host_executor.h for what each means.
#pragma once

#include "cuda/portable.h"

namespace tome::cuda {

extern __shared__ __align__(16) unsigned char dynamic_shared_memory[];

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

  template <class T>
  __device__ T* shared(int byte_offset = 0) const {
    return reinterpret_cast<T*>(dynamic_shared_memory + byte_offset);
  }

  __device__ void sync_block() const { __syncthreads(); }
  __device__ void sync_warp() const { __syncwarp(); }

  template <class T>
  __device__ T shuffle_xor(T value, int mask) const {
    return __shfl_xor_sync(0xffffffffU, value, mask);
  }
  template <class T>
  __device__ T shuffle(T value, int source_lane) const {
    return __shfl_sync(0xffffffffU, value, source_lane);
  }

  /// See Note [Last block done] in host_executor.h.
  __device__ bool arrive_last(unsigned* counter, unsigned expected) const {
    __syncthreads();
    int last = 0;
    if (threadIdx.x == 0) {
      __threadfence();
      last = atomicInc(counter, expected - 1) == expected - 1 ? 1 : 0;
      __threadfence();
    }
    return __syncthreads_or(last) != 0;
  }

  /// Reads what another block of this launch wrote (past the first-level cache).
  template <class T>
  __device__ T load_fresh(const T* p) const {
    return __ldcg(p);
  }

  __device__ float exp2(float x) const {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
  }

  template <class T>
  __device__ void tile_mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) const;

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

 private:
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

}  // namespace tome::cuda
