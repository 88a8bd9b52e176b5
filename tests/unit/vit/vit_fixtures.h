// Small models for tests: the parity files' and random ones.
#pragma once

#include <ATen/ATen.h>

#include <string>

#include "checkpoint/safetensors.h"
#include "vit/model.h"

namespace tome::testing {

/// The parity files' architecture: 64 x 64, patch 8, dim 64, depth 4, heads 4, 10 classes.
inline ViTConfig parity_config(Pooling pooling = Pooling::kToken, bool distilled = false) {
  ViTConfig config;
  config.image_height = config.image_width = 64;
  config.patch = 8;
  config.dim = 64;
  config.depth = 4;
  config.heads = 4;
  config.mlp_hidden = 256;
  config.classes = 10;
  config.distill_token = config.distilled_head = distilled;
  config.pooling = pooling;
  config.fc_norm = pooling == Pooling::kMean;
  config.final_norm = !config.fc_norm;
  return config;
}

/// A small image model whose heads the CUDA kernels know: patches of 8, two heads of dim / 2.
inline ViTConfig small_config(int64_t side, int64_t dim, int64_t depth) {
  ViTConfig config;
  config.name = "small";
  config.image_height = config.image_width = side;
  config.patch = 8;
  config.dim = dim;
  config.depth = depth;
  config.heads = 2;
  config.mlp_hidden = 2 * dim;
  config.classes = 7;
  return config;
}

/// The same as a clip model of mae_st's kind: tubelets of two frames, no class token, fc_norm.
inline ViTConfig on_clips(ViTConfig config, int64_t frames = 4) {
  config.frames = frames;
  config.tubelet = 2;
  config.class_token = false;
  config.pooling = Pooling::kMean;
  config.fc_norm = true;
  config.final_norm = false;
  config.prop_attn_auto = false;
  return config;
}

/// The model in a parity file: tensors `weights.<timm name>`.
inline VisionTransformer parity_model(const SafetensorsFile& file, Pooling pooling,
                                      bool distilled) {
  const ViTConfig config = parity_config(pooling, distilled);
  const auto tensor = [&](const std::string& name) { return file.tensor("weights." + name); };
  const auto linear = [&](const std::string& name) {
    return LinearWeights{tensor(name + ".weight"), tensor(name + ".bias")};
  };
  const auto norm = [&](const std::string& name) {
    return NormWeights{tensor(name + ".weight"), tensor(name + ".bias")};
  };
  ViTWeights weights;
  weights.patch_embed = linear("patch_embed.proj");
  weights.patch_embed.weight = weights.patch_embed.weight.flatten(1);
  weights.prefix = tensor("cls_token")[0];
  if (distilled) weights.prefix = at::cat({weights.prefix, tensor("dist_token")[0]});
  weights.pos_embed = tensor("pos_embed")[0];
  if (config.final_norm) weights.norm = norm("norm");
  if (config.fc_norm) weights.fc_norm = norm("fc_norm");
  for (int64_t i = 0; i < config.depth; ++i) {
    const std::string block = "blocks." + std::to_string(i) + ".";
    weights.blocks.push_back({norm(block + "norm1"),
                              norm(block + "norm2"),
                              linear(block + "attn.qkv"),
                              linear(block + "attn.proj"),
                              linear(block + "mlp.fc1"),
                              linear(block + "mlp.fc2"),
                              {},
                              {}});
  }
  weights.head = linear("head");
  if (distilled) weights.head_dist = linear("head_dist");
  return {config, weights};
}

/// Random weights of the right shapes, in float32.
inline ViTWeights random_weights(const ViTConfig& config, double scale = 0.05) {
  const auto random = [&](at::IntArrayRef shape) { return at::randn(shape) * scale; };
  const auto linear = [&](int64_t out, int64_t in) {
    return LinearWeights{random({out, in}), random({out})};
  };
  const auto norm = [&] { return NormWeights{1 + random({config.dim}), random({config.dim})}; };
  ViTWeights weights;
  weights.patch_embed =
      linear(config.dim, config.tubelet * config.channels * config.patch * config.patch);
  if (config.prefix_tokens() > 0) weights.prefix = at::randn({config.prefix_tokens(), config.dim});
  weights.pos_embed = at::randn({config.tokens(), config.dim});
  if (config.final_norm) weights.norm = norm();
  if (config.fc_norm) weights.fc_norm = norm();
  if (config.pre_norm) weights.pre_norm = norm();
  for (int64_t i = 0; i < config.depth; ++i) {
    weights.blocks.push_back({norm(),
                              norm(),
                              linear(3 * config.dim, config.dim),
                              linear(config.dim, config.dim),
                              linear(config.mlp_hidden, config.dim),
                              linear(config.dim, config.mlp_hidden),
                              {},
                              {}});
  }
  weights.head = linear(config.classes, config.head_inputs());
  if (config.distilled_head) weights.head_dist = linear(config.classes, config.dim);
  return weights;
}

inline VisionTransformer random_model(const ViTConfig& config,
                                      at::ScalarType precision = at::kFloat) {
  at::manual_seed(11);
  return {config, random_weights(config), at::kCPU, precision};
}

/// Patch rows of random pixels, [batch, frames, n, 3 * p * p].
inline at::Tensor random_patches(const ViTConfig& config, int64_t batch, int64_t frames = 1) {
  return at::randn(
      {batch, frames, config.grid_rows() * config.grid_cols(), 3 * config.patch * config.patch});
}

}  // namespace tome::testing
