#include "vit/cpu_kernels.h"

#include <cstdlib>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "tome_error.h"

namespace tome {

const ByteKernels* avx2_byte_kernels();
const ByteKernels* avx2_vnni_byte_kernels();
const ByteKernels* avx512_byte_kernels();
const ByteKernels* avx512_bf16_byte_kernels();
const ByteKernels* amx_byte_kernels();
const CpuKernels* avx2_cpu_kernels(const ByteKernels* bytes);
const CpuKernels* avx2_vnni_cpu_kernels(const ByteKernels* bytes);
const CpuKernels* avx512_cpu_kernels(const ByteKernels* bytes);
const CpuKernels* avx512_bf16_cpu_kernels(const ByteKernels* bytes);
/// Null where the processor or the system lacks tiles.
const CpuKernels* amx_cpu_kernels(const ByteKernels* bytes);

bool has_wide_vectors() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq");
#else
  return false;
#endif
}

#if defined(__x86_64__)
namespace {

bool has_vectors() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

/// AVX-VNNI and AMX's bytes, of which GCC 12's __builtin_cpu_supports knows nothing. (With them
/// come the states that the system has to save: ymm, as for AVX2, and tiles.)
bool has_byte_vectors() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax & 1U << 4) != 0;
}
bool has_byte_tiles() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (edx & 1U << 25) != 0;
}

}  // namespace
#endif

const CpuKernels* cpu_kernels(CpuSet set) {
#if defined(__x86_64__)
  const bool wide = has_wide_vectors();
  const bool wide_bytes = wide && __builtin_cpu_supports("avx512vnni");
  switch (set) {
    case CpuSet::kAvx2:
      if (has_vectors()) return avx2_cpu_kernels(avx2_byte_kernels());
      break;
    case CpuSet::kAvx2Vnni:
      if (has_vectors() && has_byte_vectors()) {
        return avx2_vnni_cpu_kernels(avx2_vnni_byte_kernels());
      }
      break;
    case CpuSet::kAvx512:
      if (wide) return avx512_cpu_kernels(wide_bytes ? avx512_byte_kernels() : nullptr);
      break;
    case CpuSet::kAvx512Bf16:
      if (wide && __builtin_cpu_supports("avx512bf16")) {
        return avx512_bf16_cpu_kernels(wide_bytes ? avx512_bf16_byte_kernels() : nullptr);
      }
      break;
    case CpuSet::kAmxBf16:
      if (wide && __builtin_cpu_supports("avx512bf16")) {
        return amx_cpu_kernels(wide_bytes && has_byte_tiles() ? amx_byte_kernels() : nullptr);
      }
      break;
  }
#endif
  return nullptr;
}

namespace {

/// From the least to the best.
constexpr std::pair<const char*, CpuSet> kSetNames[] = {{"avx2", CpuSet::kAvx2},
                                                        {"avx2-vnni", CpuSet::kAvx2Vnni},
                                                        {"avx512", CpuSet::kAvx512},
                                                        {"avx512-bf16", CpuSet::kAvx512Bf16},
                                                        {"amx-bf16", CpuSet::kAmxBf16}};

CpuSet most_asked_for() {
  const char* asked = std::getenv("TOME_MAX_CPU_ISA");
  if (asked == nullptr || *asked == '\0') return CpuSet::kAmxBf16;
  for (const auto& [name, set] : kSetNames) {
    if (std::string_view(asked) == name) return set;
  }
  throw Error(ErrorKind::kSettings,
              std::string("TOME_MAX_CPU_ISA: found '") + asked +
                  "', expected avx2, avx2-vnni, avx512, avx512-bf16 or amx-bf16");
}

}  // namespace

const CpuKernels* best_cpu_kernels(ProductType type, bool whole_steps) {
  const CpuSet most = most_asked_for();
  for (auto named = std::rbegin(kSetNames); named != std::rend(kSetNames); ++named) {
    const CpuSet set = named->second;
    const CpuKernels* kernels = set <= most ? cpu_kernels(set) : nullptr;
    if (kernels == nullptr || (kernels->bf16 && !whole_steps)) continue;
    const bool fits = type == ProductType::kInt8 ? kernels->bytes != nullptr
                                                 : kernels->bf16 == (type == ProductType::kBf16);
    if (fits) return kernels;
  }
  return nullptr;
}

}  // namespace tome
