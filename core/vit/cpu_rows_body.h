// Passes over rows of tokens: LayerNorm, merging, and the search for partners. Included after
// cpu_product_body.h.
#pragma once

#include <limits>

#include "vit/cpu_product_body.h"

namespace tome {
namespace {

/// LayerNorm of a row whose length is a whole number of vectors but for its end.
template <class E>
TOME_SIMD inline void normalise_row(const float* x, const NormArgs& args, typename E::T* out) {
  const int64_t dim = args.dim;
  const int64_t whole = dim / kWidth * kWidth;
  const int64_t rest = dim - whole;
  F sum = Simd::zero();
  F other = Simd::zero();
  int64_t i = 0;
  for (; i + kPanel <= whole; i += kPanel) {
    sum = Simd::add(sum, Simd::load(x + i));
    other = Simd::add(other, Simd::load(x + i + kWidth));
  }
  for (; i < whole; i += kWidth) sum = Simd::add(sum, Simd::load(x + i));
  if (rest > 0) sum = Simd::add(sum, Simd::load_first(x + whole, rest));
  const float mean = Simd::sum(Simd::add(sum, other)) / static_cast<float>(dim);
  const F centre = Simd::set(mean);
  sum = other = Simd::zero();
  for (i = 0; i + kPanel <= whole; i += kPanel) {
    const F d0 = Simd::sub(Simd::load(x + i), centre);
    const F d1 = Simd::sub(Simd::load(x + i + kWidth), centre);
    sum = Simd::fma(d0, d0, sum);
    other = Simd::fma(d1, d1, other);
  }
  for (; i < whole; i += kWidth) {
    const F d = Simd::sub(Simd::load(x + i), centre);
    sum = Simd::fma(d, d, sum);
  }
  if (rest > 0) {
    const F d = Simd::keep_first(Simd::sub(Simd::load_first(x + whole, rest), centre), rest);
    sum = Simd::fma(d, d, sum);
  }
  const float variance = Simd::sum(Simd::add(sum, other)) / static_cast<float>(dim);
  const F scale = Simd::set(1 / std::sqrt(variance + args.eps));
  for (i = 0; i < whole; i += kWidth) {
    const F unit = Simd::mul(Simd::sub(Simd::load(x + i), centre), scale);
    E::store(out + i, Simd::fma(unit, Simd::load(args.weight + i), Simd::load(args.bias + i)));
  }
  if (rest > 0) {
    const F unit = Simd::mul(Simd::sub(Simd::load_first(x + whole, rest), centre), scale);
    E::store_first(out + whole,
                   Simd::fma(unit, Simd::load_first(args.weight + whole, rest),
                             Simd::load_first(args.bias + whole, rest)),
                   rest);
  }
}

inline const float* row_of(const float* x, int64_t stride, int64_t row) {
  return reinterpret_cast<const float*>(reinterpret_cast<const char*>(x) + row * stride);
}

template <class E>
inline typename E::T* out_row(const NormArgs& args, int64_t row) {
  return reinterpret_cast<typename E::T*>(static_cast<char*>(args.out) + row * args.out_stride);
}

template <class E>
TOME_SIMD void normalise(const NormArgs& args, int64_t first, int64_t last) {
  for (int64_t row = first; row < last; ++row) {
    normalise_row<E>(row_of(args.x, args.x_stride, row), args, out_row<E>(args, row));
  }
}

TOME_SIMD inline void scaled_row(const float* x, float weight, int64_t dim, bool start,
                                 float* out) {
  const F by = Simd::set(weight);
  const int64_t whole = dim / kWidth * kWidth;
  for (int64_t i = 0; i < whole; i += kWidth) {
    const F v = Simd::load(x + i);
    Simd::store(out + i, start ? Simd::mul(v, by) : Simd::fma(v, by, Simd::load(out + i)));
  }
  for (int64_t i = whole; i < dim; ++i) out[i] = start ? weight * x[i] : out[i] + weight * x[i];
}

template <class E>
TOME_SIMD void merge_normalise(const MergeArgs& args, int64_t first, int64_t last) {
  const int64_t dim = args.norm.dim;
  for (int64_t place = first; place < last; ++place) {
    auto* out = const_cast<float*>(row_of(args.out, args.x_stride, place));
    const int32_t begin = args.first[place];
    const int32_t end = args.first[place + 1];
    if (end - begin == 1) {  // copied: x * s / s would round
      std::memcpy(out, row_of(args.x, args.x_stride, args.members[begin]),
                  static_cast<size_t>(dim) * sizeof(float));
    } else {
      for (int32_t k = begin; k < end; ++k) {
        const int32_t token = args.members[k];
        scaled_row(row_of(args.x, args.x_stride, token), args.size[token] / args.size_out[place],
                   dim, k == begin, out);
      }
    }
    normalise_row<E>(out, args.norm, out_row<E>(args.norm, place));
  }
}

/// The mean over heads of one token's keys, of unit length (a zero key stays zero).
template <class E>
TOME_SIMD inline void unit_key(const PartnerArgs& args, int64_t token, float* out) {
  const auto* keys = reinterpret_cast<const typename E::T*>(static_cast<const char*>(args.keys) +
                                                            token * args.stride);
  const F share = Simd::set(1.0F / static_cast<float>(args.heads));
  F squares = Simd::zero();
  for (int64_t d = 0; d < args.head_dim; d += kWidth) {
    const int64_t n = std::min<int64_t>(kWidth, args.head_dim - d);
    F sum = Simd::zero();
    for (int64_t head = 0; head < args.heads; ++head) {
      const auto* at = keys + head * args.head_dim + d;
      sum = Simd::add(sum, n == kWidth ? E::load(at) : E::load_first(at, n));
    }
    sum = Simd::mul(sum, share);
    squares = Simd::fma(sum, sum, squares);
    Simd::store(out + d, sum);
  }
  const float norm = std::sqrt(Simd::sum(squares));
  const F by = Simd::set(norm > 0 ? 1 / norm : (norm == 0 ? 0.0F : norm));  // NaN stays NaN
  for (int64_t d = 0; d < args.head_dim; d += kWidth) {
    Simd::store(out + d, Simd::mul(Simd::load(out + d), by));
  }
}

/// The largest of a row and its place, the first of equals; NaN never wins.
TOME_SIMD inline void best_of_row(const float* scores, int64_t count, float& best, int32_t& place) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  const int64_t whole = count / kWidth * kWidth;
  F most = Simd::set(kNone);
  // max(v, most) is `most` where v is NaN
  for (int64_t i = 0; i < whole; i += kWidth) most = Simd::max(Simd::load(scores + i), most);
  best = Simd::largest(most);
  for (int64_t i = whole; i < count; ++i) best = scores[i] > best ? scores[i] : best;
  place = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (scores[i] == best) {
      place = static_cast<int32_t>(i);
      return;
    }
  }
  best = kNone;  // a row of NaN: last in line
}

