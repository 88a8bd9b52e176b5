// Bytes of products in 8 bits, with AVX2 alone: see Note [Products in 8 bits by pairs].
// Included after cpu_simd_avx2.h.
#pragma once

#include "vit/cpu_byte_vectors_avx2.h"

namespace tome {
namespace {

struct Bytes : ByteVectors {
  static constexpr bool kInPairs = true;
  /// Sums of four products of a's unsigned and b's signed bytes. In instructions, and ones from
  /// memory: GCC 12 stores sums in every step of its intrinsics, which want a seventeenth register.
  TOME_SIMD static inline I dot(Simd::F a, Simd::F b, I sum) {
    alignas(32) static constexpr int16_t kOnes[16] = {1, 1, 1, 1, 1, 1, 1, 1,
                                                      1, 1, 1, 1, 1, 1, 1, 1};
    I pairs;
    asm("vpmaddubsw %3, %2, %1\n\t"
        "vpmaddwd %4, %1, %1\n\t"
        "vpaddd %1, %0, %0"
        : "+x"(sum), "=&x"(pairs)
        : "x"(a), "x"(b), "m"(kOnes));
    return sum;
  }
};

}  // namespace
}  // namespace tome
