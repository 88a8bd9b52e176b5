// Products in 8 bits for AVX2 alone, beside float32.
#include "vit/cpu_kernels.h"

#if defined(__x86_64__)

#include <array>
#include <utility>

#define TOME_SIMD __attribute__((target("avx2,fma")))

// The vectors come before what is written with them.
// clang-format off
#include "vit/cpu_simd_avx2.h"
#include "vit/cpu_bytes_avx2.h"
#include "vit/cpu_bytes_body.h"
// clang-format on

namespace tome {
const ByteKernels* avx2_byte_kernels() {
  static const ByteKernels kernels = byte_kernels_of<FloatElement>();
  return &kernels;
}
}  // namespace tome

#endif
