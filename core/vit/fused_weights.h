// Weights in the form that the fused forward reads: the matching's metric folded into the QKV
// product, layer scale folded into the projections, biases where each operation wants them.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

#include "cuda/types.h"
#include "vit/config.h"
#include "vit/weights.h"

namespace tome {

struct FusedLinear {
  const void* weight = nullptr;  ///< [out, in]
  const void* bias = nullptr;    ///< [out] in the type of the product's result; null: none
  int64_t out = 0, in = 0;
};

struct FusedNorm {
  const float* weight = nullptr;  ///< [dim]
  const float* bias = nullptr;
};

/// Note [The metric rides on the QKV product]
/// Tokens are compared by the mean of their keys over the heads. That is linear in the block's
/// input, so the mean of the key rows of the weights gives it as head_dim more columns of the same
/// product. Blocks that merge nothing leave those columns out.
struct FusedBlock {
  FusedNorm norm1, norm2;
  FusedLinear qkv;  ///< rows 0 .. 3 dim - 1 as in BlockWeights, then head_dim rows of the metric
  FusedLinear proj, fc1, fc2;
};

/// Addresses are those of the memory that the operations work on.
struct FusedWeights {
  ViTConfig config;
  cuda::ElementType type = cuda::ElementType::kBfloat16;
  FusedLinear patch_embed;
  const float* first = nullptr;     ///< [prefix, dim]: prefix tokens with their positions
  const float* position = nullptr;  ///< [patch tokens, dim]
  FusedNorm pre_norm, norm, fc_norm;
  std::vector<FusedBlock> blocks;
  FusedLinear head, head_dist;  ///< biases float32; both halved where there are two heads

  int64_t head_dim() const { return config.dim / config.heads; }
};

/// Empty if the fused forward can run this model in this type, else what it lacks.
std::string why_not_fused(const ViTConfig& config, cuda::ElementType type);

/// Copies a contiguous CPU tensor to where the operations work, keeps the copy, and gives its
/// address.
using TensorPlacer = std::function<const void*(const at::Tensor&)>;

/// @param weights  on the CPU, as load_checkpoint gives them
/// @throws Error of `place`
FusedWeights fuse_weights(const ViTConfig& config, const ViTWeights& weights,
                          cuda::ElementType type, const TensorPlacer& place);

at::ScalarType scalar_type(cuda::ElementType type);
/// @param type  kFloat, kBFloat16 or kHalf
cuda::ElementType element_type(at::ScalarType type);

}  // namespace tome
