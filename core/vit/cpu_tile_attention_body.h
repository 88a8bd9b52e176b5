// Attention of one head by tiles, from keys and values that are packed as cpu_attention_body.h has
// it. Included after that and cpu_tile_product_body.h.
//
// Note [Attention by tiles]: scores of 32 queries and one panel of keys leave the tiles, and become
// exponentials at once, while they are in the first-level cache; only those are kept, as elements,
// for their product with the values. So the largest score of a row is not known when the first
// exponentials are taken: they are powers of the distance to the largest of the first panel, which
// is as good, since one of them is 1 and float32 and bfloat16 have room above. Scores that lie
// further above than kMostAbove, which no trained model has, make the row begin again from what
// they are.
#pragma once

#include "vit/cpu_attention_body.h"
#include "vit/cpu_tile_product_body.h"

namespace tome {
namespace {

/// In powers of two: the sum of 2^20 such exponentials times values of up to 2^40 is a float32.
constexpr float kMostAbove = 64;

/// Scores of one block of queries to exponentials, panel after panel of keys.
template <class E>
class Exponentials {
 public:
  using T = typename E::T;

  /// @param scale  of the sums q k, to powers of two
  /// @param bias  of each key, padded to panels
  /// @param shares  [rows, stride], to be written
  TOME_SIMD inline void begin(int64_t rows, float scale, const float* bias, T* shares,
                              int64_t stride) {
    rows_ = row_ = rows;
    scale_ = scale;
    bias_ = bias;
    shares_ = shares;
    stride_ = stride;
    std::memset(sums_, 0, sizeof(sums_));
  }

  /// The panel that comes next.
  /// @param scores  sums q k [rows, kPanel]
  /// @param tiles  of steps, in whose time they have to be done
  void begin_panel(const float* scores, int64_t panel, int64_t tiles) {
    scores_ = scores;
    panel_ = panel;
    row_ = 0;
    at_once_ = (rows_ + tiles - 1) / std::max<int64_t>(tiles, 1);
  }
  /// A tile's share of it.
  TOME_SIMD inline void some() { until(std::min(rows_, row_ + at_once_)); }
  TOME_SIMD inline void rest() { until(rows_); }

  /// Of all panels.
  TOME_SIMD inline float sum(int64_t row) const {
    return Simd::sum(Simd::add(Simd::load(sums_[row][0]), Simd::load(sums_[row][1])));
  }

 private:
  TOME_SIMD inline void until(int64_t end) {
    if (row_ >= end) return;
    const F scale = Simd::set(scale_);
    const F limit = Simd::set(kMostAbove);
    const F bias0 = Simd::load(bias_ + panel_ * kPanel);
    const F bias1 = Simd::load(bias_ + panel_ * kPanel + kWidth);
    for (; row_ < end; ++row_) {
      const float* scores = scores_ + row_ * kPanel;
      const F s0 = Simd::fma(Simd::load(scores), scale, bias0);
      const F s1 = Simd::fma(Simd::load(scores + kWidth), scale, bias1);
      if (panel_ == 0) base_[row_] = Simd::largest(Simd::max(s0, s1));
      const F base = Simd::set(base_[row_]);
      F above0 = Simd::sub(s0, base);
      F above1 = Simd::sub(s1, base);
      if (Simd::any_above(Simd::max(above0, above1), limit)) {
        const float rise = Simd::largest(Simd::max(above0, above1));
        raise_base(rise);
        above0 = Simd::sub(above0, Simd::set(rise));
        above1 = Simd::sub(above1, Simd::set(rise));
      }
      const F e0 = exp2<E::kExact>(above0);
      const F e1 = exp2<E::kExact>(above1);
      float(*sums)[kWidth] = sums_[row_];
      Simd::store(sums[0], Simd::add(Simd::load(sums[0]), e0));
      Simd::store(sums[1], Simd::add(Simd::load(sums[1]), e1));
      T* out = shares_ + row_ * stride_ + panel_ * kPanel;
      E::store(out, e0);
      E::store(out + kWidth, e1);
    }
  }

