// The CPU's forward in float32 for AVX2 with FMA.
#include "vit/cpu_kernels.h"

#if defined(__x86_64__)

#include <array>
#include <iterator>
#include <utility>

#define TOME_SIMD __attribute__((target("avx2,fma")))

// The vectors come before what is written with them.
// clang-format off
#include "vit/cpu_simd_avx2.h"
#include "vit/cpu_attention_body.h"
#include "vit/cpu_rows_body.h"
// clang-format on

namespace tome {
const CpuKernels* avx2_cpu_kernels(const ByteKernels* bytes) {
  static const CpuKernels kernels = kernels_of<FloatElement>("avx2", bytes);
  return &kernels;
}
const CpuKernels* avx2_vnni_cpu_kernels(const ByteKernels* bytes) {
  static const CpuKernels kernels = kernels_of<FloatElement>("avx2-vnni", bytes);
  return &kernels;
}
}  // namespace tome

#endif
