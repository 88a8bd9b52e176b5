// The fused forward, composed on the host from the shipped kernel bodies, against
// VisionTransformer::forward and against the reference's recorded numbers.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "checkpoint/safetensors.h"
#include "cuda/host_ops.h"
#include "merging/schedule.h"
#include "shared_data.h"
#include "vit/attention_group_kernel.h"
#include "vit/model.h"
#include "vit/vit_fixtures.h"

namespace tome::testing {
namespace {

using cuda::ElementType;

/// 32 x 32 pixels, two blocks: 16 patch tokens.
ViTConfig tiny() { return small_config(32, 64, 2); }

struct Case {
  ViTConfig config = tiny();
  int64_t batch = 2, frames = 1;
  std::vector<int64_t> r;
  PropAttn prop_attn = PropAttn::kAuto;
  double scale = 0.1;  // of the weights
  Partition partition = Partition::kAlternating;
  AttentionWay way = AttentionWay::kTiles;
};

class Fused : public ::testing::Test {
 protected:
  /// The same model both ways.
  static void expect_same(const Case& c, ElementType type = ElementType::kFloat32) {
    const c10::InferenceMode inference;
    at::manual_seed(7);
    const ViTWeights weights = random_weights(c.config, c.scale);
    const at::Tensor patches = random_patches(c.config, c.batch, c.frames);
    ForwardOptions options;
    options.r = c.r;
    options.prop_attn = c.prop_attn;
    options.partition = c.partition;
    options.track_source = true;
    // LibTorch's operators do not all know fp16 on the CPU; it is near enough to float32.
    const at::ScalarType exact = type == ElementType::kBfloat16 ? at::kBFloat16 : at::kFloat;
    const VisionTransformer model(c.config, weights, at::kCPU, exact);
    const ForwardOutput expected = model.forward(patches, options);
    const auto run = [&](SideOrder side, cuda::ThreadOrder order) {
      return run_fused(c.config, weights, patches, c.r, is_proportional(c.prop_attn, c.config),
                       type, side, c.partition, c.way, order);
    };
    const HostForward got = run(SideOrder::kLate, cuda::ThreadOrder::kForwards);
    EXPECT_EQ(got.r, expected.r);
    if (type == ElementType::kFloat32) {
      EXPECT_TRUE(at::equal(got.source, expected.source));
      EXPECT_TRUE(at::allclose(got.logits, expected.logits, 1e-5, 1e-5))
          << (got.logits - expected.logits).abs().max();
    } else {
      const double tolerance = type == ElementType::kFloat16 ? 2e-3 : 1e-2;
      EXPECT_TRUE(at::allclose(got.logits, expected.logits, tolerance, tolerance))
          << (got.logits - expected.logits).abs().max();
    }
    const HostForward again = run(SideOrder::kEarly, cuda::ThreadOrder::kBackwards);
    EXPECT_TRUE(at::equal(again.source, got.source));
    EXPECT_TRUE(at::equal(again.logits, got.logits));
  }
};

TEST_F(Fused, ImageModelUnmerged) { expect_same({}); }

TEST_F(Fused, ImageModelMerged) {
  Case c;
  c.r = {3, 2};
  expect_same(c);
  c.r = {0, 5};  // only one block merges
  expect_same(c);
  c.prop_attn = PropAttn::kOff;
  expect_same(c);
}

TEST_F(Fused, AskedForMoreThanMayMerge) {
  Case c;
  c.r = {100, 100};  // 17 tokens to 9 to 5
  expect_same(c);
}

TEST_F(Fused, OddNumbersOfTokens) {
  Case c;
  c.config.image_width = 40;  // 20 patches and the class token
  c.r = {1, 3};
  expect_same(c);
  c.config.image_height = 24;  // 15 patches
  expect_same(c);
}

TEST_F(Fused, TokensThatSpreadOverSeveralWarps) {
  Case c;
  c.config = small_config(32, 520, 2);  // two warps and a bit of a third
  c.scale = 0.05;
  c.r = {3, 2};
  expect_same(c);
}

TEST_F(Fused, DistilledModelWithTwoHeads) {
  Case c;
  c.config.distill_token = c.config.distilled_head = true;
  expect_same(c);
  c.r = {3, 3};
  expect_same(c);
}

TEST_F(Fused, RegistersNormBeforeAndRelu) {
  Case c;
  c.config.registers = 2;
  c.config.pre_norm = true;
  c.config.activation = Activation::kRelu;
  c.r = {2, 2};
  expect_same(c);
}

TEST_F(Fused, MeanPoolingIsWeightedBySize) {
  Case c;
  c.config.pooling = Pooling::kMean;
  c.config.final_norm = false;
  c.config.fc_norm = true;
  c.config.prop_attn_auto = false;
  c.r = {4, 4};
  expect_same(c);
  c.config.weighted_pool = false;
  expect_same(c);
  c.config.weighted_pool = true;
  c.config.final_norm = true;
  c.config.fc_norm = false;
  expect_same(c);
}

TEST_F(Fused, HeadSeesTheClassTokenBesideTheMean) {
  Case c;
  c.config.pooling = Pooling::kTokenAndMean;
  c.config.registers = 2;
  c.batch = 3;
  expect_same(c);
  c.r = {4, 4};
  expect_same(c);
  c.config.weighted_pool = false;
  expect_same(c);
  c.config.weighted_pool = true;
  c.config.final_norm = false;
  expect_same(c);
  c.config.final_norm = true;
  c.scale = 0.05;
  for (const ElementType type : {ElementType::kBfloat16, ElementType::kFloat16}) {
    expect_same(c, type);
  }
}

TEST_F(Fused, ClipModelWithTubelets) {
  Case c;
  c.config = on_clips(tiny());
  c.frames = 4;
  expect_same(c);
  c.r = {9, 5};
  expect_same(c);
}

TEST_F(Fused, ImageModelOnAClipWeighsItsClassTokenByTheFrames) {
  for (const PropAttn prop_attn : {PropAttn::kOn, PropAttn::kOff}) {
    Case c;
    c.frames = 3;
    c.prop_attn = prop_attn;
    expect_same(c);
    c.r = {20, 3};
    expect_same(c);
  }
}

TEST_F(Fused, PartitionsThatKnowTheGrid) {
  for (const Partition partition : {Partition::kByFrame, Partition::kCheckerboard}) {
    for (const int64_t width : {32, 40}) {  // 4 and 5 columns
      Case c;
      c.config = on_clips(tiny(), 8);
      c.config.depth = 5;
      c.frames = 8;
      c.config.image_width = width;
      c.partition = partition;
      c.r = {20, 0, 13, 9, 4};  // places have moved, and parities are uneven, from the second on
      expect_same(c);
      c.prop_attn = PropAttn::kOn;
      expect_same(c);
      c.config = tiny();  // an image model on a clip, with a class token
      c.config.pre_norm = true;
      c.config.depth = 4;
      c.config.image_width = width;
      c.frames = 3;
      c.r = {17, 9, 5, 3};
      for (const PropAttn prop_attn : {PropAttn::kOn, PropAttn::kOff}) {
        c.prop_attn = prop_attn;
        expect_same(c);
      }
      c.r = {};
      expect_same(c);
      c.r = {1000, 1000, 1000, 1000};
      expect_same(c);
    }
  }
}

TEST_F(Fused, SequentialPartition) {
  Case c;
  c.partition = Partition::kSequential;
  c.r = {5, 3};
  expect_same(c);
  c.config.registers = 1;
  expect_same(c);
}

TEST_F(Fused, LayerScaleIsFoldedIntoTheProducts) {
  const c10::InferenceMode inference;
  at::manual_seed(3);
  const ViTConfig config = tiny();
  ViTWeights weights = random_weights(config, 0.1);
  for (BlockWeights& block : weights.blocks) {
    block.scale1 = at::rand({config.dim}) + 0.5;
    block.scale2 = at::rand({config.dim}) + 0.5;
  }
  const at::Tensor patches = random_patches(config, 1, 1);
  ForwardOptions options;
  options.r = {0, 4};
  const VisionTransformer model(config, weights);
  const HostForward got =
      run_fused(config, weights, patches, options.r, true, ElementType::kFloat32);
  EXPECT_TRUE(at::allclose(got.logits, model.forward(patches, options).logits, 1e-5, 1e-5));
}

TEST_F(Fused, SixteenBitTypesWithTheShippedAttention) {
  for (const ElementType type : {ElementType::kBfloat16, ElementType::kFloat16}) {
    Case c;
    c.scale = 0.05;
    expect_same(c, type);
    c.r = {3, 2};
    expect_same(c, type);
    c.config = on_clips(tiny());
    c.frames = 4;
    c.batch = 1;
    c.r = {6, 6};
    expect_same(c, type);
    c.partition = Partition::kCheckerboard;
    expect_same(c, type);
  }
}

TEST_F(Fused, SixteenBitTypesWithAttentionByWarpgroups) {
  for (const ElementType type : {ElementType::kBfloat16, ElementType::kFloat16}) {
    Case c;
    c.way = AttentionWay::kGroups;
    c.config = small_config(32, 2 * cuda::kGroupDim, 2);
    c.scale = 0.05;
    c.r = {3, 2};
    expect_same(c, type);
    c.config = on_clips(c.config, 12);  // 96 tokens: two steps of keys, of which one is part
    c.frames = 12;
    c.batch = 1;
    c.r = {6, 6};
    expect_same(c, type);
  }
}

TEST_F(Fused, MatchingMayRunBesideAttentionAndProjection) {
  const c10::InferenceMode inference;
  at::manual_seed(5);
  const ViTConfig config = tiny();
  const ViTWeights weights = random_weights(config, 0.1);
  const at::Tensor patches = random_patches(config, 2, 3);
  for (const Partition partition : {Partition::kAlternating, Partition::kCheckerboard}) {
    const auto run = [&](SideOrder side) {
      return run_fused(config, weights, patches, {4, 3}, true, ElementType::kFloat32, side,
                       partition);
    };
    const HostForward early = run(SideOrder::kEarly), late = run(SideOrder::kLate);
    EXPECT_TRUE(at::equal(early.logits, late.logits));
    EXPECT_TRUE(at::equal(early.source, late.source));
  }
}

TEST_F(Fused, AMergingBlockIsEightOperations) {
  const c10::InferenceMode inference;
  const ViTConfig config = tiny();
  const ViTWeights weights = random_weights(config);
  const HostForward got = run_fused(config, weights, random_patches(config, 1, 1), {4, 4}, true,
                                    ElementType::kBfloat16);
  EXPECT_EQ(got.products, 1 + 2 * 4 + 1);  // patches, four of each block, head
  // Embedding; matching, attention, merge and the next LayerNorm (not after the last block), and
  // here the sources; pooling and its LayerNorm.
  EXPECT_EQ(got.launches, 1 + 2 * 5 - 1 + 2);
  // One more where the halves have to be listed.
  const HostForward clip =
      run_fused(config, weights, random_patches(config, 1, 2), {4, 4}, true, ElementType::kBfloat16,
                SideOrder::kEarly, Partition::kCheckerboard);
  EXPECT_EQ(clip.launches, got.launches + 2);
}

TEST_F(Fused, SaysWhatItCannotRun) {
  ViTConfig config = tiny();
  EXPECT_EQ(why_not_fused(config, ElementType::kBfloat16), "");
  EXPECT_NE(why_not_fused(config, ElementType::kFloat32), "");
  config.activation = Activation::kQuickGelu;
  EXPECT_NE(why_not_fused(config, ElementType::kBfloat16).find("QuickGELU"), std::string::npos);
  config = tiny();
  config.pooling = Pooling::kTokenAndMean;
  EXPECT_EQ(why_not_fused(config, ElementType::kBfloat16), "");
  config.fc_norm = true;
  EXPECT_NE(why_not_fused(config, ElementType::kBfloat16).find("fc_norm"), std::string::npos);
  config = tiny();
  config.heads = 4;
  EXPECT_NE(why_not_fused(config, ElementType::kFloat16).find("16 channels"), std::string::npos);
}

/// The reference's own numbers, block options as its files give them.
class FusedParity : public ::testing::TestWithParam<std::tuple<const char*, Pooling, bool>> {};

TEST_P(FusedParity, LogitsAndSources) {
  const auto& [name, pooling, distilled] = GetParam();
  TOME_NEEDS_SHARED_DATA(std::string("parity/") + name + ".safetensors");
  const c10::InferenceMode inference;
  const auto folder = shared_data() / "parity";
  const auto file = SafetensorsFile::open(folder / (std::string(name) + ".safetensors"));
  VisionTransformer model = parity_model(file, pooling, distilled);
  const at::Tensor patches = patchify(file.tensor("input").unsqueeze(2), model.config().patch);
  std::ifstream json(folder / (std::string(name) + ".json"));
  const auto cases = nlohmann::json::parse(json);
  ASSERT_GE(cases.size(), 8U);
  for (const auto& about : cases) {
    const std::string key = about["key"];
    SCOPED_TRACE(key);
    const HostForward got = run_fused(model.config(), model.weights(), patches,
                                      about["r_per_layer"].get<std::vector<int64_t>>(),
                                      about["prop_attn"].get<bool>(), ElementType::kFloat32);
    EXPECT_TRUE(at::allclose(got.logits, file.tensor(key + ".logits"), 1e-4, 1e-4));
    if (file.has(key + ".source")) {
      EXPECT_TRUE(at::equal(got.source, file.tensor(key + ".source").argmax(1)));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Models, FusedParity,
    ::testing::Values(std::make_tuple("vit_tiny", Pooling::kToken, false),
                      std::make_tuple("vit_tiny_distilled", Pooling::kToken, true),
                      std::make_tuple("vit_tiny_mae_pool", Pooling::kMean, false)),
    [](const auto& info) { return std::string(std::get<0>(info.param)); });

}  // namespace
}  // namespace tome::testing
