// bfloat16 as a product's element, with AVX-512's bf16 instructions. Included after
// cpu_simd_avx512.h.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace tome {
namespace {

struct Bf16Element {
  using F = Simd::F;
  using T = uint16_t;
  static constexpr int kPerStep = 2;
  static constexpr bool kExact = false;
  TOME_SIMD static inline F widen(__m256i v) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16));
  }
  TOME_SIMD static inline F load(const T* at) {
    return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
  }
  TOME_SIMD static inline F load_first(const T* at, int64_t n) {
    return widen(_mm256_maskz_loadu_epi16(Simd::first(n), at));
  }
  TOME_SIMD static inline __m256i narrow(F v) {
    const __m256bh small = _mm512_cvtneps_pbh(v);
    __m256i bits;
    std::memcpy(&bits, &small, sizeof(bits));
    return bits;
  }
  TOME_SIMD static inline void store(T* at, F v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(at), narrow(v));
  }
  TOME_SIMD static inline void store_first(T* at, F v, int64_t n) {
    _mm256_mask_storeu_epi16(at, Simd::first(n), narrow(v));
  }
  TOME_SIMD static inline F dot(F a, F b, F c) {
    __m512bh pairs_a, pairs_b;
    std::memcpy(&pairs_a, &a, sizeof(a));
    std::memcpy(&pairs_b, &b, sizeof(b));
    return _mm512_dpbf16_ps(c, pairs_a, pairs_b);
  }
  /// Round to nearest, ties to even.
  static T from_float(float v) {
    uint32_t bits;
    std::memcpy(&bits, &v, sizeof(bits));
    if (v != v) return 0x7FC0;
    return static_cast<T>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
  }
};

}  // namespace
}  // namespace tome
