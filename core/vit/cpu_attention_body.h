// Attention of one head: all scores of a block of queries at once, which fit the second-level cache
// for any length a ViT has, then their softmax, then their products with the values. Included after
// cpu_product_body.h.
#pragma once

#include <limits>

#include "vit/cpu_product_body.h"

namespace tome {
namespace {

constexpr float kLog2E = 1.44269504F;

/// Four steps of four tokens, turned round.
TOME_SIMD inline void turn_4x4(const char* from, int64_t stride, uint32_t* to) {
  __m128 row0 = _mm_loadu_ps(reinterpret_cast<const float*>(from));
  __m128 row1 = _mm_loadu_ps(reinterpret_cast<const float*>(from + stride));
  __m128 row2 = _mm_loadu_ps(reinterpret_cast<const float*>(from + 2 * stride));
  __m128 row3 = _mm_loadu_ps(reinterpret_cast<const float*>(from + 3 * stride));
  _MM_TRANSPOSE4_PS(row0, row1, row2, row3);
  _mm_storeu_ps(reinterpret_cast<float*>(to), row0);
  _mm_storeu_ps(reinterpret_cast<float*>(to + kPanel), row1);
  _mm_storeu_ps(reinterpret_cast<float*>(to + 2 * kPanel), row2);
  _mm_storeu_ps(reinterpret_cast<float*>(to + 3 * kPanel), row3);
}

/// Keys to panels: [tokens / kPanel][steps][kPanel] steps.
template <class E>
TOME_SIMD inline void pack_keys(const HeadArgs& args, uint32_t* to) {
  const int64_t steps = (args.head_dim + E::kPerStep - 1) / E::kPerStep;
  for (int64_t token0 = 0; token0 < args.tokens; token0 += kPanel, to += steps * kPanel) {
    const int64_t count = std::min<int64_t>(kPanel, args.tokens - token0);
    const auto* from = static_cast<const char*>(args.k) + token0 * args.stride;
    const int64_t turned = steps % 4 == 0 ? count / 4 * 4 : 0;
    for (int64_t i = 0; i < turned; i += 4) {
      for (int64_t step = 0; step < steps; step += 4) {
        turn_4x4(from + i * args.stride + step * 4, args.stride, to + step * kPanel + i);
      }
    }
    for (int64_t step = 0; turned < kPanel && step < steps; ++step) {
      for (int64_t i = turned; i < count; ++i) {
        std::memcpy(to + step * kPanel + i, from + i * args.stride + step * 4, 4);
      }
      std::fill(to + step * kPanel + count, to + (step + 1) * kPanel, 0U);
    }
  }
}

/// Values to panels: [head_dim / kPanel][steps of tokens, up to `padded`][kPanel] steps.
template <class E>
TOME_SIMD inline void pack_values(const HeadArgs& args, int64_t padded, typename E::T* to) {
  using T = typename E::T;
  constexpr int kPer = E::kPerStep;
  for (int64_t column0 = 0; column0 < args.head_dim; column0 += kPanel) {
    const int64_t count = std::min<int64_t>(kPanel, args.head_dim - column0);
    for (int64_t token = 0; token < padded; token += kPer, to += kPanel * kPer) {
      const T* rows[kPer];
      for (int p = 0; p < kPer; ++p) {
        rows[p] = reinterpret_cast<const T*>(static_cast<const char*>(args.v) +
                                             (token + p) * args.stride) +
                  column0;
      }
      if (count == kPanel && token + kPer <= args.tokens) {
        for (int64_t c = 0; c < kPanel; ++c) {
          for (int p = 0; p < kPer; ++p) to[c * kPer + p] = rows[p][c];
        }
        continue;
      }
      std::fill_n(to, kPanel * kPer, T(0));
      for (int p = 0; p < kPer && token + p < args.tokens; ++p) {
        for (int64_t c = 0; c < count; ++c) to[c * kPer + p] = rows[p][c];
      }
    }
  }
}

int64_t key_steps_bytes(const HeadArgs& args, int per_step) {
  const int64_t steps = (args.head_dim + per_step - 1) / per_step;
  return (args.tokens + kPanel - 1) / kPanel * kPanel * steps * 4;
}

/// kWhole: values of as many tokens as whole panels have, not as whole steps.
template <class E, bool kWhole = false>
TOME_SIMD void pack_head(const HeadArgs& args) {
  constexpr int64_t kMultiple = kWhole ? kPanel : E::kPerStep;
  auto* packed = static_cast<char*>(args.packed);
  pack_keys<E>(args, reinterpret_cast<uint32_t*>(packed));
  packed += key_steps_bytes(args, E::kPerStep);
  pack_values<E>(args, (args.tokens + kMultiple - 1) / kMultiple * kMultiple,
                 reinterpret_cast<typename E::T*>(packed));
}

/// Scores of kRows queries with all keys, in powers of two, and the largest of each row.
template <class E, int kRows>
TOME_SIMD inline void score_rows(const HeadArgs& args, int64_t row, float* scores, int64_t stride,
                                 float (&largest)[kRows]) {
  const int64_t steps = (args.head_dim + E::kPerStep - 1) / E::kPerStep;
  const F scale = Simd::set(kLog2E / std::sqrt(static_cast<float>(args.head_dim)));
  const auto* q = static_cast<const char*>(args.q) + row * args.stride;
  const auto* k = static_cast<const float*>(args.packed);
  alignas(64) float most[kRows][kWidth];
  for (int i = 0; i < kRows; ++i) {
    Simd::store(most[i], Simd::set(-std::numeric_limits<float>::infinity()));
  }
  for (int64_t token = 0; token < args.tokens; token += kPanel, k += steps * kPanel) {
    F sum[kRows][2];
    accumulate<OfElements<E>, kRows>(q, args.stride, k, steps, sum);
    const F bias0 = Simd::load(args.key_bias + token);
    const F bias1 = Simd::load(args.key_bias + token + kWidth);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const F s0 = Simd::fma(sum[i][0], scale, bias0);
      const F s1 = Simd::fma(sum[i][1], scale, bias1);
      Simd::store(scores + i * stride + token, s0);
      Simd::store(scores + i * stride + token + kWidth, s1);
      Simd::store(most[i], Simd::max(Simd::load(most[i]), Simd::max(s0, s1)));
    }
  }
  for (int i = 0; i < kRows; ++i) largest[i] = Simd::largest(Simd::load(most[i]));
}

/// One row of scores to elements of 2^(score - largest); their sum. Columns from the
/// tokens' end up to `padded` are there and get zeros through the bias of the padding.
template <class E>
TOME_SIMD inline float exponentials(const float* scores, int64_t padded, float largest,
                                    typename E::T* out) {
  const F most = Simd::set(largest);
  F sum0 = Simd::zero();
  F sum1 = Simd::zero();
  for (int64_t i = 0; i < padded; i += kPanel) {
    const F e0 = exp2<E::kExact>(Simd::sub(Simd::load(scores + i), most));
    const F e1 = exp2<E::kExact>(Simd::sub(Simd::load(scores + i + kWidth), most));
    sum0 = Simd::add(sum0, e0);
    sum1 = Simd::add(sum1, e1);
    E::store(out + i, e0);
    E::store(out + i + kWidth, e1);
  }
  return Simd::sum(Simd::add(sum0, sum1));
}

template <class E, int kRows>
TOME_SIMD void attend_block(const HeadArgs& args, void* scratch, int64_t row) {
  using T = typename E::T;
  const int64_t padded = (args.tokens + kPanel - 1) / kPanel * kPanel;
  const int64_t stride =
      padded + kWidth;  // rows at equal places of the cache would displace others
  auto* scores = static_cast<float*>(scratch);
  auto* shares = reinterpret_cast<T*>(scores + kBlockRows * stride);
  float largest[kRows], scale[kRows];
  score_rows<E, kRows>(args, row, scores, stride, largest);
  const int64_t share_stride = stride * 4 / static_cast<int64_t>(sizeof(T));
  for (int i = 0; i < kRows; ++i) {
    scale[i] =
        1 / exponentials<E>(scores + i * stride, padded, largest[i], shares + i * share_stride);
  }
  const auto* v = reinterpret_cast<const float*>(static_cast<const char*>(args.packed) +
                                                 key_steps_bytes(args, E::kPerStep));
  const int64_t steps = (args.tokens + E::kPerStep - 1) / E::kPerStep;
  for (int64_t column = 0; column < args.head_dim; column += kPanel, v += steps * kPanel) {
    F sum[kRows][2];
    accumulate<OfElements<E>, kRows>(reinterpret_cast<const char*>(shares), stride * 4, v, steps,
                                     sum);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const F by = Simd::set(scale[i]);
      T* out =
          reinterpret_cast<T*>(static_cast<char*>(args.out) + (row + i) * args.out_stride) + column;
      const F s0 = Simd::mul(sum[i][0], by);
      const F s1 = Simd::mul(sum[i][1], by);
      store_columns<E>(out, s0, s1, args.head_dim - column);
    }
  }
}

using AttendFunction = void (*)(const HeadArgs&, void*, int64_t);
template <class E, int... kRows>
constexpr std::array<AttendFunction, sizeof...(kRows)> attend_functions(
    std::integer_sequence<int, kRows...>) {
  return {&attend_block<E, kRows + 1>...};
}
template <class E>
constexpr auto kAttendBlocks = attend_functions<E>(std::make_integer_sequence<int, kBlockRows>());

template <class E>
void attend(const HeadArgs& args, void* scratch, int64_t first, int64_t last) {
  const int64_t rows = last - first;
  const int64_t blocks = (rows + kBlockRows - 1) / kBlockRows;
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t row0 = first + rows * block / blocks;
    const int64_t row1 = first + rows * (block + 1) / blocks;
    kAttendBlocks<E>[row1 - row0 - 1](args, scratch, row0);
  }
}

}  // namespace
}  // namespace tome
