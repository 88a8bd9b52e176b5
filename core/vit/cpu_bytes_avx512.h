// Bytes of products in 8 bits, with AVX-512's VNNI. Included after cpu_simd_avx512.h.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace tome {
namespace {

struct Bytes {
  static constexpr bool kInPairs = false;
  using I = __m512i;
  TOME_SIMD static inline I zero() { return _mm512_setzero_si512(); }
  TOME_SIMD static inline I load(const float* at) { return _mm512_loadu_si512(at); }
  TOME_SIMD static inline Simd::F to_float(I v) { return _mm512_cvtepi32_ps(v); }
  /// Sums of four products of a's unsigned and b's signed bytes, exact. In instructions: GCC 12
  /// stores all sums of its intrinsic in every step.
  TOME_SIMD static inline I dot(Simd::F a, Simd::F b, I sum) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
  }
  /// Numbers from 0 to 255, rounded to nearest, ties to even.
  TOME_SIMD static inline void store(uint8_t* at, Simd::F v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(at), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v)));
  }
};

}  // namespace
}  // namespace tome
