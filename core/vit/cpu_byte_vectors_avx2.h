// What bytes of products in 8 bits need of AVX2, however they are multiplied.
// Included after cpu_simd_avx2.h.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace tome {
namespace {

struct ByteVectors {
  using I = __m256i;
  TOME_SIMD static inline I zero() { return _mm256_setzero_si256(); }
  TOME_SIMD static inline I load(const float* at) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
  }
  TOME_SIMD static inline Simd::F to_float(I v) { return _mm256_cvtepi32_ps(v); }
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