  /// What the present row has so far, as powers of the distance to a score that lies `rise` higher.
  TOME_SIMD __attribute__((noinline)) void raise_base(float rise) {
    const F by = exp2<true>(Simd::set(-rise));
    T* shares = shares_ + row_ * stride_;
    for (int64_t i = 0; i < panel_ * kPanel; i += kWidth) {
      E::store(shares + i, Simd::mul(E::load(shares + i), by));
    }
    for (float* sums : {sums_[row_][0], sums_[row_][1]}) {
      Simd::store(sums, Simd::mul(Simd::load(sums), by));
    }
    base_[row_] += rise;
  }

  const float *scores_ = nullptr, *bias_ = nullptr;
  T* shares_ = nullptr;
  float scale_ = 1;
  int64_t rows_ = 0, row_ = 0, at_once_ = 0, panel_ = 0, stride_ = 0;
  alignas(64) float sums_[kTileBlockRows][2][kWidth];
  float base_[kTileBlockRows];
};

template <class E>
class HeadByTiles {
 public:
  using T = typename E::T;

  TOME_SIMD inline HeadByTiles(const HeadArgs& args, void* scratch)
      : args_(args),
        shares_(static_cast<T*>(scratch)),
        panels_((args.tokens + kPanel - 1) / kPanel),
        stride_(panels_ * kPanel + kTileBytes / static_cast<int64_t>(sizeof(T))) {}

  TOME_SIMD inline void attend(int64_t first, int64_t last) {
    for (int64_t row = first; row < last; row += kTileBlockRows) {
      const int64_t rows = std::min<int64_t>(kTileBlockRows, last - row);
      score(row, rows);
      sum_values(row, rows);
    }
  }

 private:
  TOME_SIMD inline void score(int64_t row, int64_t rows) {
    const auto* q = static_cast<const char*>(args_.q) + row * args_.stride;
    const auto* k = static_cast<const char*>(args_.packed);
    const int64_t steps = (args_.head_dim + E::kPerStep - 1) / E::kPerStep;
    exponentials_.begin(rows, kLog2E / std::sqrt(static_cast<float>(args_.head_dim)),
                        args_.key_bias, shares_, stride_);
    for (int64_t panel = 0; panel < panels_; ++panel, k += steps * kPanelBytes) {
      float* scores = sums_[panel % 2];
      unit_.sum(q, args_.stride, rows, k, steps, scores, kPanelBytes,
                [&]() TOME_SIMD { exponentials_.some(); });
      exponentials_.rest();
      exponentials_.begin_panel(scores, panel, steps / kTileSteps);
    }
    exponentials_.rest();
  }

  TOME_SIMD inline void sum_values(int64_t row, int64_t rows) {
    const auto* v = static_cast<const char*>(args_.packed) + key_steps_bytes(args_, E::kPerStep);
    const int64_t steps = panels_ * kPanel / E::kPerStep;
    float by[kTileBlockRows];
    for (int64_t i = 0; i < rows; ++i) by[i] = 1 / exponentials_.sum(i);
    for (int64_t column = 0; column < args_.head_dim; column += kPanel, v += steps * kPanelBytes) {
      unit_.sum(reinterpret_cast<const char*>(shares_), stride_ * static_cast<int64_t>(sizeof(T)),
                rows, v, steps, sums_[0], kPanelBytes, []() TOME_SIMD {});
      for (int64_t i = 0; i < rows; ++i) {
        T* out =
            reinterpret_cast<T*>(static_cast<char*>(args_.out) + (row + i) * args_.out_stride) +
            column;
        const float* sums = sums_[0] + i * kPanel;
        const F s0 = Simd::mul(Simd::load(sums), Simd::set(by[i]));
        const F s1 = Simd::mul(Simd::load(sums + kWidth), Simd::set(by[i]));
        store_columns<E>(out, s0, s1, args_.head_dim - column);
      }
    }
  }

  const HeadArgs& args_;
  T* shares_;
  int64_t panels_;  ///< of keys
  /// Numbers in a row of shares, with a cache line to spare: see attend_block.
  int64_t stride_;
  TileUnit<PairTiles> unit_;
  Exponentials<E> exponentials_;
  alignas(64) float sums_[2][kTileBlockRows * kPanel];
};

template <class E>
TOME_SIMD void tile_attend(const HeadArgs& args, void* scratch, int64_t first, int64_t last) {
  HeadByTiles<E>(args, scratch).attend(first, last);
}

}  // namespace
}  // namespace tome
