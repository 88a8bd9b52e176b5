// Products: see Note [Products on the CPU] in cpu_kernels.h. Included by the sources of one
// instruction set each, after TOME_SIMD, Simd and Element are defined.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>

#include "vit/cpu_kernels.h"

namespace tome {
namespace {

using F = Simd::F;
constexpr int kWidth = Simd::kWidth;
constexpr int kPanel = 2 * kWidth;
constexpr int kBlockRows = Simd::kBlockRows;

/// float32 as the product's element; scores and weights of matching are always this.
struct FloatElement {
  using T = float;
  static constexpr int kPerStep = 1;
  TOME_SIMD static inline F load(const T* at) { return Simd::load(at); }
  TOME_SIMD static inline F load_first(const T* at, int64_t n) { return Simd::load_first(at, n); }
  TOME_SIMD static inline void store(T* at, F v) { Simd::store(at, v); }
  TOME_SIMD static inline void store_first(T* at, F v, int64_t n) { Simd::store_first(at, v, n); }
  TOME_SIMD static inline F dot(F a, F b, F c) { return Simd::fma(a, b, c); }
  static T from_float(float v) { return v; }
  static constexpr bool kExact = true;  ///< exponentials and activations to the last bits
};

template <class P>
TOME_SIMD inline F polynomial(F x, const P& coefficients) {
  F sum = Simd::set(coefficients[std::size(coefficients) - 1]);
#pragma GCC unroll 16
  for (int i = static_cast<int>(std::size(coefficients)) - 2; i >= 0; --i) {
    sum = Simd::fma(sum, x, Simd::set(coefficients[i]));
  }
  return sum;
}

// 2^f for f in [-1/2, 1/2], least squares of the relative error: 2e-7 and 8e-5.
constexpr float kExp2Exact[] = {1.00000012F,   0.693146944F,   0.240221217F,
                                0.0555074252F, 0.00967545994F, 0.0013266971F};
constexpr float kExp2Short[] = {0.999928951F, 0.693276227F, 0.242604047F, 0.055088684F};

/// 2^x
template <bool kExact>
TOME_SIMD inline F exp2(F x) {
  const F whole = Simd::round(x);
  const F rest = Simd::sub(x, whole);
  if constexpr (kExact) return Simd::scale2(polynomial(rest, kExp2Exact), whole);
  return Simd::scale2(polynomial(rest, kExp2Short), whole);
}

// erf(x / sqrt 2) / (2 x) as a polynomial of 2 (x / limit)^2 - 1, fitted (Chebyshev, weighted by
// x^2) on |x| <= limit, beyond which the distribution function is 0 or 1: x times it is within 7e-7
// (4e-5) of GELU up to |x| = 40, and within 2e-8 (4e-6) of |x| further out.
constexpr float kGeluExactLimit = 5.5F;
constexpr float kGeluExact[] = {
    0.12855194509029388F,  -0.06417237222194672F,  0.04773662984371185F,   -0.03879088908433914F,
    0.03208962455391884F,  -0.02607804909348488F,  0.020227011293172836F,  -0.014808589592576027F,
    0.01068436075001955F,  -0.007413507904857397F, 0.0038563935086131096F, -0.0014642790192738175F,
    0.001347638783045113F, -0.001288691652007401F, 0.00043186976108700037F};
constexpr float kGeluShortLimit = 4.5F;
constexpr float kGeluShort[] = {
    0.15690171718597412F,  -0.07717344164848328F,  0.054834555834531784F,
    -0.04055577889084816F, 0.027549006044864655F,  -0.016693804413080215F,
    0.012296034023165703F, -0.009405368007719517F, 0.003358907299116254F};

template <bool kExact>
TOME_SIMD inline F gelu(F x) {
  constexpr float kLimit = kExact ? kGeluExactLimit : kGeluShortLimit;
  const F inside = Simd::max(Simd::min(x, Simd::set(kLimit)), Simd::set(-kLimit));
  const F square =
      Simd::fma(Simd::mul(inside, inside), Simd::set(2 / (kLimit * kLimit)), Simd::set(-1.0F));
  F p;
  if constexpr (kExact) {
    p = polynomial(square, kGeluExact);
  } else {
    p = polynomial(square, kGeluShort);
  }
  return Simd::mul(x, Simd::fma(inside, p, Simd::set(0.5F)));
}

/// x / (1 + e^(-y))
TOME_SIMD inline F times_sigmoid(F x, F y) {
  constexpr float kMinusLog2E = -1.44269504F;
  const F e = exp2<true>(Simd::min(Simd::mul(y, Simd::set(kMinusLog2E)), Simd::set(126.0F)));
  return Simd::div(x, Simd::add(e, Simd::set(1.0F)));
}

template <bool kExact>
TOME_SIMD inline F activated(F x, Activation activation) {
  switch (activation) {
    case Activation::kGelu:
      return gelu<kExact>(x);
    case Activation::kGeluTanh: {  // x sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3))
      const F cube = Simd::mul(Simd::mul(x, x), x);
      const F inner = Simd::fma(cube, Simd::set(0.044715F), x);
      return times_sigmoid(x, Simd::mul(inner, Simd::set(1.59576912F)));
    }
    case Activation::kQuickGelu:
      return times_sigmoid(x, Simd::mul(x, Simd::set(1.702F)));
    case Activation::kRelu:
      return Simd::max(x, Simd::zero());
  }
  return x;
}

/// Where a block's sums go: `columns` of the panel are real.
struct BlockOut {
  const float* bias;
  char* out;
  int64_t stride;
  int64_t columns;
  Activation activation;
  // As in ProductArgs, of this block.
  const ByteRow* byte_rows = nullptr;
  const float *column_scale = nullptr, *column_sum = nullptr;
};

/// Products of elements: how steps are summed, and what such sums are. OfBytes is another.
template <class E>
struct OfElements {
  using Element = E;  ///< what kStore and kAct write
  using Sum = F;
  static constexpr bool kExact = E::kExact;  ///< activations to the last bits of float32
  TOME_SIMD static inline Sum zero() { return Simd::zero(); }
  TOME_SIMD static inline Sum load(const float* at) { return Simd::load(at); }
  TOME_SIMD static inline Sum dot(F a, F b, Sum sum) { return E::dot(a, b, sum); }
  /// @param row  of the block
  /// @param half  of the panel
  TOME_SIMD static inline F number(Sum sum, const BlockOut& /*to*/, int64_t /*row*/, int /*half*/) {
    return sum;
  }
};

/// Steps of a panel that are fetched ahead: 8 KiB, a microsecond's third at full speed. Where few
/// rows share a panel this decides the speed: 28 rows reach 469 in place of 376 GFLOP/s in float32
/// and 923 in place of 598 in bfloat16 (two threads), 197 rows 5 to 8 % more.
constexpr int64_t kAhead = 64;

/// kRows rows times one panel, summed in registers.
template <class P, int kRows>
TOME_SIMD inline void accumulate(const char* a, int64_t a_stride, const float* b, int64_t steps,
                                 typename P::Sum (&sum)[kRows][2]) {
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) sum[i][0] = sum[i][1] = P::zero();
  for (int64_t step = 0; step < steps; ++step) {
    const F b0 = Simd::load(b + step * kPanel);
    const F b1 = Simd::load(b + step * kPanel + kWidth);
    __builtin_prefetch(b + (step + kAhead) * kPanel);
    if constexpr (kPanel * sizeof(float) > 64) {
      __builtin_prefetch(b + (step + kAhead) * kPanel + kWidth);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      float value;
      std::memcpy(&value, a + i * a_stride + step * 4, 4);
      const F wide = Simd::set(value);
      sum[i][0] = P::dot(wide, b0, sum[i][0]);
      sum[i][1] = P::dot(wide, b1, sum[i][1]);
    }
  }
}

/// The first `columns` of a panel's row.
template <class E>
TOME_SIMD inline void store_columns(typename E::T* out, F s0, F s1, int64_t columns) {
  const int64_t n0 = std::min<int64_t>(columns, kWidth);
  const int64_t n1 = std::min<int64_t>(columns - n0, kWidth);
  n0 == kWidth ? E::store(out, s0) : E::store_first(out, s0, n0);
  n1 == kWidth ? E::store(out + kWidth, s1) : E::store_first(out + kWidth, s1, n1);
}

/// @param row  of the block
template <class P, Epilogue kEpilogue>
TOME_SIMD inline void finish_row(typename P::Sum sum0, typename P::Sum sum1, const BlockOut& to,
                                 int64_t row) {
  using E = typename P::Element;
  char* at = to.out + row * to.stride;
  F s0 = P::number(sum0, to, row, 0);
  F s1 = P::number(sum1, to, row, 1);
  s0 = Simd::add(s0, Simd::load(to.bias));
  s1 = Simd::add(s1, Simd::load(to.bias + kWidth));
  if constexpr (kEpilogue == Epilogue::kAdd || kEpilogue == Epilogue::kFloat) {
    auto* out = reinterpret_cast<float*>(at);
    if constexpr (kEpilogue == Epilogue::kAdd) {
      const int64_t n0 = std::min<int64_t>(to.columns, kWidth);
      const int64_t n1 = to.columns - n0;
      s0 = Simd::add(s0, n0 == kWidth ? Simd::load(out) : Simd::load_first(out, n0));
      s1 = Simd::add(s1,
                     n1 == kWidth ? Simd::load(out + kWidth) : Simd::load_first(out + kWidth, n1));
    }
    store_columns<FloatElement>(out, s0, s1, to.columns);
  } else {
    if constexpr (kEpilogue == Epilogue::kAct) {
      s0 = activated<P::kExact>(s0, to.activation);
      s1 = activated<P::kExact>(s1, to.activation);
    }
    store_columns<E>(reinterpret_cast<typename E::T*>(at), s0, s1, to.columns);
  }
}

template <class P, Epilogue kEpilogue, int kRows>
TOME_SIMD void product_block(const char* a, int64_t a_stride, const float* b, int64_t steps,
                             const BlockOut& to) {
  typename P::Sum sum[kRows][2];
  if constexpr (kEpilogue == Epilogue::kAdd || Simd::kFetchesOut) {  // there when the sums are
    for (int i = 0; i < kRows; ++i) {
      __builtin_prefetch(to.out + i * to.stride, 1);
      if constexpr (kPanel * sizeof(float) > 64) {
        __builtin_prefetch(to.out + i * to.stride + 64, 1);
      }
    }
  }
  accumulate<P, kRows>(a, a_stride, b, steps, sum);
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) finish_row<P, kEpilogue>(sum[i][0], sum[i][1], to, i);
}

