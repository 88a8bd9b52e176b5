// Bytes of products in 8 bits, with AVX-VNNI. Included after cpu_simd_avx2.h.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace tome {
namespace {

struct Bytes {
  using I = __m256i;
  TOME_SIMD static inline I zero() { return _mm256_setzero_si256(); }
  TOME_SIMD static inline I load(const float* at) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
  }
  TOME_SIMD static inline Simd::F to_float(I v) { return _mm256_cvtepi32_ps(v); }
  /// Sums of four products of a's unsigned and b's signed bytes, exact. In instructions: GCC 12
  /// stores all sums of its intrinsic in every step.
  TOME_SIMD static inline I dot(Simd::F a, Simd::F b, I sum) {
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(a), "x"(b));
    return sum;
  }
  /// Numbers from 0 to 255, rounded to nearest, ties to even.
  TOME_SIMD static inline void store(uint8_t* at, Simd::F v) {
    const __m256i whole = _mm256_cvtps_epi32(v);
    const __m128i words =
        _mm_packus_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(at), _mm_packus_epi16(words, words));
  }
};

}  // namespace
}  // namespace tome
