// PIL's two passes with AVX-512 VNNI, which multiplies four bytes at a time: three products by the
// digits of a weight give the 22 fractional bits. The rest is AVX-512's.
#include "media/row_kernels.h"

#if defined(__x86_64__)

// GCC 12 takes its own _mm512_undefined_epi32 for an uninitialised variable (GCC bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>

#include <algorithm>
#include <cstring>

#define TOME_SIMD __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))

namespace tome {
namespace {

/// Sums of products with each digit of the weights.
struct DigitSums {
  __m512i by[ExactTaps::kDigits];
};

__attribute__((always_inline)) TOME_SIMD inline DigitSums zero_sums() {
  const __m512i zero = _mm512_setzero_si512();
  return {{zero, zero, zero}};
}

/// The digits of a group of four weights.
struct DigitGroup {
  __m512i by[ExactTaps::kDigits];
};

__attribute__((always_inline)) TOME_SIMD inline DigitGroup load_digits(const int8_t* group) {
  DigitGroup digits;
  for (int d = 0; d < ExactTaps::kDigits; ++d) {
    int32_t four;
    std::memcpy(&four, group + 4 * d, sizeof four);
    digits.by[d] = _mm512_set1_epi32(four);
  }
  return digits;
}

/// Adds four bytes of each 32-bit word times a group of four weights.
__attribute__((always_inline)) TOME_SIMD inline void add_products(DigitSums& sums, __m512i bytes,
                                                                  const DigitGroup& digits) {
  for (int d = 0; d < ExactTaps::kDigits; ++d) {
    sums.by[d] = _mm512_dpbusd_epi32(sums.by[d], bytes, digits.by[d]);
  }
}

/// Rounded, without the fractional bits.
__attribute__((always_inline)) TOME_SIMD inline __m512i whole(const DigitSums& sums) {
  const __m512i upper = _mm512_add_epi32(_mm512_slli_epi32(sums.by[0], 8), sums.by[1]);
  const __m512i sum = _mm512_add_epi32(_mm512_slli_epi32(upper, 8), sums.by[2]);
  const __m512i half = _mm512_set1_epi32(1 << (ExactTaps::kFractionBits - 1));
  return _mm512_srai_epi32(_mm512_add_epi32(sum, half), ExactTaps::kFractionBits);
}

/// Four taps of a packed pixel row: r0 r1 r2 r3 g0 .. g3 b0 .. b3 0 0 0 0, in each lane.
TOME_SIMD __m512i pixel_shuffle(const RgbSource& source) {
  alignas(16) int8_t mask[16];
  std::fill(std::begin(mask), std::end(mask), int8_t{-128});
  for (int tap = 0; tap < 4; ++tap) {
    for (int c = 0; c < 3; ++c) {
      mask[4 * c + tap] = static_cast<int8_t>(tap * source.pixel_bytes + source.offsets[c]);
    }
  }
  return _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(mask)));
}

__attribute__((always_inline)) TOME_SIMD inline __m128i load16(const uint8_t* at) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
}

/// Four rows side by side, one in each lane.
__attribute__((always_inline)) TOME_SIMD inline __m512i load_rows(const uint8_t* const* rows,
                                                                  int64_t offset) {
  static_assert(kRgbRows == 4);
  __m512i all = _mm512_castsi128_si512(load16(rows[0] + offset));
  all = _mm512_inserti32x4(all, load16(rows[1] + offset), 1);
  all = _mm512_inserti32x4(all, load16(rows[2] + offset), 2);
  return _mm512_inserti32x4(all, load16(rows[3] + offset), 3);
}

