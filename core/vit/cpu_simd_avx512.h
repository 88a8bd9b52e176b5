// Vectors of sixteen float32, for the bodies of the kernels (cpu_*_body.h).
#pragma once

// GCC 12 takes its own _mm512_undefined_ps for an uninitialised variable (GCC bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace tome {
namespace {

struct Simd {
  using F = __m512;
  static constexpr int kWidth = 16;
  static constexpr int kBlockRows = 14;
  static constexpr bool kFetchesOut = false;  // not measured

  TOME_SIMD static inline F zero() { return _mm512_setzero_ps(); }
  TOME_SIMD static inline F set(float v) { return _mm512_set1_ps(v); }
  TOME_SIMD static inline F load(const float* at) { return _mm512_loadu_ps(at); }
  TOME_SIMD static inline void store(float* at, F v) { _mm512_storeu_ps(at, v); }
  TOME_SIMD static inline __mmask16 first(int64_t n) {
    return static_cast<__mmask16>((1U << n) - 1);
  }
  TOME_SIMD static inline F load_first(const float* at, int64_t n) {
    return _mm512_maskz_loadu_ps(first(n), at);
  }
  TOME_SIMD static inline void store_first(float* at, F v, int64_t n) {
    _mm512_mask_storeu_ps(at, first(n), v);
  }
  TOME_SIMD static inline F keep_first(F v, int64_t n) { return _mm512_maskz_mov_ps(first(n), v); }
  TOME_SIMD static inline F add(F a, F b) { return _mm512_add_ps(a, b); }
  TOME_SIMD static inline F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  TOME_SIMD static inline F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  TOME_SIMD static inline F div(F a, F b) { return _mm512_div_ps(a, b); }
  TOME_SIMD static inline F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  TOME_SIMD static inline F max(F a, F b) { return _mm512_max_ps(a, b); }
  TOME_SIMD static inline F min(F a, F b) { return _mm512_min_ps(a, b); }
  TOME_SIMD static inline F round(F v) { return _mm512_roundscale_ps(v, 8); }
  /// v * 2^n for whole n; 0 far below
  TOME_SIMD static inline F scale2(F v, F n) { return _mm512_scalef_ps(v, n); }
  TOME_SIMD static inline bool any_above(F v, F limit) {
    return _mm512_cmp_ps_mask(v, limit, _CMP_GT_OQ) != 0;
  }
  TOME_SIMD static inline float sum(F v) { return _mm512_reduce_add_ps(v); }
  TOME_SIMD static inline float largest(F v) { return _mm512_reduce_max_ps(v); }
};

}  // namespace
}  // namespace tome
