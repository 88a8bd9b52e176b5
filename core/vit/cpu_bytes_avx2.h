// Bytes of products in 8 bits, with AVX2 alone: see Note [Products in 8 bits by pairs].
// Included after cpu_simd_avx2.h.
#pragma once

#include "vit/cpu_byte_vectors_avx2.h"

namespace tome {
namespace {

struct Bytes : ByteVectors {
  static constexpr bool kInPairs = true;
  /// Sums of four products of a's unsigned and b's signed bytes.
  TOME_SIMD static inline I dot(Simd::F a, Simd::F b, I sum) {
    const I pairs = _mm256_maddubs_epi16(_mm256_castps_si256(a), _mm256_castps_si256(b));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
};

}  // namespace
}  // namespace tome
