// The inner loops for AVX2. FMA is deliberately not used: results equal the portable ones.
#include "media/row_kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define TOME_SIMD __attribute__((target("avx2")))

namespace tome {
namespace {

struct Vec {
  using Int = __m256i;
  static constexpr int32_t kBytes = 32;

  TOME_SIMD static Int load(const void* at) {
    return _mm256_loadu_si256(static_cast<const __m256i*>(at));
  }
  TOME_SIMD static void store(void* at, Int v) {
    _mm256_storeu_si256(static_cast<__m256i*>(at), v);
  }
  TOME_SIMD static Int set(int32_t v) { return _mm256_set1_epi32(v); }
  TOME_SIMD static Int add32(Int a, Int b) { return _mm256_add_epi32(a, b); }
  TOME_SIMD static Int multiply_add(Int a, Int b) { return _mm256_madd_epi16(a, b); }
  TOME_SIMD static Int unpack_low8(Int a, Int b) { return _mm256_unpacklo_epi8(a, b); }
  TOME_SIMD static Int unpack_high8(Int a, Int b) { return _mm256_unpackhi_epi8(a, b); }
  TOME_SIMD static Int unpack_low16(Int a, Int b) { return _mm256_unpacklo_epi16(a, b); }
  TOME_SIMD static Int unpack_high16(Int a, Int b) { return _mm256_unpackhi_epi16(a, b); }
  TOME_SIMD static Int pack32(Int a, Int b) { return _mm256_packs_epi32(a, b); }
  TOME_SIMD static Int pack_unsigned16(Int a, Int b) { return _mm256_packus_epi16(a, b); }
  template <int kBits>
  TOME_SIMD static Int shift_left32(Int v) {
    return _mm256_slli_epi32(v, kBits);
  }
  template <int kBits>
  TOME_SIMD static Int shift_right32(Int v) {
    return _mm256_srai_epi32(v, kBits);
  }
  template <int kBits>
  TOME_SIMD static Int shift_right16(Int v) {
    return _mm256_srli_epi16(v, kBits);
  }
  /// Lanes a0 b0 a1 b1.
  TOME_SIMD static void store_lanes_interleaved(int16_t* at, Int a, Int b) {
    store(at, _mm256_permute2x128_si256(a, b, 0x20));
    store(at + 16, _mm256_permute2x128_si256(a, b, 0x31));
  }
};

}  // namespace
}  // namespace tome

#include "media/row_kernels_blend.h"

namespace tome {
namespace {

// Four taps of a packed pixel row as 16-bit pairs: lane 0 gets r0 r1 g0 g1 b0 b1 0 0, lane 1 the
// same of taps 2 and 3.
TOME_SIMD __m256i pixel_shuffle(const RgbSource& source) {
  alignas(32) int8_t mask[32];
  std::fill(std::begin(mask), std::end(mask), int8_t{-128});
  for (int tap = 0; tap < 4; ++tap) {
    for (int c = 0; c < 3; ++c) {
      mask[tap / 2 * 16 + (c * 2 + tap % 2) * 2] =
          static_cast<int8_t>(tap * source.pixel_bytes + source.offsets[c]);
    }
  }
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(mask));
}

// Four rows side by side share each group of weights. Inlined by force: the masks stay in
// registers.
__attribute__((always_inline)) TOME_SIMD inline __m128i rgb_output(const uint8_t* const* rows,
                                                                   int64_t offset, int32_t step,
                                                                   const int16_t* halves,
                                                                   int32_t groups,
                                                                   __m256i shuffle) {
  const __m256i pick_high = _mm256_setr_epi8(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3,  //
                                             4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7);
  const __m256i pick_low = _mm256_add_epi8(pick_high, _mm256_set1_epi8(8));
  __m256i high[kRgbRows], low[kRgbRows];
  for (int k = 0; k < kRgbRows; ++k) high[k] = low[k] = _mm256_setzero_si256();
  for (int32_t g = 0; g < groups; ++g, offset += step, halves += 8) {
    const __m256i weights =
        _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(halves)));
    const __m256i by_high = _mm256_shuffle_epi8(weights, pick_high);
    const __m256i by_low = _mm256_shuffle_epi8(weights, pick_low);
    for (int k = 0; k < kRgbRows; ++k) {
      const __m256i pixels = _mm256_shuffle_epi8(
          _mm256_broadcastsi128_si256(
              _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[k] + offset))),
          shuffle);
      high[k] = _mm256_add_epi32(high[k], _mm256_madd_epi16(pixels, by_high));
      low[k] = _mm256_add_epi32(low[k], _mm256_madd_epi16(pixels, by_low));
    }
  }
  __m128i sum[kRgbRows];
  for (int k = 0; k < kRgbRows; ++k) {
    const __m256i both = _mm256_add_epi32(_mm256_slli_epi32(high[k], 8), low[k]);
    const __m128i four =
        _mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
    sum[k] =
        _mm_srai_epi32(_mm_add_epi32(four, _mm_set1_epi32(1 << (ExactTaps::kFractionBits - 1))),
                       ExactTaps::kFractionBits);
  }
  return _mm_packus_epi16(_mm_packs_epi32(sum[0], sum[1]), _mm_packs_epi32(sum[2], sum[3]));
}

