// Other ways to reduce tokens, to compare bipartite soft matching with (the paper's tables 1 and
// 2).
#pragma once

#include <ATen/core/Tensor.h>

#include "merging/matching.h"

namespace tome {

/// Plans in the form of bipartite_soft_matching, same cap on r, same protected tokens. Pruned
/// tokens get a destination, their nearest kept token by place, so that `source` stays a map of all
/// tokens; a caller that prunes merges them with weight 0.

/// Drops r tokens drawn by `options.seed`.
Matching random_pruning(int64_t batch, int64_t tokens, const MatchOptions& options);

/// Drops the r tokens of least importance; of equals the one with the higher place goes first.
/// @param importance  float32 [B, N], for instance the class token's attention
Matching attention_pruning(const at::Tensor& importance, const MatchOptions& options);

/// Clusters the keys (unit length) into as many clusters as tokens remain: Lloyd's algorithm from
/// evenly spaced tokens, `iterations` rounds; an emptied cluster takes the worst-fitting token.
/// @param metric  [B, N, C]
Matching kmeans_matching(const at::Tensor& metric, const MatchOptions& options,
                         int64_t iterations = 5);

/// Merges the most similar pair of all tokens, r times over; a merged token keeps the key of its
/// destination, the pair's lower place.
Matching greedy_matching(const at::Tensor& metric, const MatchOptions& options);

}  // namespace tome
