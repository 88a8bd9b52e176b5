// The merge on the CPU without autograd: one pass over the rows.
#pragma once

#include "merging/merge.h"

namespace tome {

/// merge_tokens with Combine::kWeightedMean for contiguous float32 rows in host memory.
/// Sums run over the sources by ascending place, so the result does not depend on threads.
/// @param x     float32 [B, N, C]
/// @param size  float32 [B, N]
MergedTokens merge_rows(const at::Tensor& x, const at::Tensor& size, const Matching& matching);

}  // namespace tome
