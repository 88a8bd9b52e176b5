// The CPU's forward in bfloat16 for AVX-512 with its bf16 products.
#include "vit/cpu_kernels.h"

#if defined(__x86_64__)

// The vectors come before what is written with them.
// clang-format off
#include "vit/cpu_avx512_bf16.h"
#include "vit/cpu_attention_body.h"
#include "vit/cpu_rows_body.h"
// clang-format on

namespace tome {

const CpuKernels* avx512_bf16_cpu_kernels(const ByteKernels* bytes) {
  static const CpuKernels kernels = kernels_of<Bf16Element>("avx512-bf16", bytes);
  return &kernels;
}
}  // namespace tome

#endif
