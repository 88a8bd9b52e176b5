// The CPU's forward in bfloat16 for AVX-512 with its bf16 products.
#include "vit/cpu_kernels.h"

#if defined(__x86_64__)

#include <array>
#include <iterator>
#include <utility>

// GCC 12 takes its own _mm512_undefined_ps for an uninitialised variable (GCC bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#define TOME_SIMD __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma")))

// The vectors come before what is written with them.
// clang-format off
#include "vit/cpu_simd_avx512.h"
#include "vit/cpu_bf16_element.h"
#include "vit/cpu_attention_body.h"
#include "vit/cpu_rows_body.h"
// clang-format on

namespace tome {

const CpuKernels* avx512_bf16_cpu_kernels() {
  static const CpuKernels kernels = kernels_of<Bf16Element>("avx512-bf16");
  return &kernels;
}
}  // namespace tome

#endif
