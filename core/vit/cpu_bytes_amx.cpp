// Products in 8 bits by AMX's tiles, beside bfloat16.
#include "vit/cpu_kernels.h"

#if defined(__x86_64__)

// The vectors come before what is written with them.
// clang-format off
#include "vit/cpu_avx512_bf16_vnni.h"
#include "vit/cpu_tiles_amx.h"
#include "vit/cpu_tile_bytes_body.h"
// clang-format on

namespace tome {
const ByteKernels* amx_byte_kernels() {
  static const ByteKernels kernels = tile_byte_kernels_of<Bf16Element>();
  return &kernels;
}
}  // namespace tome

#endif
