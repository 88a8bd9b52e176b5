// The vertical passes, written once for x86 vectors of any width.
//
// For the files row_kernels_avx*.cpp alone, which define TOME_SIMD, the attribute that lets a
// function use the instruction set, and `Vec`, the vector: kBytes, Int, and thin names for its
// instructions. All of them work within lanes of 16 bytes. Everything here is in an unnamed
// namespace, so that each file gets functions of its own.
#pragma once

#include <algorithm>
#include <cstring>

#include "media/row_kernels.h"

namespace tome {
namespace {

/// Two neighbouring 16-bit weights, repeated: what multiplies a pair of rows.
TOME_SIMD inline Vec::Int weight_pair(const int16_t* weights) {
  int32_t pair;
  std::memcpy(&pair, weights, sizeof pair);
  return Vec::set(pair);
}

/// kBytes samples of two rows, interleaved and widened to 16 bits: quarter q of each lane in [q].
struct Quarters {
  Vec::Int q[4];
};

TOME_SIMD inline Quarters interleave(const uint8_t* a, const uint8_t* b) {
  const Vec::Int va = Vec::load(a), vb = Vec::load(b), zero = Vec::set(0);
  const Vec::Int low = Vec::unpack_low8(va, vb), high = Vec::unpack_high8(va, vb);
  return {{Vec::unpack_low8(low, zero), Vec::unpack_high8(low, zero), Vec::unpack_low8(high, zero),
           Vec::unpack_high8(high, zero)}};
}

/// The weight behind the last tap is zero, its row may not exist: the last row stands in.
inline int32_t partner(int32_t tap, int32_t used) { return std::min(tap + 1, used - 1); }

TOME_SIMD inline void blend_exact_block(const uint8_t* const* rows, const int16_t* halves,
                                        int32_t used, int32_t x, uint8_t* out) {
  const Vec::Int zero = Vec::set(0);
  Vec::Int high[4] = {zero, zero, zero, zero};
  Vec::Int low[4];
  for (auto& sum : low) sum = Vec::set(1 << (ExactTaps::kFractionBits - 1));
  for (int32_t t = 0; t < used; t += 2) {
    const Quarters pixels = interleave(rows[t] + x, rows[partner(t, used)] + x);
    const int16_t* weights = halves + t / 4 * 8 + t % 4;
    const Vec::Int by_high = weight_pair(weights), by_low = weight_pair(weights + 4);
    for (int q = 0; q < 4; ++q) {
      high[q] = Vec::add32(high[q], Vec::multiply_add(pixels.q[q], by_high));
      low[q] = Vec::add32(low[q], Vec::multiply_add(pixels.q[q], by_low));
    }
  }
  Vec::Int sum[4];
  for (int q = 0; q < 4; ++q) {
    sum[q] = Vec::shift_right32<ExactTaps::kFractionBits>(
        Vec::add32(Vec::shift_left32<8>(high[q]), low[q]));
  }
  Vec::store(out + x,
             Vec::pack_unsigned16(Vec::pack32(sum[0], sum[1]), Vec::pack32(sum[2], sum[3])));
}

TOME_SIMD void blend_exact(const uint8_t* const* rows, const ExactTaps& taps, int32_t index,
                           int32_t n, uint8_t* out) {
  if (n < Vec::kBytes) return portable_row_kernels()->blend_exact(rows, taps, index, n, out);
  const int16_t* halves = taps.halves.data() + int64_t{index} * taps.length * 2;
  for (int32_t x = 0; x < n; x += Vec::kBytes) {
    // The last block overlaps the one before it rather than the end of the row.
    blend_exact_block(rows, halves, taps.used[index], std::min(x, n - Vec::kBytes), out);
  }
}

TOME_SIMD inline void add_products(Vec::Int (&sum)[4], const Quarters& samples, Vec::Int by) {
  for (int q = 0; q < 4; ++q) {
    sum[q] = Vec::add32(sum[q], Vec::multiply_add(samples.q[q], by));
  }
}

TOME_SIMD void blend_wide8(const uint8_t* rows, int64_t stride, const WideTaps& taps, int32_t index,
                           int32_t n, int16_t* out) {
  if (n < Vec::kBytes) {
    return portable_row_kernels()->blend_wide8(rows, stride, taps, index, n, out);
  }
  constexpr int shift = WideTaps::kFractionBits - kWideFractionBits;
  const int16_t* weights = taps.weights.data() + int64_t{index} * taps.length;
  const int32_t used = taps.used[index];
  const uint8_t* top = rows + taps.first[index] * stride;
  const Vec::Int half = Vec::set(1 << (shift - 1));
  for (int32_t block = 0; block < n; block += Vec::kBytes) {
    const int32_t x = std::min(block, n - Vec::kBytes);
    Vec::Int sum[4] = {half, half, half, half};
    const uint8_t* row = top + x;
    int32_t t = 0;
    for (; t + 1 < used; t += 2, row += 2 * stride) {
      add_products(sum, interleave(row, row + stride), weight_pair(weights + t));
    }
    if (t < used) add_products(sum, interleave(row, row), weight_pair(weights + t));
    for (auto& s : sum) s = Vec::shift_right32<shift>(s);
    Vec::store_lanes_interleaved(out + x, Vec::pack32(sum[0], sum[1]), Vec::pack32(sum[2], sum[3]));
  }
}

TOME_SIMD void blend_wide10(const uint8_t* rows, int64_t stride, const WideTaps& taps,
                            int32_t index, int32_t n, int16_t* out) {
  constexpr int32_t kSamples = Vec::kBytes / 2;
  if (n < kSamples) {
    return portable_row_kernels()->blend_wide10(rows, stride, taps, index, n, out);
  }
  constexpr int shift = WideTaps::kFractionBits - kWideFractionBits + 2;
  const int16_t* weights = taps.weights.data() + int64_t{index} * taps.length;
  const int32_t used = taps.used[index];
  const uint8_t* top = rows + taps.first[index] * stride;
  const Vec::Int half = Vec::set(1 << (shift - 1));
  for (int32_t block = 0; block < n; block += kSamples) {
    const int32_t x = std::min(block, n - kSamples);
    Vec::Int low = half, high = half;
    for (int32_t t = 0; t < used; t += 2) {
      const uint8_t* row = top + int64_t{x} * 2;
      const Vec::Int a = Vec::shift_right16<6>(Vec::load(row + t * stride));
      const Vec::Int b = Vec::shift_right16<6>(Vec::load(row + partner(t, used) * stride));
      const Vec::Int by = weight_pair(weights + t);
      low = Vec::add32(low, Vec::multiply_add(Vec::unpack_low16(a, b), by));
      high = Vec::add32(high, Vec::multiply_add(Vec::unpack_high16(a, b), by));
    }
    Vec::store(out + x,
               Vec::pack32(Vec::shift_right32<shift>(low), Vec::shift_right32<shift>(high)));
  }
}

}  // namespace
}  // namespace tome