using BlockFunction = void (*)(const char*, int64_t, const float*, int64_t, const BlockOut&);

/// product_block for 1 to kBlockRows rows.
template <class P, Epilogue kEpilogue, int... kRows>
constexpr std::array<BlockFunction, sizeof...(kRows)> block_functions(
    std::integer_sequence<int, kRows...>) {
  return {&product_block<P, kEpilogue, kRows + 1>...};
}
template <class P, Epilogue kEpilogue>
constexpr auto kBlocks =
    block_functions<P, kEpilogue>(std::make_integer_sequence<int, kBlockRows>());

template <class P>
const BlockFunction* blocks_of(Epilogue epilogue) {
  switch (epilogue) {
    case Epilogue::kStore:
      return kBlocks<P, Epilogue::kStore>.data();
    case Epilogue::kAct:
      return kBlocks<P, Epilogue::kAct>.data();
    case Epilogue::kAdd:
      return kBlocks<P, Epilogue::kAdd>.data();
    case Epilogue::kFloat:
      break;
  }
  return kBlocks<P, Epilogue::kFloat>.data();
}

constexpr float kNoBias[kPanel] = {};

/// What is common to the blocks of a panel, of which `first` is of the inner dimension's beginning.
inline BlockOut panel_out(const ProductArgs& args, int64_t panel, bool first) {
  BlockOut to{first ? args.bias + panel * kPanel : kNoBias, nullptr, args.out_stride,
              std::min<int64_t>(kPanel, args.columns - panel * kPanel), args.activation};
  if (args.byte_rows != nullptr) {
    to.column_scale = args.column_scale + panel * kPanel;
    to.column_sum = first ? args.column_sum + panel * kPanel : kNoBias;
  }
  return to;
}

