#include "vit/cpu_kernels.h"

#include <array>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>

#include "tome_error.h"

namespace tome {

const CpuKernels* avx2_cpu_kernels();
const CpuKernels* avx512_cpu_kernels();
const CpuKernels* avx512_bf16_cpu_kernels();
const CpuKernels* amx_cpu_kernels();  ///< null where the processor or the system lacks tiles

bool has_wide_vectors() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq");
#else
  return false;
#endif
}

const CpuKernels* cpu_kernels(CpuSet set) {
#if defined(__x86_64__)
  const bool wide = has_wide_vectors();
  switch (set) {
    case CpuSet::kAvx2:
      if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        return avx2_cpu_kernels();
      }
      break;
    case CpuSet::kAvx512:
      if (wide) return avx512_cpu_kernels();
      break;
    case CpuSet::kAvx512Bf16:
      if (wide && __builtin_cpu_supports("avx512bf16")) return avx512_bf16_cpu_kernels();
      break;
    case CpuSet::kAmxBf16:
      if (wide && __builtin_cpu_supports("avx512bf16")) return amx_cpu_kernels();
      break;
  }
#endif
  return nullptr;
}

namespace {

constexpr std::pair<const char*, CpuSet> kSetNames[] = {{"avx2", CpuSet::kAvx2},
                                                        {"avx512", CpuSet::kAvx512},
                                                        {"avx512-bf16", CpuSet::kAvx512Bf16},
                                                        {"amx-bf16", CpuSet::kAmxBf16}};

CpuSet most_asked_for() {
  const char* asked = std::getenv("TOME_MAX_CPU_ISA");
  if (asked == nullptr || *asked == '\0') return CpuSet::kAmxBf16;
  for (const auto& [name, set] : kSetNames) {
    if (std::string_view(asked) == name) return set;
  }
  throw Error(ErrorKind::kSettings, std::string("TOME_MAX_CPU_ISA: found '") + asked +
                                        "', expected avx2, avx512, avx512-bf16 or amx-bf16");
}

}  // namespace

const CpuKernels* best_cpu_kernels(bool bf16) {
  const CpuSet most = most_asked_for();
  const auto sets = bf16 ? std::array{CpuSet::kAmxBf16, CpuSet::kAvx512Bf16}
                         : std::array{CpuSet::kAvx512, CpuSet::kAvx2};
  for (const CpuSet set : sets) {
    if (set > most) continue;
    if (const CpuKernels* kernels = cpu_kernels(set)) return kernels;
  }
  return nullptr;
}

}  // namespace tome
