// The inner loops for AVX-512: the vertical passes, which read every pixel, with vectors of 64
// bytes. The rest works on rows of the model's size, where AVX2 is as good, and is AVX2's.
#include "media/row_kernels.h"

#if defined(__x86_64__)

// GCC 12 takes its own _mm512_undefined_epi32 for an uninitialised variable (GCC bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>

#define TOME_SIMD __attribute__((target("avx512f,avx512bw,avx512vl")))

namespace tome {
namespace {

struct Vec {
  using Int = __m512i;
  static constexpr int32_t kBytes = 64;

  TOME_SIMD static Int load(const void* at) { return _mm512_loadu_si512(at); }
  TOME_SIMD static void store(void* at, Int v) { _mm512_storeu_si512(at, v); }
  TOME_SIMD static Int set(int32_t v) { return _mm512_set1_epi32(v); }
  TOME_SIMD static Int add32(Int a, Int b) { return _mm512_add_epi32(a, b); }
  TOME_SIMD static Int multiply_add(Int a, Int b) { return _mm512_madd_epi16(a, b); }
  TOME_SIMD static Int unpack_low8(Int a, Int b) { return _mm512_unpacklo_epi8(a, b); }
  TOME_SIMD static Int unpack_high8(Int a, Int b) { return _mm512_unpackhi_epi8(a, b); }
  TOME_SIMD static Int unpack_low16(Int a, Int b) { return _mm512_unpacklo_epi16(a, b); }
  TOME_SIMD static Int unpack_high16(Int a, Int b) { return _mm512_unpackhi_epi16(a, b); }
  TOME_SIMD static Int pack32(Int a, Int b) { return _mm512_packs_epi32(a, b); }
  TOME_SIMD static Int pack_unsigned16(Int a, Int b) { return _mm512_packus_epi16(a, b); }
  template <int kBits>
  TOME_SIMD static Int shift_left32(Int v) {
    return _mm512_slli_epi32(v, kBits);
  }
  template <int kBits>
  TOME_SIMD static Int shift_right32(Int v) {
    return _mm512_srai_epi32(v, kBits);
  }
  template <int kBits>
  TOME_SIMD static Int shift_right16(Int v) {
    return _mm512_srli_epi16(v, kBits);
  }
  /// Lanes a0 b0 a1 b1 a2 b2 a3 b3. Index 8 + i of a permutation is word i of b.
  TOME_SIMD static void store_lanes_interleaved(int16_t* at, Int a, Int b) {
    const Int first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    const Int second = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    store(at, _mm512_permutex2var_epi64(a, first, b));
    store(at + 32, _mm512_permutex2var_epi64(a, second, b));
  }
};

}  // namespace
}  // namespace tome

#include "media/row_kernels_blend.h"

namespace tome {

const RowKernels* avx512_row_kernels() {
  static const RowKernels kernels = [] {
    RowKernels result = *avx2_row_kernels();
    result.name = "avx512";
    result.blend_exact = blend_exact;
    result.blend_wide8 = blend_wide8;
    result.blend_wide10 = blend_wide10;
    return result;
  }();
  return &kernels;
}

}  // namespace tome

#else

namespace tome {
const RowKernels* avx512_row_kernels() { return nullptr; }
}  // namespace tome

#endif