/// Bytes of a number of the result.
template <class E>
constexpr int64_t out_bytes(Epilogue epilogue) {
  return epilogue == Epilogue::kStore || epilogue == Epilogue::kAct ? sizeof(typename E::T) : 4;
}

inline const ByteRow* byte_rows_from(const ProductArgs& args, int64_t row) {
  return args.byte_rows == nullptr ? nullptr : args.byte_rows + row;
}

/// The products of one panel group: the inner dimension in parts where it is long and sums can be
/// added up in memory, panels, then blocks of rows of nearly equal height.
template <class P>
void product(const ProductArgs& args, int64_t first, int64_t last) {
  const BlockFunction* blocks = blocks_of<P>(args.epilogue);
  const bool parts = args.epilogue == Epilogue::kAdd;
  const int64_t count = parts ? (args.steps + kMostPartSteps - 1) / kMostPartSteps : 1;
  const int64_t row_blocks = (args.rows + kBlockRows - 1) / kBlockRows;
  const int64_t column_bytes = kPanel * out_bytes<typename P::Element>(args.epilogue);
  for (int64_t part = 0; part < count; ++part) {
    const int64_t step0 = args.steps * part / count;
    const int64_t step1 = args.steps * (part + 1) / count;
    for (int64_t panel = first; panel < last; ++panel) {
      const auto* b =
          static_cast<const float*>(args.b) + (panel * args.steps + step0) * int64_t{kPanel};
      BlockOut to = panel_out(args, panel, part == 0);
      for (int64_t block = 0; block < row_blocks; ++block) {
        const int64_t row0 = args.rows * block / row_blocks;
        const int64_t row1 = args.rows * (block + 1) / row_blocks;
        to.out = static_cast<char*>(args.out) + row0 * args.out_stride + panel * column_bytes;
        to.byte_rows = byte_rows_from(args, row0);
        blocks[row1 - row0 - 1](static_cast<const char*>(args.a) + row0 * args.a_stride + step0 * 4,
                                args.a_stride, b, step1 - step0, to);
      }
    }
  }
}

/// The places of a packed weight in turn: f(column, k), column or k past the end where it pads.
template <int kPerStep, class Function>
void for_each_packed(int64_t columns, int64_t inner, Function&& f) {
  const int64_t steps = (inner + kPerStep - 1) / kPerStep;
  for (int64_t column0 = 0; column0 < columns; column0 += kPanel) {
    for (int64_t step = 0; step < steps; ++step) {
      for (int64_t column = column0; column < column0 + kPanel; ++column) {
        for (int64_t k = step * kPerStep; k < (step + 1) * kPerStep; ++k) f(column, k);
      }
    }
  }
}

template <class E>
void pack_weights(const float* weights, const float* row_scale, int64_t columns, int64_t inner,
                  void* packed) {
  auto* to = static_cast<typename E::T*>(packed);
  for_each_packed<E::kPerStep>(columns, inner, [&](int64_t column, int64_t k) {
    const bool real = column < columns && k < inner;
    const float scale = real && row_scale != nullptr ? row_scale[column] : 1.0F;
    *to++ = E::from_float(real ? weights[column * inner + k] * scale : 0.0F);
  });
}

}  // namespace
}  // namespace tome
