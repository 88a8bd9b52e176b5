// The weights of a Vision Transformer in one canonical form, whatever names a checkpoint gave them.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace tome {

/// LayerNorm; both undefined where the model has none.
struct NormWeights {
  at::Tensor weight, bias;  // [dim]
};

/// y = x W^T + b; an undefined bias is none.
struct LinearWeights {
  at::Tensor weight;  // [out, in]
  at::Tensor bias;    // [out]
};

struct BlockWeights {
  NormWeights norm1, norm2;
  LinearWeights qkv;   // [3 * dim, dim]: queries, keys, values, each heads x head_dim
  LinearWeights proj;  // [dim, dim]
  LinearWeights fc1, fc2;
  at::Tensor scale1, scale2;  // layer scale [dim], undefined where there is none
};

struct ViTWeights {
  /// weight [dim, tubelet * 3 * patch * patch], columns ordered (frame of the tubelet, channel, y,
  /// x), so that a tubelet's row is the concatenation of its frames' patch rows.
  LinearWeights patch_embed;
  at::Tensor prefix;  // [prefix_tokens, dim]: class, distillation, registers; undefined if none
  /// [prefix_tokens + patch_tokens, dim]; rows of prefix tokens without a position are zero.
  at::Tensor pos_embed;
  NormWeights pre_norm, norm, fc_norm;
  std::vector<BlockWeights> blocks;
  LinearWeights head, head_dist;
};

}  // namespace tome
