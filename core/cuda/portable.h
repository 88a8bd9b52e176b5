// What lets one kernel body be compiled by nvcc for the GPU and by a plain C++ compiler for the
// host executor. Includes no CUDA header unless nvcc compiles it.
//
// Note [One kernel body, two machines]
// Every kernel is a template over an execution context: `template <class Ctx> TOME_KERNEL void
// foo_kernel(Ctx& ctx, const FooParams& p)`. CudaContext (cuda_context.cuh) maps its operations to
// instructions, and says what each means; HostContext (tests/unit/cuda/executor) emulates grid,
// blocks, shared memory, barriers, warp shuffles, asynchronous copies and the tensor-core tile
// product with the lane layouts of the PTX manual. What the tests run on the host is the text that
// ships, so indexing, ties, barriers and edge cases are tested where there is no GPU. What they
// cannot show: speed, the tensor cores' own rounding, and orderings of memory accesses that only
// real hardware has.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#define TOME_DEVICE __host__ __device__ __forceinline__
#define TOME_KERNEL __device__ __forceinline__
#define TOME_UNROLL _Pragma("unroll")
// Of a loop that is not to be unrolled: a kernel that runs once is soon slowed by reading its code,
// and others by the registers.
#define TOME_ROLLED _Pragma("unroll 1")
#else
#define TOME_DEVICE inline
#define TOME_KERNEL inline
#define TOME_UNROLL
#define TOME_ROLLED
#endif

namespace tome::cuda {

constexpr int kWarpSize = 32;

/// Sum over a warp, or over each kLanes neighbouring lanes (a power of two), in all of them.
template <int kLanes = kWarpSize, class Ctx, class T>
TOME_KERNEL T sum_over_warp(const Ctx& ctx, T value) {
  TOME_UNROLL
  for (int mask = kLanes / 2; mask > 0; mask /= 2) value += ctx.shuffle_xor(value, mask);
  return value;
}

template <class To, class From>
TOME_DEVICE To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof(to));
  return to;
}

/// bfloat16 and IEEE half as they lie in memory.
struct Bf16 {
  uint16_t bits;
};
struct Half {
  uint16_t bits;
};

TOME_DEVICE float to_float(float x) { return x; }
TOME_DEVICE float to_float(Bf16 x) { return bits_as<float>(static_cast<uint32_t>(x.bits) << 16); }
TOME_DEVICE float to_float(Half x) {
#ifdef __CUDA_ARCH__
  return __half2float(__ushort_as_half(x.bits));
#else
  const uint32_t sign = static_cast<uint32_t>(x.bits & 0x8000U) << 16;
  const uint32_t exponent = (x.bits >> 10) & 31U;
  const uint32_t fraction = x.bits & 1023U;
  if (exponent == 0) {  // zero or subnormal: fraction * 2^-24
    const float magnitude = static_cast<float>(fraction) * 5.9604644775390625e-8F;
    return sign != 0 ? -magnitude : magnitude;
  }
  const uint32_t wide = exponent == 31 ? 255U : exponent + 112U;
  return bits_as<float>(sign | (wide << 23) | (fraction << 13));
#endif
}

/// Rounds to nearest even; NaN stays NaN.
template <class T>
TOME_DEVICE T from_float(float x);

template <>
TOME_DEVICE float from_float<float>(float x) {
  return x;
}

template <>
TOME_DEVICE Bf16 from_float<Bf16>(float x) {
#ifdef __CUDA_ARCH__
  return Bf16{__bfloat16_as_ushort(__float2bfloat16_rn(x))};
#else
  const uint32_t bits = bits_as<uint32_t>(x);
  if ((bits & 0x7fffffffU) > 0x7f800000U) return Bf16{static_cast<uint16_t>((bits >> 16) | 64U)};
  return Bf16{static_cast<uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16)};
#endif
}

template <>
TOME_DEVICE Half from_float<Half>(float x) {
#ifdef __CUDA_ARCH__
  return Half{__half_as_ushort(__float2half_rn(x))};
#else
  const uint32_t bits = bits_as<uint32_t>(x);
  const uint32_t sign = (bits >> 16) & 0x8000U;
  const uint32_t magnitude = bits & 0x7fffffffU;
  if (magnitude > 0x7f800000U) return Half{static_cast<uint16_t>(sign | 0x7e00U)};
  if (magnitude >= 0x477ff000U) return Half{static_cast<uint16_t>(sign | 0x7c00U)};
  if (magnitude < 0x38800000U) {  // subnormal: adding 0.5 lets the FPU round at 2^-24
    const float shifted = bits_as<float>(magnitude) + 0.5F;
    return Half{static_cast<uint16_t>(sign | (bits_as<uint32_t>(shifted) - 0x3f000000U))};
  }
  const uint32_t odd = (magnitude >> 13) & 1U;
  return Half{static_cast<uint16_t>(sign | ((magnitude - 0x38000000U + 0xfffU + odd) >> 13))};
#endif
}

/// Two neighbours in one register, the first in the low half, as tensor-core fragments hold them.
template <class T>
TOME_DEVICE uint32_t pack2(float low, float high) {
#ifdef __CUDA_ARCH__  // one instruction in place of four
  uint32_t pair;
  if constexpr (std::is_same_v<T, Bf16>) {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  } else {
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  }
  return pair;
#else
  return from_float<T>(low).bits | (static_cast<uint32_t>(from_float<T>(high).bits) << 16);
#endif
}

template <class T>
TOME_DEVICE float unpack_low(uint32_t pair) {
  return to_float(T{static_cast<uint16_t>(pair & 0xffffU)});
}

template <class T>
TOME_DEVICE float unpack_high(uint32_t pair) {
  return to_float(T{static_cast<uint16_t>(pair >> 16)});
}

/// 16 bytes that move as one.
struct alignas(16) Bytes16 {
  uint32_t word[4];
};

TOME_DEVICE bool is_aligned16(const void* p) { return (reinterpret_cast<uintptr_t>(p) & 15U) == 0; }

template <class T>
TOME_DEVICE T min_of(T a, T b) {
  return b < a ? b : a;
}

template <class T>
TOME_DEVICE T max_of(T a, T b) {
  return a < b ? b : a;
}

TOME_DEVICE constexpr int ceil_div(int a, int b) { return (a + b - 1) / b; }

/// The smallest power of two >= n.
TOME_DEVICE constexpr int power_of_two_from(int n) {
  int p = 1;
  while (p < n) p *= 2;
  return p;
}

/// Extents of a grid.
struct Extent {
  int x = 1, y = 1, z = 1;
};

/// How a kernel is launched, on either machine.
struct LaunchShape {
  Extent grid;
  int threads = kWarpSize;  ///< of one block; a multiple of 32
  int shared_bytes = 0;     ///< dynamic shared memory of one block
};

}  // namespace tome::cuda
