// Clips of one frame repeated, on image models: Note [Image models on clips].
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <vector>

#include "vit/first_tokens.h"
#include "vit/model.h"
#include "vit_fixtures.h"

namespace tome {
namespace {

using testing::parity_config;
using testing::random_model;

TEST(StillClip, EqualsItsFrame) {
  const c10::InferenceMode inference;
  for (const bool distilled : {false, true}) {
    for (const auto prop : {PropAttn::kOn, PropAttn::kOff}) {
      const VisionTransformer model = random_model(parity_config(Pooling::kToken, distilled));
      const at::Tensor frame = at::randn({2, 3, 1, 64, 64});
      ForwardOptions options;
      options.prop_attn = prop;
      const at::Tensor one = model.forward_pixels(frame, options).logits;
      for (const int64_t frames : {2, 5}) {
        const auto clip = model.forward_pixels(frame.repeat({1, 1, frames, 1, 1}), options);
        EXPECT_TRUE(at::allclose(clip.logits, one, 1e-5, 1e-5));
        EXPECT_EQ(clip.tokens_in, 1 + (distilled ? 1 : 0) + 64 * frames);
      }
    }
  }
}

// Each block halves the copies, and every state on the way counts as the frame does, also where
// sizes are not looked at.
TEST(StillClip, EqualsItsFrameHoweverManyCopiesAreMerged) {
  const c10::InferenceMode inference;
  for (const bool distilled : {false, true}) {
    const ViTConfig config = parity_config(Pooling::kToken, distilled);
    const VisionTransformer model = random_model(config);
    const at::Tensor frame = at::randn({2, 3, 1, 64, 64});
    const at::Tensor clip = frame.repeat({1, 1, 8, 1, 1});
    for (const auto prop : {PropAttn::kOn, PropAttn::kOff}) {
      for (const bool plain : {true, false}) {
        ForwardOptions options;
        options.prop_attn = prop;
        options.plain = plain;
        const at::Tensor one = model.forward_pixels(frame, options).logits;
        for (const auto& r :
             std::vector<std::vector<int64_t>>{{256}, {256, 0, 128}, {256, 128, 64}}) {
          options.r = r;
          const ForwardOutput merged = model.forward_pixels(clip, options);
          EXPECT_EQ(merged.tokens_out,
                    config.prefix_tokens() + 512 - at::tensor(r).sum().item<int64_t>());
          EXPECT_TRUE(at::allclose(merged.logits, one, 1e-4, 1e-4)) << at::tensor(r);
        }
        options.r = {};
        options.static_threshold = 0;
        const ForwardOutput still = model.forward_pixels(clip, options);
        EXPECT_EQ(still.tokens_out, config.prefix_tokens() + 64);
        EXPECT_TRUE(at::allclose(still.logits, one, 1e-4, 1e-4)) << "static";
      }
    }
  }
}

TEST(StillClip, PrefixTokensCountAsOftenAsFramesAreLeft) {
  const FirstTokens first(parity_config(), 8);
  EXPECT_EQ(first.count(), 1 + 8 * 64);
  EXPECT_EQ(first.prefix_weight(first.count(), false), 8);
  EXPECT_EQ(first.prefix_weight(1 + 96, false), 1.5);
  EXPECT_EQ(first.prefix_weight(1 + 32, false), 1) << "as in a frame that merges";
  EXPECT_EQ(first.prefix_weight(1 + 32, true), 8) << "sizes still add up to 8 frames";
  const FirstTokens of_clip_model(testing::on_clips(parity_config()), 4);
  EXPECT_EQ(of_clip_model.count(), 2 * 64);
  EXPECT_EQ(of_clip_model.prefix_weight(100, true), 1);
}

TEST(StillClip, DuplicateTokensMergeWithoutChangingTheResult) {
  // Two equal frames: merging each patch with its copy (r = half, splits by frame) loses nothing
  // under proportional attention.
  const c10::InferenceMode inference;
  const VisionTransformer model = random_model(parity_config());
  const at::Tensor frame = at::randn({1, 3, 1, 64, 64});
  ForwardOptions options;
  options.partition = Partition::kByFrame;
  options.r = {64};
  options.track_source = true;
  const auto merged = model.forward_pixels(frame.repeat({1, 1, 2, 1, 1}), options);
  EXPECT_EQ(merged.tokens_out, 65);
  EXPECT_TRUE(at::allclose(merged.logits, model.forward_pixels(frame).logits, 1e-4, 1e-4));
  EXPECT_TRUE(at::equal(merged.source.narrow(1, 1, 64), merged.source.narrow(1, 65, 64)));
}

// Note [r after static patches]
TEST(StillClip, RShrinksToTheNearestWholeNumber) {
  const auto asked = [](int64_t r, int64_t left, int64_t all) {
    ForwardOptions options;
    options.r = {r};
    return asked_of_block(options, 0, left, all);
  };
  EXPECT_EQ(asked(5, 64, 64), 5);
  EXPECT_EQ(asked(5, 48, 64), 4);  // 3.75
  EXPECT_EQ(asked(3, 32, 64), 2);  // 1.5
  EXPECT_EQ(asked(3, 24, 64), 1);  // 1.125
  EXPECT_EQ(asked_of_block({}, 0, 48, 64), 0);
}

TEST(StillClip, StaticPatchesMergeBeforeBlock0) {
  const c10::InferenceMode inference;
  const VisionTransformer model = random_model(parity_config());
  const at::Tensor frame = at::randn({1, 3, 1, 64, 64});
  ForwardOptions options;
  options.static_threshold = 0;
  options.trace = true;
  const auto still = model.forward_pixels(frame.repeat({1, 1, 8, 1, 1}), options);
  EXPECT_EQ(still.tokens_in, 1 + 8 * 64);
  EXPECT_LE(still.trace[0].x.size(1), 1.3 * 65);
  EXPECT_TRUE(at::allclose(still.logits, model.forward_pixels(frame).logits, 1e-4, 1e-4));
  // r is asked for all 512 patches; a still clip's 64 merge as large a share.
  options.r = {32, 32, 32, 32};
  options.trace = false;
  for (const bool plain : {true, false}) {
    options.plain = plain;
    const auto merged = model.forward_pixels(frame.repeat({1, 1, 8, 1, 1}), options);
    EXPECT_EQ(merged.r, (std::vector<int64_t>{4, 4, 4, 4}));
  }
  // Where nothing repeats the result is the same to the bit, merged and not.
  const at::Tensor moving = at::randn({1, 3, 8, 64, 64});
  for (const auto& r : {std::vector<int64_t>{}, options.r}) {
    options.r = r;
    ForwardOptions without = options;
    without.static_threshold = -1;
    EXPECT_TRUE(at::equal(model.forward_pixels(moving, options).logits,
                          model.forward_pixels(moving, without).logits));
  }
}

}  // namespace
}  // namespace tome
