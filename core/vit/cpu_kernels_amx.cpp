// The CPU's forward in bfloat16 for AMX's tiles, with AVX-512 for all that is no product.
#include "vit/cpu_kernels.h"

#if defined(__x86_64__)

#include <cpuid.h>

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

// The vectors come before what is written with them.
// clang-format off
#include "vit/cpu_avx512_bf16.h"
#include "vit/cpu_tiles_amx.h"
#include "vit/cpu_tile_kernels_body.h"
// clang-format on

namespace tome {
namespace {

bool has_tiles() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return false;
  constexpr unsigned kBf16 = 1U << 22, kTile = 1U << 24;
  return (edx & kBf16) != 0 && (edx & kTile) != 0;
}

/// A process has to ask for the tiles' 8 KiB of state before its first use: arch_prctl(2),
/// ARCH_REQ_XCOMP_PERM. Refused by systems that do not know them, and where a thread has an
/// alternate signal stack too small for them.
bool may_use_tiles() {
#if defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

}  // namespace

const CpuKernels* amx_cpu_kernels(const ByteKernels* bytes) {
  static const bool usable = has_tiles() && may_use_tiles();
  static const CpuKernels kernels = tile_kernels_of<Bf16Element>("amx-bf16", bytes);
  return usable ? &kernels : nullptr;
}
}  // namespace tome

#endif
