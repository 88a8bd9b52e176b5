// Products in 8 bits: see Note [Products in 8 bits] in cpu_kernels.h. Included after
// cpu_product_body.h and a definition of Bytes.
#pragma once

#include <cmath>
#include <limits>

#include "vit/cpu_product_body.h"

namespace tome {
namespace {

/// Bytes that are multiplied, and results that are elements.
template <class E>
struct OfBytes {
  using Element = E;
  using Sum = Bytes::I;
  static constexpr bool kExact = false;  // results become bytes
  TOME_SIMD static inline Sum zero() { return Bytes::zero(); }
  TOME_SIMD static inline Sum load(const float* at) { return Bytes::load(at); }
  TOME_SIMD static inline Sum dot(F a, F b, Sum sum) { return Bytes::dot(a, b, sum); }
  TOME_SIMD static inline F number(Sum sum, const BlockOut& to, int64_t row, int half) {
    const ByteRow& bytes = to.byte_rows[row];
    const F zeros = Simd::load(to.column_sum + half * kWidth);
    const F scale = Simd::load(to.column_scale + half * kWidth);
    const F whole = Simd::fma(Simd::set(-bytes.zero), zeros, Bytes::to_float(sum));
    return Simd::mul(whole, Simd::mul(Simd::set(bytes.scale), scale));
  }
};

constexpr float kMostByte = 255;
constexpr float kMostWeight = 127;  // of one, or of two neighbours together

/// One row to bytes, whole vectors of them.
template <class E>
TOME_SIMD inline ByteRow quantise_row(const typename E::T* x, int64_t count, uint8_t* out) {
  const int64_t whole = count / kWidth * kWidth;
  const int64_t rest = count - whole;
  const auto numbers = [&](int64_t i) TOME_SIMD {
    return i < whole ? E::load(x + i) : E::load_first(x + i, rest);
  };
  F least = Simd::zero(), most = Simd::zero();
  F poison = Simd::zero();  // NaN as soon as a number is not finite
  for (int64_t i = 0; i < count; i += kWidth) {
    const F v = numbers(i);
    least = Simd::min(least, v);
    most = Simd::max(most, v);
    poison = Simd::fma(v, Simd::zero(), poison);
  }
  const float high = Simd::largest(most);
  const float low = -Simd::largest(Simd::sub(Simd::zero(), least));
  const float scale = (high - low) / kMostByte;
  const float inverse = scale >= std::numeric_limits<float>::min() ? 1 / scale : 0.0F;
  const float zero = std::nearbyint(-low * inverse);
  const F by = Simd::set(inverse), start = Simd::set(zero);
  const F top = Simd::set(kMostByte);
  for (int64_t i = 0; i < count; i += kWidth) {
    const F v = Simd::fma(numbers(i), by, start);
    Bytes::store(out + i, Simd::max(Simd::min(v, top), Simd::zero()));
  }
  return {scale + Simd::sum(poison), zero};
}

template <class E>
TOME_SIMD void quantise(const QuantiseArgs& args, int64_t first, int64_t last) {
  for (int64_t row = first; row < last; ++row) {
    const auto* x = reinterpret_cast<const typename E::T*>(static_cast<const char*>(args.x) +
                                                           row * args.x_stride);
    auto* out = static_cast<uint8_t*>(args.out) + row * args.out_stride;
    args.rows[row] = quantise_row<E>(x, args.count, out);
  }
}

/// What a byte of a column stands for: NaN where a weight is not finite.
inline float weight_scale(const float* column, int64_t inner) {
  constexpr int64_t kSummed = Bytes::kInPairs ? 2 : 1;
  float most = 0, poison = 0;
  for (int64_t k = 0; k < inner; k += kSummed) {
    float sum = 0;
    for (int64_t i = k; i < std::min(k + kSummed, inner); ++i) {
      sum += std::abs(column[i]);
      poison += 0 * column[i];
    }
    most = std::max(most, sum);
  }
  return most / kMostWeight + poison;
}

inline void pack_byte_weights(const float* weights, const float* row_scale, int64_t columns,
                              int64_t inner, void* packed, float* column_scale, float* column_sum) {
  const int64_t padded = (columns + kPanel - 1) / kPanel * kPanel;
  std::fill_n(column_scale, padded, 0.0F);
  std::fill_n(column_sum, padded, 0.0F);
  for (int64_t column = 0; column < columns; ++column) {
    column_scale[column] = weight_scale(weights + column * inner, inner);
  }
  auto* to = static_cast<int8_t*>(packed);
  for_each_packed<4>(columns, inner, [&](int64_t column, int64_t k) {
    int8_t byte = 0;
    if (column < columns && k < inner &&
        column_scale[column] >= std::numeric_limits<float>::min()) {
      byte =
          static_cast<int8_t>(std::nearbyint(weights[column * inner + k] / column_scale[column]));
      column_sum[column] += byte;
    }
    *to++ = byte;
  });
  for (int64_t column = 0; row_scale != nullptr && column < columns; ++column) {
    column_scale[column] *= row_scale[column];
  }
}

template <class E>
ByteKernels byte_kernels_of() {
  return {Bytes::kInPairs, pack_byte_weights, quantise<E>, product<OfBytes<E>>};
}

}  // namespace
}  // namespace tome
