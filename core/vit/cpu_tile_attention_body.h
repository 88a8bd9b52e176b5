// Attention of one head by tiles, as cpu_attention_body.h does it by vectors: keys and values are
// packed the same way. Included after that and cpu_tile_product_body.h.
#pragma once

#include "vit/cpu_attention_body.h"
#include "vit/cpu_tile_product_body.h"

namespace tome {
namespace {

/// The largest of a row of scores, in powers of two.
TOME_SIMD inline float largest_score(const float* sums, const float* bias, F scale,
                                     int64_t padded) {
  F most0 = Simd::set(-std::numeric_limits<float>::infinity());
  F most1 = most0;
  for (int64_t i = 0; i < padded; i += kPanel) {
    most0 = Simd::max(most0, Simd::fma(Simd::load(sums + i), scale, Simd::load(bias + i)));
    most1 = Simd::max(
        most1, Simd::fma(Simd::load(sums + i + kWidth), scale, Simd::load(bias + i + kWidth)));
  }
  return Simd::largest(Simd::max(most0, most1));
}

/// A row of sums q k to elements of 2^(score - largest); the sum of these.
template <class E>
TOME_SIMD inline float score_exponentials(const float* sums, const float* bias, F scale,
                                          int64_t padded, typename E::T* out) {
  const F most = Simd::set(largest_score(sums, bias, scale, padded));
  const auto exponential = [&](int64_t i) TOME_SIMD {
    const F score = Simd::fma(Simd::load(sums + i), scale, Simd::load(bias + i));
    const F e = exp2<E::kExact>(Simd::sub(score, most));
    E::store(out + i, e);
    return e;
  };
  F sum0 = Simd::zero();
  F sum1 = Simd::zero();
  for (int64_t i = 0; i < padded; i += kPanel) {
    sum0 = Simd::add(sum0, exponential(i));
    sum1 = Simd::add(sum1, exponential(i + kWidth));
  }
  return Simd::sum(Simd::add(sum0, sum1));
}

/// One block of queries.
template <class E>
TOME_SIMD inline void tile_attend_block(TileUnit& unit, const HeadArgs& args, void* scratch,
                                        int64_t row, int64_t rows) {
  using T = typename E::T;
  const auto idle = []() TOME_SIMD {};
  const int64_t padded = (args.tokens + kPanel - 1) / kPanel * kPanel;
  const int64_t stride = padded + kWidth;  // as attend_block
  auto* scores = static_cast<float*>(scratch);
  auto* shares = reinterpret_cast<T*>(scores + kTileBlockRows * stride);
  const int64_t share_stride = stride * 4 / static_cast<int64_t>(sizeof(T));

  const auto* q = static_cast<const char*>(args.q) + row * args.stride;
  const auto* k = static_cast<const char*>(args.packed);
  const int64_t head_steps = (args.head_dim + E::kPerStep - 1) / E::kPerStep;
  for (int64_t token = 0; token < args.tokens; token += kPanel, k += head_steps * kPanelBytes) {
    unit.sum(q, args.stride, rows, k, head_steps, scores + token, stride * 4, idle);
  }

  const F scale = Simd::set(kLog2E / std::sqrt(static_cast<float>(args.head_dim)));
  alignas(64) float by[kTileBlockRows];
  for (int64_t i = 0; i < rows; ++i) {
    by[i] = 1 / score_exponentials<E>(scores + i * stride, args.key_bias, scale, padded,
                                      shares + i * share_stride);
  }

  const auto* v = static_cast<const char*>(args.packed) + key_steps_bytes(args, E::kPerStep);
  const int64_t steps = padded / E::kPerStep;
  alignas(64) float sums[kTileBlockRows * kPanel];
  for (int64_t column = 0; column < args.head_dim; column += kPanel, v += steps * kPanelBytes) {
    unit.sum(reinterpret_cast<const char*>(shares), stride * 4, rows, v, steps, sums, kPanelBytes,
             idle);
    const int64_t n0 = std::min<int64_t>(args.head_dim - column, kWidth);
    const int64_t n1 = std::min<int64_t>(args.head_dim - column - n0, kWidth);
    for (int64_t i = 0; i < rows; ++i) {
      T* out =
          reinterpret_cast<T*>(static_cast<char*>(args.out) + (row + i) * args.out_stride) + column;
      const F s0 = Simd::mul(Simd::load(sums + i * kPanel), Simd::set(by[i]));
      const F s1 = Simd::mul(Simd::load(sums + i * kPanel + kWidth), Simd::set(by[i]));
      n0 == kWidth ? E::store(out, s0) : E::store_first(out, s0, n0);
      n1 == kWidth ? E::store(out + kWidth, s1) : E::store_first(out + kWidth, s1, n1);
    }
  }
}

template <class E>
TOME_SIMD void tile_attend(const HeadArgs& args, void* scratch, int64_t first, int64_t last) {
  TileUnit unit;
  for (int64_t row = first; row < last; row += kTileBlockRows) {
    tile_attend_block<E>(unit, args, scratch, row, std::min<int64_t>(kTileBlockRows, last - row));
  }
}

/// The best set for this instruction set, with tiles where they do better.
template <class E>
CpuKernels tile_kernels_of(const char* name) {
  CpuKernels kernels = kernels_of<E>(name);
  kernels.block_rows = kTileBlockRows;
  kernels.product = tile_product<E>;
  kernels.pack_head = pack_head<E, true>;
  kernels.attend = tile_attend<E>;
  return kernels;
}

}  // namespace
}  // namespace tome