TOME_SIMD void resize_rgb(const uint8_t* const* rows, const RgbSource& source,
                          const ExactTaps& taps, uint8_t* const* out) {
  const __m256i shuffle = pixel_shuffle(source);
  for (int32_t i = 0; i < taps.count; ++i) {
    const int32_t groups = (taps.used[i] + ExactTaps::kGroup - 1) / ExactTaps::kGroup;
    const __m128i pixels = rgb_output(
        rows, int64_t{taps.first[i]} * source.pixel_bytes, ExactTaps::kGroup * source.pixel_bytes,
        taps.halves.data() + int64_t{i} * taps.length * 2, groups, shuffle);
    alignas(16) int32_t four[kRgbRows];
    _mm_store_si128(reinterpret_cast<__m128i*>(four), pixels);
    for (int k = 0; k < kRgbRows; ++k) std::memcpy(out[k] + int64_t{i} * 4, &four[k], 4);
  }
}

// Eight partial sums of output i; kGroups groups of taps, weights behind the last are zero.
template <int kGroups>
TOME_SIMD inline __m256i wide_output(const int16_t* row, const WideTaps& taps, int32_t i) {
  const int16_t* samples = row + taps.first[i];
  const int16_t* weights = taps.weights.data() + int64_t{i} * (kGroups * WideTaps::kGroup);
  __m256i sum = _mm256_madd_epi16(Vec::load(samples), Vec::load(weights));
  for (int g = 1; g < kGroups; ++g) {
    const int t = g * WideTaps::kGroup;
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(Vec::load(samples + t), Vec::load(weights + t)));
  }
  return sum;
}

template <int kGroups>
TOME_SIMD void resize_wide_groups(const int16_t* row, const WideTaps& taps, int16_t* out) {
  const __m256i half = _mm256_set1_epi32(1 << (WideTaps::kFractionBits - 1));
  for (int32_t block = 0; block < taps.count; block += 8) {
    const int32_t i = std::min(block, taps.count - 8);
    __m256i four[2];
    for (int k = 0; k < 2; ++k) {
      const int32_t at = i + 4 * k;
      four[k] = _mm256_hadd_epi32(_mm256_hadd_epi32(wide_output<kGroups>(row, taps, at),
                                                    wide_output<kGroups>(row, taps, at + 1)),
                                  _mm256_hadd_epi32(wide_output<kGroups>(row, taps, at + 2),
                                                    wide_output<kGroups>(row, taps, at + 3)));
    }
    const __m256i sum = _mm256_add_epi32(_mm256_permute2x128_si256(four[0], four[1], 0x20),
                                         _mm256_permute2x128_si256(four[0], four[1], 0x31));
    const __m256i wide = _mm256_srai_epi32(_mm256_add_epi32(sum, half), WideTaps::kFractionBits);
    _mm_storeu_si128(
        reinterpret_cast<__m128i*>(out + i),
        _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1)));
  }
}

void resize_wide(const int16_t* row, const WideTaps& taps, int16_t* out) {
  static_assert(WideTaps::kGroup == 16);
  const int32_t groups = taps.length / WideTaps::kGroup;
  if (taps.count < 8 || groups > 6) return portable_row_kernels()->resize_wide(row, taps, out);
  constexpr decltype(&resize_wide) by_groups[] = {resize_wide_groups<1>, resize_wide_groups<2>,
                                                  resize_wide_groups<3>, resize_wide_groups<4>,
                                                  resize_wide_groups<5>, resize_wide_groups<6>};
  by_groups[groups - 1](row, taps, out);
}

