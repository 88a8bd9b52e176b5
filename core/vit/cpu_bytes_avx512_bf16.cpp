// Products in 8 bits for AVX-512 with VNNI, beside bfloat16.
#include "vit/cpu_kernels.h"

#if defined(__x86_64__)

// The vectors come before what is written with them.
// clang-format off
#include "vit/cpu_avx512_bf16_vnni.h"
#include "vit/cpu_bytes_body.h"
// clang-format on

namespace tome {
const ByteKernels* avx512_bf16_byte_kernels() {
  static const ByteKernels kernels = byte_kernels_of<Bf16Element>();
  return &kernels;
}
}  // namespace tome

#endif