TOME_SIMD void resize_rgb(const uint8_t* const* rows, const RgbSource& source,
                          const ExactTaps& taps, uint8_t* const* out) {
  const __m512i shuffle = pixel_shuffle(source);
  const int32_t step = ExactTaps::kGroup * source.pixel_bytes;
  for (int32_t i = 0; i < taps.count; ++i) {
    const int8_t* digits = taps.digits_of(i);
    int64_t offset = int64_t{taps.first[i]} * source.pixel_bytes;
    DigitSums sums = zero_sums();
    for (int32_t t = 0; t < taps.used[i]; t += ExactTaps::kGroup) {
      const __m512i pixels = _mm512_shuffle_epi8(load_rows(rows, offset), shuffle);
      add_products(sums, pixels, load_digits(digits));
      digits += ExactTaps::kGroup * ExactTaps::kDigits;
      offset += step;
    }
    const __m512i positive = _mm512_max_epi32(whole(sums), _mm512_setzero_si512());
    alignas(16) int32_t pixels[kRgbRows];
    _mm_store_si128(reinterpret_cast<__m128i*>(pixels), _mm512_cvtusepi32_epi8(positive));
    for (int k = 0; k < kRgbRows; ++k) std::memcpy(out[k] + int64_t{i} * 4, &pixels[k], 4);
  }
}

/// 64 samples of four rows: those of one column in each word, quarter q of each lane in [q].
struct Columns {
  __m512i q[4];
};

__attribute__((always_inline)) TOME_SIMD inline Columns load_columns(const uint8_t* const* rows,
                                                                     int32_t t, int32_t used,
                                                                     int32_t x) {
  __m512i row[4];
  for (int k = 0; k < 4; ++k) {
    // Weights behind the last tap are zero, their rows may not exist: the last row stands in.
    row[k] = _mm512_loadu_si512(rows[std::min(t + k, used - 1)] + x);
  }
  const __m512i low01 = _mm512_unpacklo_epi8(row[0], row[1]);
  const __m512i low23 = _mm512_unpacklo_epi8(row[2], row[3]);
  const __m512i high01 = _mm512_unpackhi_epi8(row[0], row[1]);
  const __m512i high23 = _mm512_unpackhi_epi8(row[2], row[3]);
  return {{_mm512_unpacklo_epi16(low01, low23), _mm512_unpackhi_epi16(low01, low23),
           _mm512_unpacklo_epi16(high01, high23), _mm512_unpackhi_epi16(high01, high23)}};
}

TOME_SIMD void blend_exact(const uint8_t* const* rows, const ExactTaps& taps, int32_t index,
                           int32_t n, uint8_t* out) {
  constexpr int32_t kBytes = 64;
  if (n < kBytes) return portable_row_kernels()->blend_exact(rows, taps, index, n, out);
  const int32_t used = taps.used[index];
  for (int32_t block = 0; block < n; block += kBytes) {
    // The last block overlaps the one before it rather than the end of the row.
    const int32_t x = std::min(block, n - kBytes);
    const int8_t* digits = taps.digits_of(index);
    DigitSums sums[4] = {zero_sums(), zero_sums(), zero_sums(), zero_sums()};
    for (int32_t t = 0; t < used; t += ExactTaps::kGroup) {
      const Columns columns = load_columns(rows, t, used, x);
      const DigitGroup group = load_digits(digits);
      for (int q = 0; q < 4; ++q) add_products(sums[q], columns.q[q], group);
      digits += ExactTaps::kGroup * ExactTaps::kDigits;
    }
    _mm512_storeu_si512(out + x,
                        _mm512_packus_epi16(_mm512_packs_epi32(whole(sums[0]), whole(sums[1])),
                                            _mm512_packs_epi32(whole(sums[2]), whole(sums[3]))));
  }
}

}  // namespace

const RowKernels* vnni_row_kernels() {
  static const RowKernels kernels = [] {
    RowKernels result = *avx512_row_kernels();
    result.name = "vnni";
    result.resize_rgb = resize_rgb;
    result.blend_exact = blend_exact;
    return result;
  }();
  return &kernels;
}

}  // namespace tome

#else

namespace tome {
const RowKernels* vnni_row_kernels() { return nullptr; }
}  // namespace tome

#endif
