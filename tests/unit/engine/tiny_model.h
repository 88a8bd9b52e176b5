// A small random model, written as a folder the way any model is.
#pragma once

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <filesystem>
#include <string>

#include "checkpoint/checkpoint.h"

namespace tome::testing {

struct TinyShape {
  int64_t frames = 1, tubelet = 1;
  uint64_t seed = 1;
};

/// 32 x 32 pixels, patches of 8, width 32, three blocks, five classes, in timm's layout.
inline Checkpoint tiny_checkpoint(const TinyShape& shape = {}) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(shape.seed);
  const auto random = [&](at::IntArrayRef size) {
    return at::randn(size, generator, at::TensorOptions()) * 0.3;
  };
  constexpr int64_t kDim = 32, kPatch = 8, kHidden = 64, kClasses = 5;
  Checkpoint model;
  ViTConfig& config = model.config;
  config.name = "tiny";
  config.image_height = config.image_width = 32;
  config.patch = kPatch;
  config.dim = kDim;
  config.depth = 3;
  config.heads = 2;
  config.mlp_hidden = kHidden;
  config.classes = kClasses;
  config.frames = shape.frames;
  config.tubelet = shape.tubelet;
  const auto linear = [&](int64_t out, int64_t in) {
    return LinearWeights{random({out, in}), random({out})};
  };
  const auto norm = [&] { return NormWeights{random({kDim}) + 1, random({kDim})}; };
  ViTWeights& weights = model.weights;
  weights.patch_embed = linear(kDim, shape.tubelet * 3 * kPatch * kPatch);
  weights.prefix = random({1, kDim});
  weights.pos_embed = random({config.tokens(), kDim});
  for (int64_t i = 0; i < config.depth; ++i) {
    weights.blocks.push_back({norm(),
                              norm(),
                              linear(3 * kDim, kDim),
                              linear(kDim, kDim),
                              linear(kHidden, kDim),
                              linear(kDim, kHidden),
                              {},
                              {}});
  }
  weights.norm = norm();
  weights.head = linear(kClasses, kDim);
  model.preprocess.width = model.preprocess.height = 32;
  model.preprocess.resize_short = 32;
  model.labels = {"ant", "bee", "cow", "dog", "eel"};
  return model;
}

}  // namespace tome::testing
