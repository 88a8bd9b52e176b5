// A model's weights as the CPU's own forward reads them.
#pragma once

#include <cstdint>
#include <vector>

#include "vit/config.h"
#include "vit/cpu_kernels.h"
#include "vit/cpu_memory.h"
#include "vit/weights.h"

namespace tome {

/// y = x W^T + b, with layer scale multiplied in.
struct CpuLinear {
  CpuBuffer packed;
  std::vector<float> bias;  ///< zeros where the layer has none, padded to panels
  int64_t columns = 0, inner = 0, steps = 0;
  /// As in ProductArgs, of a layer in 8 bits.
  std::vector<float> column_scale, column_sum;

  bool in_bytes() const { return !column_scale.empty(); }
};

struct CpuNorm {
  std::vector<float> weight, bias;
};

struct CpuBlock {
  CpuNorm norm1, norm2;
  CpuLinear qkv, proj, fc1, fc2;
};

struct CpuWeights {
  CpuLinear patch_embed;
  /// What the tokens are before the patch product is added: float32 [prefix + patch tokens, dim],
  /// position embedding plus prefix token or the patch product's bias.
  std::vector<float> start;
  CpuNorm pre_norm, norm, fc_norm;
  std::vector<CpuBlock> blocks;
  CpuLinear head, head_dist;

  /// @param bytes  the blocks' products in 8 bits; the kernels have them
  CpuWeights(const ViTConfig& config, const ViTWeights& weights, const CpuKernels& kernels,
             bool bytes);
};

}  // namespace tome
