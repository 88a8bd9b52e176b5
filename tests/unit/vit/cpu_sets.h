// Every set of the CPU's kernels, as a parameter of tests.
#pragma once

#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "vit/cpu_kernels.h"

namespace tome::testing {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
/// In memory that a kernel is to leave as it is.
constexpr float kUntouched = 77;

/// AMX's text with tiles in memory: tests it on processors that have AVX-512 with bf16 and no AMX.
/// Null on others.
const CpuKernels* emulated_tile_kernels();
/// Whether this thread's are configured: kernels have to release them.
bool holds_emulated_tiles();

struct CpuSetUnderTest {
  const char* name;
  const CpuKernels* (*kernels)();  ///< null where this processor has no such instructions
};

inline const CpuSetUnderTest kCpuSets[] = {
    {"Avx2", [] { return cpu_kernels(CpuSet::kAvx2); }},
    {"Avx2Vnni", [] { return cpu_kernels(CpuSet::kAvx2Vnni); }},
    {"Avx512", [] { return cpu_kernels(CpuSet::kAvx512); }},
    {"Avx512Bf16", [] { return cpu_kernels(CpuSet::kAvx512Bf16); }},
    {"AmxBf16", [] { return cpu_kernels(CpuSet::kAmxBf16); }},
    {"EmulatedTiles", &emulated_tile_kernels},
};

inline std::string name_of(const ::testing::TestParamInfo<CpuSetUnderTest>& info) {
  return info.param.name;
}

inline void PrintTo(const CpuSetUnderTest& set, std::ostream* out) { *out << set.name; }

class CpuKernelTest : public ::testing::TestWithParam<CpuSetUnderTest> {
 protected:
  void SetUp() override {
    kernels_ = GetParam().kernels();
    if (kernels_ == nullptr) GTEST_SKIP() << "this processor has no such instructions";
  }

  const CpuKernels* kernels_ = nullptr;
};

}  // namespace tome::testing
