#include "architectures.h"

#include <ATen/ATen.h>

#include "tome_error.h"

namespace tome::cli {
namespace {

struct Architecture {
  const char* name;
  int64_t dim, depth, heads, size, frames;
};

constexpr Architecture kArchitectures[] = {
    {"vit_tiny_patch16_224", 192, 12, 3, 224, 1},
    {"vit_tiny_patch16_384", 192, 12, 3, 384, 1},
    {"vit_small_patch16_224", 384, 12, 6, 224, 1},
    {"vit_small_patch16_384", 384, 12, 6, 384, 1},
    {"vit_base_patch16_224", 768, 12, 12, 224, 1},
    {"vit_base_patch16_384", 768, 12, 12, 384, 1},
    {"vit_large_patch16_224", 1024, 24, 16, 224, 1},
    {"vit_large_patch16_384", 1024, 24, 16, 384, 1},
    {"video_vit_base", 768, 12, 12, 224, 16},
    {"video_vit_large", 1024, 24, 16, 224, 16},
};

ViTConfig make_config(const Architecture& shape) {
  ViTConfig config;
  config.name = shape.name;
  config.dim = shape.dim;
  config.depth = shape.depth;
  config.heads = shape.heads;
  config.mlp_hidden = 4 * shape.dim;
  config.image_height = config.image_width = shape.size;
  if (shape.frames > 1) {
    config.family = "mae_st";
    config.frames = shape.frames;
    config.tubelet = 2;
    config.classes = 400;
    config.class_token = false;
    config.pooling = Pooling::kMean;
    config.fc_norm = true;
    config.final_norm = false;
    config.prop_attn_auto = false;
  }
  return config;
}

at::Tensor random(at::IntArrayRef shape) { return at::randn(shape).mul_(0.02); }

LinearWeights random_linear(int64_t out, int64_t in) {
  return {random({out, in}), at::zeros({out})};
}

NormWeights identity_norm(int64_t dim) { return {at::ones({dim}), at::zeros({dim})}; }

ViTWeights random_weights(const ViTConfig& config) {
  ViTWeights weights;
  weights.patch_embed =
      random_linear(config.dim, config.tubelet * config.channels * config.patch * config.patch);
  if (config.prefix_tokens() > 0) weights.prefix = random({config.prefix_tokens(), config.dim});
  weights.pos_embed = random({config.tokens(), config.dim});
  for (int64_t i = 0; i < config.depth; ++i) {
    BlockWeights block;
    block.norm1 = block.norm2 = identity_norm(config.dim);
    block.qkv = random_linear(3 * config.dim, config.dim);
    block.proj = random_linear(config.dim, config.dim);
    block.fc1 = random_linear(config.mlp_hidden, config.dim);
    block.fc2 = random_linear(config.dim, config.mlp_hidden);
    weights.blocks.push_back(std::move(block));
  }
  if (config.final_norm) weights.norm = identity_norm(config.dim);
  if (config.fc_norm) weights.fc_norm = identity_norm(config.dim);
  weights.head = random_linear(config.classes, config.dim);
  return weights;
}

}  // namespace

std::vector<std::string> architecture_names() {
  std::vector<std::string> names;
  for (const Architecture& shape : kArchitectures) names.emplace_back(shape.name);
  return names;
}

Checkpoint random_checkpoint(const std::string& name, uint64_t seed) {
  for (const Architecture& shape : kArchitectures) {
    if (name != shape.name) continue;
    at::manual_seed(seed);
    Checkpoint checkpoint;
    checkpoint.config = make_config(shape);
    checkpoint.weights = random_weights(checkpoint.config);
    return checkpoint;
  }
  std::string known;
  for (const auto& each : architecture_names()) known += (known.empty() ? "" : ", ") + each;
  throw Error(ErrorKind::kSettings, "--arch: found '" + name + "', expected one of " + known);
}

}  // namespace tome::cli
