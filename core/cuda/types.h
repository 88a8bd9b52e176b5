// What callers of the kernels' launch functions need, without a CUDA header.
#pragma once

struct CUstream_st;

namespace tome::cuda {

/// cudaStream_t, CUstream.
using Stream = CUstream_st*;

/// When a kernel begins: after what was enqueued before it, or, where it needs nothing of the
/// kernel before it, beside that one (Note [A kernel beside the one before it], host_executor.h).
enum class LaunchOrder { kInTurn, kBesideLast };

enum class ElementType { kFloat32, kBfloat16, kFloat16 };

}  // namespace tome::cuda
