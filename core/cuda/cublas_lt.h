// cuBLASLt, opened when it is needed: the core neither links it nor needs its headers to be built.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "cuda/types.h"

namespace tome::cuda {

/// The part of cuBLASLt that is used, with the names, values and signatures of its header
/// (cublasLt.h of CUDA 13; tests compare the two). Handles and descriptors are opaque.
namespace lt {

using Status = int;
using Handle = void*;
using MatmulDesc = void*;
using Layout = void*;
using Preference = void*;

constexpr Status kSuccess = 0, kAllocFailed = 3, kNotSupported = 15;
constexpr int kReal32F = 0, kReal16F = 2, kReal16BF = 14;
constexpr int kCompute32F = 68;
constexpr int32_t kOpN = 0, kOpT = 1;
constexpr int kDescTransA = 3, kDescTransB = 4, kDescEpilogue = 7, kDescBiasPointer = 8;
constexpr uint32_t kEpilogueDefault = 1, kEpilogueRelu = 2, kEpilogueBias = 4, kEpilogueGelu = 32;
constexpr int kPrefMaxWorkspace = 1, kPrefReductionMask = 3, kPrefAlignmentA = 5;
/// Partial sums of a product meet in the compute type, where K is split; unsplit algorithms are
/// always allowed. "In place" would add them up in the output, rounded to its type.
constexpr uint32_t kReductionInFloat = 2;

struct Algo {
  uint64_t data[8];
};
struct HeuristicResult {
  Algo algo;
  size_t workspace_size;
  Status state;
  float waves_count;
  int reserved[4];
};

struct Functions {
  Status (*create)(Handle*);
  Status (*destroy)(Handle);
  Status (*matmul_desc_create)(MatmulDesc*, int compute_type, int scale_type);
  Status (*matmul_desc_destroy)(MatmulDesc);
  Status (*matmul_desc_set)(MatmulDesc, int attribute, const void* value, size_t bytes);
  Status (*layout_create)(Layout*, int type, uint64_t rows, uint64_t columns, int64_t ld);
  Status (*layout_destroy)(Layout);
  Status (*preference_create)(Preference*);
  Status (*preference_destroy)(Preference);
  Status (*preference_set)(Preference, int attribute, const void* value, size_t bytes);
  Status (*heuristic)(Handle, MatmulDesc, Layout a, Layout b, Layout c, Layout d, Preference,
                      int wanted, HeuristicResult* results, int* found);
  Status (*algo_check)(Handle, MatmulDesc, Layout a, Layout b, Layout c, Layout d, const Algo*,
                       HeuristicResult* result);
  Status (*matmul)(Handle, MatmulDesc, const void* alpha, const void* a, Layout, const void* b,
                   Layout, const void* beta, const void* c, Layout, void* d, Layout, const Algo*,
                   void* workspace, size_t workspace_bytes, Stream);
  size_t (*version)();
};

/// Opens libcublasLt.so.13: LibTorch's own, or the one in the process or on the library path, or
/// the toolkit's. Once; the answer stays.
/// @throws Error kDevice that says why it cannot be opened
const Functions& functions();

/// @throws Error kOutOfMemory or kDevice, unless the status is success
void check(Status status, const std::string& what);

}  // namespace lt
}  // namespace tome::cuda
