// Merging tokens by a plan, keeping count of what went where, and taking it apart again.
#pragma once

#include <ATen/core/Tensor.h>

#include "merging/matching.h"

namespace tome {

/// How the tokens of one destination become one.
enum class Combine { kWeightedMean, kMean, kMax, kKeepOne };

/// Tokens and the number of input patches each stands for.
struct MergedTokens {
  at::Tensor x;     ///< [B, N_out, C], dtype of the input
  at::Tensor size;  ///< float32 [B, N_out]
};

/// Merges tokens (step 4): by default x_out = sum(size * x) / sum(size) over each destination's
/// sources and itself, in float32. Sizes always add up. Differentiable in x; the gradient is that
/// of average pooling.
///
/// Neither this nor the functions below check shapes: with a matching or source of other tensors
/// they throw c10::Error at best.
///
/// @param x     [B, N, C]
/// @param size  float32 [B, N], or undefined for all ones
MergedTokens merge_tokens(const at::Tensor& x, const at::Tensor& size, const Matching& matching,
                          Combine combine = Combine::kWeightedMean);

/// Sources: int64 [B, N0], for each of the N0 tokens before block 0 its place now. `source`
/// undefined is the identity.
/// @param batch  B, for a `source` that is undefined
at::Tensor merge_source(const at::Tensor& source, const Matching& matching, int64_t batch);

/// Copies each merged token back to all its sources.
/// @param x       [B, N_out, C]
/// @param source  int64 [B, N0] as kept by merge_source
/// @return [B, N0, C]
at::Tensor unmerge(const at::Tensor& x, const at::Tensor& source);

}  // namespace tome
