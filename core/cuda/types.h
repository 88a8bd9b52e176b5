// What callers of the kernels' launch functions need, without a CUDA header.
#pragma once

struct CUstream_st;

namespace tome::cuda {

/// cudaStream_t, CUstream.
using Stream = CUstream_st*;

enum class ElementType { kFloat32, kBfloat16, kFloat16 };

}  // namespace tome::cuda
