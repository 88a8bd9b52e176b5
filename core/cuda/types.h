// What callers of the kernels' launch functions need, without a CUDA header.
#pragma once

struct CUstream_st;

namespace tome::cuda {

/// cudaStream_t, CUstream.
using Stream = CUstream_st*;

/// Note [A kernel beside the one before it]
/// Two kernels that do not need each other run beside each other if the second is launched as a
/// dependent (CudaLauncher) and the first says launch_dependents: the second begins when all blocks
/// of the first have said so, and takes what places they leave. It ends after the first, since at
/// least its last block, which also begins last, ends with wait_for_prerequisites. So what is
/// enqueued next comes after both, and a forward's graph stays a chain; forking it to a second
/// stream, and joining, made the gap before each product 1.7 us longer. Programmatic dependent
/// launch is of compute capability 9.0 and later; elsewhere neither does anything.

/// When a kernel begins: after what was enqueued before it, or, where it needs nothing of the
/// kernel before it, beside that one.
enum class LaunchOrder { kInTurn, kBesideLast };

enum class ElementType { kFloat32, kBfloat16, kFloat16 };

}  // namespace tome::cuda