TOME_SIMD void split_pairs(const int16_t* pairs, int32_t n, int16_t* even, int16_t* odd) {
  if (n < 16) return portable_row_kernels()->split_pairs(pairs, n, even, odd);
  for (int32_t block = 0; block < n; block += 16) {
    const int32_t i = std::min(block, n - 16);
    const __m256i a = Vec::load(pairs + 2 * i), b = Vec::load(pairs + 2 * i + 16);
    const __m256i low = _mm256_packs_epi32(_mm256_srai_epi32(_mm256_slli_epi32(a, 16), 16),
                                           _mm256_srai_epi32(_mm256_slli_epi32(b, 16), 16));
    const __m256i high = _mm256_packs_epi32(_mm256_srai_epi32(a, 16), _mm256_srai_epi32(b, 16));
    Vec::store(even + i, _mm256_permute4x64_epi64(low, 0xD8));
    Vec::store(odd + i, _mm256_permute4x64_epi64(high, 0xD8));
  }
}

TOME_SIMD inline void store_normalised(__m256 value, const Normalisation& by, int channel,
                                       float* out) {
  _mm256_storeu_ps(out, _mm256_mul_ps(_mm256_sub_ps(value, _mm256_set1_ps(by.mean[channel])),
                                      _mm256_set1_ps(by.scale[channel])));
}

TOME_SIMD inline __m256 wide_to_float(const int16_t* samples, int32_t zero) {
  const __m256i wide =
      _mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(samples)));
  return _mm256_cvtepi32_ps(_mm256_sub_epi32(wide, _mm256_set1_epi32(zero)));
}

TOME_SIMD void yuv_to_float(const int16_t* y, const int16_t* u, const int16_t* v, int32_t n,
                            const ColourMatrix& matrix, const Normalisation& normalisation,
                            float* const* out) {
  if (n < 8) {
    return portable_row_kernels()->yuv_to_float(y, u, v, n, matrix, normalisation, out);
  }
  const __m256 least = _mm256_setzero_ps(), most = _mm256_set1_ps(255.0F);
  for (int32_t block = 0; block < n; block += 8) {
    const int32_t i = std::min(block, n - 8);
    const __m256 luma =
        _mm256_mul_ps(_mm256_set1_ps(matrix.luma), wide_to_float(y + i, matrix.black));
    const __m256 cb = wide_to_float(u + i, matrix.centre);
    const __m256 cr = wide_to_float(v + i, matrix.centre);
    const __m256 rgb[3] = {
        _mm256_add_ps(luma, _mm256_mul_ps(_mm256_set1_ps(matrix.red_v), cr)),
        _mm256_add_ps(_mm256_add_ps(luma, _mm256_mul_ps(_mm256_set1_ps(matrix.green_u), cb)),
                      _mm256_mul_ps(_mm256_set1_ps(matrix.green_v), cr)),
        _mm256_add_ps(luma, _mm256_mul_ps(_mm256_set1_ps(matrix.blue_u), cb))};
    for (int c = 0; c < 3; ++c) {
      store_normalised(_mm256_min_ps(_mm256_max_ps(rgb[c], least), most), normalisation, c,
                       out[c] + i);
    }
  }
}

TOME_SIMD void rgb_to_float(const uint8_t* pixels, int32_t n, const Normalisation& normalisation,
                            float* const* out) {
  if (n < 8) return portable_row_kernels()->rgb_to_float(pixels, n, normalisation, out);
  const __m256i byte = _mm256_set1_epi32(255);
  for (int32_t block = 0; block < n; block += 8) {
    const int32_t i = std::min(block, n - 8);
    const __m256i eight = Vec::load(pixels + int64_t{i} * 4);
    const __m256i rgb[3] = {_mm256_and_si256(eight, byte),
                            _mm256_and_si256(_mm256_srli_epi32(eight, 8), byte),
                            _mm256_and_si256(_mm256_srli_epi32(eight, 16), byte)};
    for (int c = 0; c < 3; ++c) {
      store_normalised(_mm256_cvtepi32_ps(rgb[c]), normalisation, c, out[c] + i);
    }
  }
}

constexpr RowKernels kAvx2 = {"avx2",      resize_rgb,  blend_exact,  blend_wide8, blend_wide10,
                              split_pairs, resize_wide, yuv_to_float, rgb_to_float};

}  // namespace

const RowKernels* avx2_row_kernels() { return &kAvx2; }

}  // namespace tome

#else

namespace tome {
const RowKernels* avx2_row_kernels() { return nullptr; }
}  // namespace tome

#endif
