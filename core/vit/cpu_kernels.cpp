#include "vit/cpu_kernels.h"

namespace tome {

const CpuKernels* avx2_cpu_kernels();
const CpuKernels* avx512_cpu_kernels();
const CpuKernels* avx512_bf16_cpu_kernels();
const CpuKernels* amx_cpu_kernels();  ///< null where the processor or the system lacks tiles

const CpuKernels* cpu_kernels(CpuSet set) {
#if defined(__x86_64__)
  const bool wide = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                    __builtin_cpu_supports("avx512dq");
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

const CpuKernels* best_cpu_kernels(bool bf16) {
  const CpuKernels* best = cpu_kernels(bf16 ? CpuSet::kAmxBf16 : CpuSet::kAvx512);
  return best != nullptr ? best : cpu_kernels(bf16 ? CpuSet::kAvx512Bf16 : CpuSet::kAvx2);
}

}  // namespace tome
