// The same Vision Transformer in plain PyTorch operations: what `tome bench` compares with.
#pragma once

#include <ATen/core/Tensor.h>

#include "vit/config.h"
#include "vit/weights.h"

namespace tome::cli {

/// F.linear, F.layer_norm, F.gelu and scaled_dot_product_attention, one after another, as timm runs
/// them with fused attention. No merging, nothing packed or fused by hand.
class PlainViT {
 public:
  PlainViT(ViTConfig config, const ViTWeights& weights, at::Device device,
           at::ScalarType precision);

  /// @param patches  float32 [B, T, n, 3 * p * p], as VisionTransformer::forward takes them; T is
  ///   config.frames
  /// @return logits, float32 [B, classes]
  at::Tensor forward(const at::Tensor& patches) const;

 private:
  at::Tensor embed(const at::Tensor& patches) const;
  at::Tensor run_block(const at::Tensor& x, const BlockWeights& block) const;
  at::Tensor head(const at::Tensor& x) const;
  at::Tensor norm(const at::Tensor& x, const NormWeights& weights, double eps) const;

  ViTConfig config_;
  ViTWeights weights_;
  at::Device device_;
  at::ScalarType precision_;
};

}  // namespace tome::cli