/// Scores are made for one block of A tokens at a time and never leave the cache.
template <class E>
TOME_SIMD void find_partners(const PartnerArgs& args) {
  const int64_t dim = (args.head_dim + kPanel - 1) / kPanel * kPanel;
  const int64_t padded = (args.nb + kPanel - 1) / kPanel * kPanel;
  auto* a = static_cast<float*>(args.scratch);
  float* b = a + args.na * dim;
  float* scores = b + padded * dim;
  for (int64_t i = 0; i < args.na; ++i) unit_key<E>(args, args.a[i], a + i * dim);
  float* key = scores;  // one B token, before it is spread over its panel
  for (int64_t j = 0; j < padded; ++j) {
    if (j < args.nb) {
      unit_key<E>(args, args.b[j], key);
    } else {
      std::fill_n(key, dim, 0.0F);
    }
    float* panel = b + j / kPanel * kPanel * args.head_dim + j % kPanel;
    for (int64_t d = 0; d < args.head_dim; ++d) panel[d * kPanel] = key[d];
  }
  const BlockFunction* blocks = blocks_of<OfElements<FloatElement>>(Epilogue::kFloat);
  for (int64_t row = 0; row < args.na; row += kBlockRows) {
    const int64_t count = std::min<int64_t>(kBlockRows, args.na - row);
    for (int64_t j = 0; j < padded; j += kPanel) {
      const BlockOut to{kNoBias, reinterpret_cast<char*>(scores + j), padded * 4, kPanel,
                        Activation::kRelu};
      blocks[count - 1](reinterpret_cast<const char*>(a + row * dim), dim * 4,
                        b + j * args.head_dim, args.head_dim, to);
    }
    for (int64_t i = 0; i < count; ++i) {
      best_of_row(scores + i * padded, args.nb, args.score[row + i], args.best[row + i]);
    }
  }
}

template <class E>
TOME_SIMD void to_elements(const float* from, int64_t count, void* to) {
  auto* out = static_cast<typename E::T*>(to);
  const int64_t whole = count / kWidth * kWidth;
  for (int64_t i = 0; i < whole; i += kWidth) E::store(out + i, Simd::load(from + i));
  if (const int64_t rest = count - whole; rest > 0) {
    E::store_first(out + whole, Simd::load_first(from + whole, rest), rest);
  }
  for (int64_t i = count; i % E::kPerStep != 0; ++i) out[i] = E::from_float(0.0F);
}

template <class E>
CpuKernels kernels_of(const char* name, const ByteKernels* bytes) {
  CpuKernels kernels{};
  kernels.name = name;
  kernels.bytes = bytes;
  kernels.bf16 = E::kPerStep == 2;
  kernels.element_bytes = sizeof(typename E::T);
  kernels.block_rows = kBlockRows;
  kernels.panel = kPanel;
  kernels.pack_weights = pack_weights<E>;
  kernels.product = product<OfElements<E>>;
  kernels.pack_head = pack_head<E>;
  kernels.attend = attend<E>;
  kernels.normalise = normalise<E>;
  kernels.normalise_float = normalise<FloatElement>;
  kernels.merge_normalise = merge_normalise<E>;
  kernels.find_partners = find_partners<E>;
  kernels.to_elements = to_elements<E>;
  return kernels;
}

}  // namespace
}  // namespace tome
