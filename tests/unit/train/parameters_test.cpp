// Weights to begin with: those of an image model, of a shorter clip model, filters of motion.
#include "train/parameters.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tiny_config.h"
#include "tome_error.h"

namespace tome::train {
namespace {

TEST(Inflate, AStillClipEmbedsLikeItsFrame) {
  ViTConfig image = tiny_config();
  image.frames = image.tubelet = 1;
  image.class_token = true;
  image.pooling = Pooling::kToken;
  image.final_norm = true;
  image.fc_norm = false;
  const ViTWeights weights = make_weights(image, 3);
  ViTConfig clip = image;
  clip.frames = 4;
  clip.tubelet = 2;
  const ViTWeights inflated = inflate(image, weights, clip, 3);
  EXPECT_EQ(inflated.pos_embed.size(0), clip.tokens());
  const at::Tensor row = at::randn({3 * 64});
  const at::Tensor frame = at::linear(row, weights.patch_embed.weight);
  const at::Tensor still = at::linear(at::cat({row, row}), inflated.patch_embed.weight);
  EXPECT_TRUE(at::allclose(frame, still, 1e-4, 1e-5));
  ViTConfig wider = clip;
  wider.dim = 48;
  EXPECT_THROW(inflate(image, weights, wider, 3), Error);
}

TEST(Inflate, WhatTheImageModelHasTheClipModelHasAndNoMore) {
  ViTConfig image = tiny_config();
  image.frames = image.tubelet = 1;
  image.class_token = image.distill_token = image.distilled_head = true;
  image.pre_norm = true;
  ViTWeights weights = make_weights(image, 3);
  weights.patch_embed.bias = at::Tensor();  // as CLIP's
  weights.head_dist = {at::randn({image.classes, image.dim}), at::randn({image.classes})};
  ViTConfig clip = image;
  clip.frames = 4;
  clip.tubelet = 2;
  ViTWeights inflated = inflate(image, weights, clip, 3);
  const auto from = list_parameters(weights);
  const auto to = list_parameters(inflated);
  ASSERT_EQ(from.size(), to.size());
  for (size_t i = 0; i < from.size(); ++i) {
    EXPECT_EQ(from[i].name, to[i].name);
    EXPECT_FALSE(from[i].tensor.is_alias_of(to[i].tensor)) << from[i].name;
    if (from[i].name == "pos_embed" || from[i].name == "patch_embed.weight") continue;
    EXPECT_TRUE(at::equal(from[i].tensor, to[i].tensor)) << from[i].name;
  }
  clip.classes = 5;
  const ViTWeights other = inflate(image, weights, clip, 3);
  EXPECT_EQ(other.head.weight.size(0), 5);
  EXPECT_EQ(other.head_dist.weight.size(0), 5);
}

TEST(Inflate, AClipModelGrowsLonger) {
  const ViTConfig brief = tiny_config();
  const ViTWeights weights = make_weights(brief, 3);
  ViTConfig lengthy = brief;
  lengthy.frames = 2 * brief.frames;
  const ViTWeights grown = inflate(brief, weights, lengthy, 3);
  EXPECT_TRUE(at::equal(grown.patch_embed.weight, weights.patch_embed.weight));
  EXPECT_EQ(grown.pos_embed.size(0), lengthy.tokens());
  // Both steps that came of one start from its positions, told apart by no more than a faint wave.
  const int64_t cells = brief.grid_rows() * brief.grid_cols();
  for (int64_t step = 0; step < lengthy.grid_frames(); ++step) {
    const at::Tensor from = weights.pos_embed.narrow(0, step / 2 * cells, cells);
    const at::Tensor to = grown.pos_embed.narrow(0, step * cells, cells);
    EXPECT_LE((to - from).abs().max().item<float>(), 0.021F) << step;
  }
  ViTConfig shorter = brief;
  shorter.frames = brief.frames / 2;
  EXPECT_THROW(inflate(brief, weights, shorter, 3), Error);
  ViTConfig finer = lengthy;
  finer.tubelet = 1;
  EXPECT_THROW(inflate(brief, weights, finer, 3), Error);
}

TEST(MotionFilters, PairsPreferOneDirection) {
  // A filter pair's energy for a drifting grating against the same one drifting back.
  ViTConfig config = tiny_config();
  config.patch = 16;
  config.dim = 96;
  const at::Tensor filters = motion_filters(config, 1).view({96, 2, 3, 16, 16});
  EXPECT_EQ(filters.size(0), 96);
  double largest = 0;
  for (int64_t d = 8; d < 96; d += 2) {  // behind the noise filters
    const auto energy = [&](double speed) {
      at::Tensor clip = at::zeros({2, 3, 16, 16});
      auto values = clip.accessor<float, 4>();
      for (int64_t f = 0; f < 2; ++f) {
        for (int64_t y = 0; y < 16; ++y) {
          for (int64_t x = 0; x < 16; ++x) {
            for (int64_t c = 0; c < 3; ++c) {
              values[f][c][y][x] = static_cast<float>(
                  std::sin(0.7 * (static_cast<double>(x) - speed * static_cast<double>(f))));
            }
          }
        }
      }
      const double a = (filters[d] * clip).sum().item<double>();
      const double b = (filters[d + 1] * clip).sum().item<double>();
      return a * a + b * b;
    };
    const double to = energy(2);
    const double fro = energy(-2);
    if (to + fro > 0.5) largest = std::max(largest, std::abs(to - fro) / (to + fro));
  }
  EXPECT_GT(largest, 0.5);
}

}  // namespace
}  // namespace tome::train
