// Multi-head self-attention with a weight for each key.
#pragma once

#include <ATen/core/Tensor.h>

#include "vit/model.h"

namespace tome {

/// Queries, keys and values as views of the fused product, [B, heads, N, head_dim].
struct Heads {
  at::Tensor q, k, v;
};

/// @param qkv  [B, N, 3 * dim]
Heads split_heads(const at::Tensor& qkv, int64_t heads);

/// softmax(q k^T / sqrt(d) + bias) v, fused: no N x N mask in memory.
/// @param log_weight  float32 [B, N], added to every query's score of that key; undefined: none
/// @return [B, N, dim]
at::Tensor attention(const Heads& heads, const at::Tensor& log_weight);

/// What the first token attends to: softmax(q_0 k^T / sqrt(d)), mean over heads, [B, N, 1].
at::Tensor first_token_attention(const Heads& heads);

/// What tokens are compared by: [B, N, C].
/// @param before, after  the block's input, and the same with attention's residual added
at::Tensor merge_metric(Metric metric, const Heads& heads, const at::Tensor& before,
                        const at::Tensor& after);

}  // namespace tome
