// Vectors of eight float32, for the bodies of the kernels (cpu_*_body.h).
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace tome {
namespace {

struct Simd {
  using F = __m256;
  static constexpr int kWidth = 8;
  static constexpr int kBlockRows = 6;
  /// Products fetch what they are to overwrite: on Zen 3, of a ViT-B's wide ones, 4 to 6 % in 8
  /// bits and up to 3 % in float32.
  static constexpr bool kFetchesOut = true;

  TOME_SIMD static inline F zero() { return _mm256_setzero_ps(); }
  TOME_SIMD static inline F set(float v) { return _mm256_set1_ps(v); }
  TOME_SIMD static inline F load(const float* at) { return _mm256_loadu_ps(at); }
  TOME_SIMD static inline void store(float* at, F v) { _mm256_storeu_ps(at, v); }
  TOME_SIMD static inline __m256i first(int64_t n) {
    const __m256i place = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), place);
  }
  TOME_SIMD static inline F load_first(const float* at, int64_t n) {
    return _mm256_maskload_ps(at, first(n));
  }
  TOME_SIMD static inline void store_first(float* at, F v, int64_t n) {
    _mm256_maskstore_ps(at, first(n), v);
  }
  TOME_SIMD static inline F keep_first(F v, int64_t n) {
    return _mm256_and_ps(v, _mm256_castsi256_ps(first(n)));
  }
  TOME_SIMD static inline F add(F a, F b) { return _mm256_add_ps(a, b); }
  TOME_SIMD static inline F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  TOME_SIMD static inline F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  TOME_SIMD static inline F div(F a, F b) { return _mm256_div_ps(a, b); }
  TOME_SIMD static inline F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  TOME_SIMD static inline F max(F a, F b) { return _mm256_max_ps(a, b); }
  TOME_SIMD static inline F min(F a, F b) { return _mm256_min_ps(a, b); }
  TOME_SIMD static inline F round(F v) { return _mm256_round_ps(v, 8); }
  /// v * 2^n for whole n; 0 far below
  TOME_SIMD static inline F scale2(F v, F n) {
    const F least = _mm256_set1_ps(-127.0F);  // its exponent field is 0: the factor is 0
    const __m256i whole = _mm256_cvtps_epi32(_mm256_max_ps(_mm256_min_ps(n, set(127.0F)), least));
    const __m256i bits = _mm256_slli_epi32(_mm256_add_epi32(whole, _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(v, _mm256_castsi256_ps(bits));
  }
  TOME_SIMD static inline float sum(F v) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
  }
  TOME_SIMD static inline float largest(F v) {
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
  }
};

}  // namespace
}  // namespace tome
