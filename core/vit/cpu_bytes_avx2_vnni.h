// Bytes of products in 8 bits, with AVX-VNNI.
// Included after cpu_simd_avx2.h.
#pragma once

#include "vit/cpu_byte_vectors_avx2.h"

namespace tome {
namespace {

struct Bytes : ByteVectors {
  static constexpr bool kInPairs = false;
  /// Sums of four products of a's unsigned and b's signed bytes, exact. In instructions: GCC 12
  /// stores all sums of its intrinsic in every step.
  TOME_SIMD static inline I dot(Simd::F a, Simd::F b, I sum) {
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(a), "x"(b));
    return sum;
  }
};

}  // namespace
}  // namespace tome
