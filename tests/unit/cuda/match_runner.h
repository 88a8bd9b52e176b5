// Runs the matching kernels on the host over ATen tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include "cuda/host_executor.h"
#include "merging/matching.h"

namespace tome::testing {

struct KernelMatching {
  Matching matching;
  at::Tensor member_begin;  // int32 [B, tokens_out + 1]
  at::Tensor members;       // int32 [B, tokens]
  int launches = 0;
};

/// The matching kernels on metric [B, N, C] (float32, bfloat16, float16; last dimension contiguous)
/// with the halves that the CPU implementation would use. options.r must be > 0 after its cap.
KernelMatching match_with_kernels(const at::Tensor& metric, const MatchOptions& options,
                                  cuda::ThreadOrder order = cuda::ThreadOrder::kForwards);

}  // namespace tome::testing
