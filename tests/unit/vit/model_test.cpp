#include "vit/model.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "tome_error.h"
#include "vit/attention.h"
#include "vit_fixtures.h"

namespace tome {
namespace {

using testing::parity_config;
using testing::random_model;
using testing::random_weights;

TEST(Attention, LogWeightIsAKeyRepeated) {
  // A key of weight 3 must act as three equal keys (the definition of proportional attention).
  at::manual_seed(1);
  const at::Tensor q = at::randn({1, 2, 5, 8}), k = at::randn({1, 2, 4, 8}),
                   v = at::randn({1, 2, 4, 8});
  const auto repeat = [](const at::Tensor& t) {
    return at::cat({t, t.narrow(2, 3, 1), t.narrow(2, 3, 1)}, 2);
  };
  const at::Tensor long_way =
      at::softmax(q.matmul(repeat(k).transpose(2, 3)) / std::sqrt(8.0), -1).matmul(repeat(v));
  // attention() wants as many queries as keys; pad the queries.
  const at::Tensor bias = at::tensor({1.F, 1.F, 1.F, 3.F}).log().unsqueeze(0);
  const at::Tensor ours = attention({q.narrow(2, 0, 4), k, v}, bias);
  const at::Tensor expected = long_way.narrow(2, 0, 4).transpose(1, 2).reshape({1, 4, 16});
  EXPECT_TRUE(at::allclose(ours, expected, 1e-5, 1e-6));
}

TEST(Model, ClipsAreSplitAsACheckerboardUnlessToldOtherwise) {
  const c10::InferenceMode inference;
  const VisionTransformer model = random_model(parity_config());
  const auto logits = [&](const at::Tensor& pixels, std::optional<Partition> partition) {
    ForwardOptions options;
    options.r = {8, 8, 8, 8};
    options.partition = partition;
    return model.forward_pixels(pixels, options).logits;
  };
  const at::Tensor clip = at::randn({1, 3, 4, 64, 64});
  EXPECT_TRUE(at::equal(logits(clip, {}), logits(clip, Partition::kCheckerboard)));
  EXPECT_FALSE(at::equal(logits(clip, {}), logits(clip, Partition::kAlternating)));
  const at::Tensor frame = clip.narrow(2, 0, 1);
  EXPECT_TRUE(at::equal(logits(frame, {}), logits(frame, Partition::kAlternating)));
  EXPECT_EQ(default_partition(1), Partition::kAlternating);
  EXPECT_EQ(default_partition(2), Partition::kCheckerboard);
}

TEST(Model, BatchDoesNotMixSamples) {
  const c10::InferenceMode inference;
  const VisionTransformer model = random_model(parity_config());
  const at::Tensor pixels = at::randn({3, 3, 64, 64});
  ForwardOptions options;
  options.r = {8, 8, 8, 8};
  const at::Tensor together = model.forward_pixels(pixels, options).logits;
  for (int64_t i = 0; i < 3; ++i) {
    const at::Tensor alone = model.forward_pixels(pixels.narrow(0, i, 1), options).logits;
    EXPECT_TRUE(at::allclose(together[i], alone[0], 1e-4, 1e-4));
  }
}

TEST(Model, BitwiseRepeatable) {
  const c10::InferenceMode inference;
  const VisionTransformer model = random_model(parity_config());
  const at::Tensor pixels = at::randn({2, 3, 64, 64});
  ForwardOptions options;
  options.r = {8, 8, 8, 8};
  const at::Tensor first = model.forward_pixels(pixels, options).logits;
  EXPECT_TRUE(at::equal(first, model.forward_pixels(pixels, options).logits));
}

TEST(Model, Bf16StaysNear) {
  const c10::InferenceMode inference;
  const at::Tensor pixels = at::randn({2, 3, 64, 64});
  ForwardOptions options;
  options.r = {8, 8, 8, 8};
  const at::Tensor full = random_model(parity_config()).forward_pixels(pixels, options).logits;
  const auto half = random_model(parity_config(), at::kBFloat16).forward_pixels(pixels, options);
  EXPECT_EQ(half.logits.scalar_type(), at::kFloat);
  EXPECT_LT((half.logits - full).abs().max().item<double>(), 0.1 * full.abs().max().item<double>());
}

TEST(Model, PrefixTokensNeverMerge) {
  const c10::InferenceMode inference;
  ViTConfig config = parity_config();
  config.registers = 4;
  const VisionTransformer model = random_model(config);
  ForwardOptions options;
  options.r = {100, 100, 100, 100};
  options.track_source = true;
  const auto out = model.forward_pixels(at::randn({2, 3, 64, 64}), options);
  EXPECT_EQ(out.r, (std::vector<int64_t>{32, 16, 8, 4}));
  EXPECT_EQ(out.tokens_out, 5 + 4);
  for (int64_t i = 0; i < 5; ++i) {
    EXPECT_TRUE(at::equal(out.size.select(1, i), at::ones({2})));
    EXPECT_EQ(out.source[0][i].item<int64_t>(), i);
  }
  EXPECT_TRUE(at::equal(out.size.sum(1), at::full({2}, 69.0)));
}

TEST(Model, PatchifyFollowsTheLayout) {
  const at::Tensor pixels = at::arange(2 * 3 * 2 * 4 * 6, at::kFloat).view({2, 3, 2, 4, 6});
  const at::Tensor rows = patchify(pixels, 2);
  ASSERT_EQ(rows.sizes(), (at::IntArrayRef{2, 2, 6, 12}));
  for (int64_t y = 0; y < 4; ++y) {
    for (int64_t x = 0; x < 6; ++x) {
      for (int64_t c = 0; c < 3; ++c) {
        EXPECT_TRUE(at::equal(rows[1][1][y / 2 * 3 + x / 2][c * 4 + y % 2 * 2 + x % 2],
                              pixels[1][c][1][y][x]));
      }
    }
  }
}

TEST(Model, TubeletsEmbedLikeConv3d) {
  const c10::InferenceMode inference;
  ViTConfig config = parity_config(Pooling::kMean);
  config.class_token = false;
  config.image_height = config.image_width = 16;
  config.frames = 4;
  config.tubelet = 2;
  config.depth = 0;
  config.fc_norm = config.final_norm = false;
  at::manual_seed(3);
  ViTWeights weights = random_weights(config);
  const VisionTransformer model(config, weights);
  const at::Tensor pixels = at::randn({1, 3, 4, 16, 16});
  // Columns are (t, c, y, x); Conv3d's kernel is (c, t, y, x).
  const at::Tensor kernel =
      weights.patch_embed.weight.view({64, 2, 3, 8, 8}).permute({0, 2, 1, 3, 4}).contiguous();
  const at::Tensor tokens =
      at::conv3d(pixels, kernel, weights.patch_embed.bias, {2, 8, 8}).flatten(2).transpose(1, 2) +
      weights.pos_embed;
  const at::Tensor logits = at::linear(tokens.mean(1), weights.head.weight, weights.head.bias);
  EXPECT_TRUE(at::allclose(model.forward_pixels(pixels).logits, logits, 1e-4, 1e-5));
}

TEST(Model, WrongShapesAreNamed) {
  const VisionTransformer model = random_model(parity_config());
  try {
    model.forward(at::zeros({1, 1, 63, 192}));
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("[1, 1, 63, 192]"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("64, 192"), std::string::npos);
  }
  EXPECT_THROW(random_model(parity_config(), at::kHalf), Error);
}

// What README shows: no guard, LibTorch's default. The forward is the one that users of the program
// and the element get, and a model in bf16 runs, too.
TEST(Model, NoGuardIsNeeded) {
  at::manual_seed(4);
  const at::Tensor pixels = at::randn({2, 3, 64, 64});
  for (const auto precision : {at::kFloat, at::kBFloat16}) {
    const VisionTransformer model = random_model(parity_config(), precision);
    ForwardOptions options;
    options.r = {8, 8, 8, 8};
    at::Tensor guarded;
    {
      const c10::InferenceMode inference;
      guarded = model.forward_pixels(pixels, options).logits;
    }
    EXPECT_TRUE(at::equal(model.forward_pixels(pixels, options).logits, guarded)) << precision;
    options.plain = true;
    const at::Tensor plain = model.forward_pixels(pixels, options).logits;
    const double near = precision == at::kFloat ? 1e-4 : 0.2 * guarded.abs().max().item<double>();
    EXPECT_TRUE(at::allclose(plain, guarded, 0, near)) << precision;
  }
}

// Copies made of the weights must not be taken once these are trained.
TEST(Model, WeightsMayBeginToRequireAGradient) {
  VisionTransformer model = random_model(parity_config());
  const at::Tensor pixels = at::randn({1, 3, 64, 64});
  EXPECT_FALSE(model.forward_pixels(pixels).logits.requires_grad());
  model.weights().head.weight.requires_grad_(true);
  EXPECT_TRUE(model.forward_pixels(pixels).logits.requires_grad());
}

void expect_settings_error(const std::function<void()>& call,
                           const std::vector<std::string>& words) {
  try {
    call();
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kSettings);
    for (const std::string& word : words) {
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
    }
  }
}

TEST(Model, PixelsOfAnotherSizeAreNamed) {
  const VisionTransformer model = random_model(parity_config());
  // All but the first have as many patches as the model's 64 x 64, or more that would be cut off.
  for (const auto& size : std::vector<std::vector<int64_t>>{
           {1, 3, 72, 64}, {1, 3, 71, 71}, {1, 3, 32, 128}, {1, 4, 64, 64}, {3, 64, 64}}) {
    expect_settings_error([&] { model.forward_pixels(at::zeros(size)); },
                          {"found [" + std::to_string(size[0]) + ", ", "64 x 64"});
  }
  ForwardOptions options;
  options.r = {1, 1, 1, 1, 1};
  expect_settings_error(
      [&] {
        model.forward_pixels(at::zeros({1, 3, 64, 64}), options);
      },
      {"found 5 numbers", "4 blocks"});
}

TEST(Model, EmptyBatchesAndEnormousRAreNoSpecialCases) {
  const c10::InferenceMode inference;
  const VisionTransformer model = random_model(parity_config());
  ForwardOptions options;
  options.r = std::vector<int64_t>(4, std::numeric_limits<int64_t>::max() / 2);
  EXPECT_EQ(model.forward_pixels(at::zeros({0, 3, 64, 64}), options).logits.size(0), 0);
  // 64, 32, 16 and 8 tokens: half of them each time, after a still clip's frames have become one.
  const at::Tensor clip = at::randn({1, 3, 1, 64, 64}).repeat({1, 1, 8, 1, 1});
  options.static_threshold = 0;
  for (const bool plain : {true, false}) {
    options.plain = plain;
    EXPECT_EQ(model.forward_pixels(clip, options).r, (std::vector<int64_t>{32, 16, 8, 4}));
  }
}

// Pruned tokens are gone, whatever `combine` says: the one they are counted to stays as it was.
TEST(Model, PruningCombinesNothing) {
  const c10::InferenceMode inference;
  const VisionTransformer model = random_model(parity_config());
  const at::Tensor pixels = at::randn({2, 3, 64, 64});
  const auto logits = [&](Combine combine) {
    ForwardOptions options;
    options.r = {8, 8, 8, 8};
    options.method = MergeMethod::kAttentionPrune;
    options.combine = combine;
    return model.forward_pixels(pixels, options).logits;
  };
  const at::Tensor expected = logits(Combine::kKeepOne);
  for (const Combine combine : {Combine::kWeightedMean, Combine::kMean, Combine::kMax}) {
    EXPECT_TRUE(at::equal(logits(combine), expected));
  }
}

TEST(Model, EveryMetricAndSimilarityRuns) {
  const c10::InferenceMode inference;
  const VisionTransformer model = random_model(parity_config());
  const at::Tensor pixels = at::randn({1, 3, 64, 64});
  const at::Tensor unmerged = model.forward_pixels(pixels).logits;
  for (const auto metric : {Metric::kKeys, Metric::kKeysConcat, Metric::kQueries, Metric::kValues,
                            Metric::kTokensBefore, Metric::kTokensAfter}) {
    for (const auto similarity : {Similarity::kCosine, Similarity::kDot, Similarity::kEuclidean}) {
      ForwardOptions options;
      options.r = {8, 8, 8, 8};
      options.metric = metric;
      options.similarity = similarity;
      const auto out = model.forward_pixels(pixels, options);
      EXPECT_EQ(out.tokens_out, 65 - 32);
      EXPECT_TRUE(at::isfinite(out.logits).all().item<bool>());
      EXPECT_FALSE(at::equal(out.logits, unmerged));
    }
  }
}

TEST(Model, MetricsAreTheirDefinitions) {
  const c10::InferenceMode inference;
  const ViTConfig config = parity_config();
  at::manual_seed(11);
  const ViTWeights weights = random_weights(config);
  const VisionTransformer model(config, weights);
  const at::Tensor pixels = at::randn({2, 3, 64, 64});
  const int64_t head_dim = config.dim / config.heads;
  const BlockWeights& block = weights.blocks[1];
  for (const auto metric : {Metric::kKeys, Metric::kKeysConcat, Metric::kQueries, Metric::kValues,
                            Metric::kTokensBefore, Metric::kTokensAfter}) {
    ForwardOptions options;
    options.r = {0, 8};  // the second block's tokens are all there, each of size 1
    options.metric = metric;
    options.trace = true;
    const auto out = model.forward_pixels(pixels, options);
    const at::Tensor before = out.trace[0].x;  // [2, N, dim]
    const at::Tensor normed =
        at::layer_norm(before, {config.dim}, block.norm1.weight, block.norm1.bias, config.norm_eps);
    const at::Tensor qkv = at::linear(normed, block.qkv.weight, block.qkv.bias)
                               .view({2, -1, 3, config.heads, head_dim});
    const at::Tensor q = qkv.select(2, 0), k = qkv.select(2, 1), v = qkv.select(2, 2);
    const at::Tensor weight = at::einsum("bnhd,bmhd->bhnm", {q, k}) / std::sqrt(head_dim);
    const at::Tensor attended = at::einsum("bhnm,bmhd->bnhd", {weight.softmax(-1), v}).flatten(2);
    const at::Tensor after = before + at::linear(attended, block.proj.weight, block.proj.bias);
    const std::map<Metric, at::Tensor> expected{
        {Metric::kKeys, k.mean(2)},      {Metric::kKeysConcat, k.flatten(2)},
        {Metric::kQueries, q.mean(2)},   {Metric::kValues, v.mean(2)},
        {Metric::kTokensBefore, before}, {Metric::kTokensAfter, after}};
    EXPECT_TRUE(at::allclose(out.trace[1].metric, expected.at(metric), 1e-4, 1e-5))
        << static_cast<int>(metric);
  }
}

TEST(Model, EveryMethodKeepsCount) {
  const c10::InferenceMode inference;
  const VisionTransformer model = random_model(parity_config());
  const at::Tensor pixels = at::randn({2, 3, 64, 64});
  for (const auto method : {MergeMethod::kRandomPrune, MergeMethod::kAttentionPrune,
                            MergeMethod::kKMeans, MergeMethod::kGreedy, MergeMethod::kBipartite}) {
    ForwardOptions options;
    options.r = {8, 8, 8, 8};
    options.method = method;
    options.track_source = true;
    const auto out = model.forward_pixels(pixels, options);
    EXPECT_EQ(out.tokens_out, 65 - 32);
    const bool prunes =
        method == MergeMethod::kRandomPrune || method == MergeMethod::kAttentionPrune;
    EXPECT_EQ(out.size.sum().item<float>(), prunes ? 2 * 33 : 2 * 65);
    EXPECT_TRUE(at::isfinite(out.logits).all().item<bool>());
  }
}

}  // namespace
}  // namespace tome
