// The ways to merge that LibTorch's operators alone know: Note [Two forwards on the CPU].
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <iterator>
#include <string>
#include <vector>

#include "merging/methods.h"
#include "vit/model.h"
#include "vit_fixtures.h"

namespace tome {
namespace {

using testing::parity_config;
using testing::random_model;
using testing::random_weights;

struct Way {
  const char* name;
  void (*ask)(ForwardOptions&);
};

constexpr Way kSimilarities[] = {
    {"dot", [](ForwardOptions& options) { options.similarity = Similarity::kDot; }},
    {"euclidean", [](ForwardOptions& options) { options.similarity = Similarity::kEuclidean; }}};
constexpr Way kMetrics[] = {
    {"keys of all heads", [](ForwardOptions& options) { options.metric = Metric::kKeysConcat; }},
    {"queries", [](ForwardOptions& options) { options.metric = Metric::kQueries; }},
    {"values", [](ForwardOptions& options) { options.metric = Metric::kValues; }},
    {"tokens before", [](ForwardOptions& options) { options.metric = Metric::kTokensBefore; }},
    {"tokens after", [](ForwardOptions& options) { options.metric = Metric::kTokensAfter; }}};
constexpr Way kCombines[] = {
    {"mean", [](ForwardOptions& options) { options.combine = Combine::kMean; }},
    {"max", [](ForwardOptions& options) { options.combine = Combine::kMax; }},
    {"keep one", [](ForwardOptions& options) { options.combine = Combine::kKeepOne; }}};
constexpr Way kPartitions[] = {
    {"random", [](ForwardOptions& options) { options.partition = Partition::kRandom; }}};
constexpr Way kClusterings[] = {
    {"k-means", [](ForwardOptions& options) { options.method = MergeMethod::kKMeans; }},
    {"greedy", [](ForwardOptions& options) { options.method = MergeMethod::kGreedy; }}};
constexpr Way kPrunings[] = {
    {"random prune", [](ForwardOptions& options) { options.method = MergeMethod::kRandomPrune; }},
    {"attention prune",
     [](ForwardOptions& options) { options.method = MergeMethod::kAttentionPrune; }}};

template <class... Groups>
std::vector<Way> all_of(const Groups&... groups) {
  std::vector<Way> ways;
  (ways.insert(ways.end(), std::begin(groups), std::end(groups)), ...);
  return ways;
}

ForwardOptions merging() {
  ForwardOptions options;
  options.r = {8, 8, 8, 8};
  options.seed = 3;
  return options;
}

TEST(WaysToMerge, KernelsLeaveToTheOperatorsWhatTheyDoNotKnow) {
  const c10::InferenceMode inference;
  const VisionTransformer model = random_model(parity_config());
  at::manual_seed(3);
  const at::Tensor pixels = at::randn({2, 3, 64, 64});
  const at::Tensor usual = model.forward_pixels(pixels, merging()).logits;
  for (const Way& way :
       all_of(kSimilarities, kMetrics, kCombines, kPartitions, kClusterings, kPrunings)) {
    SCOPED_TRACE(way.name);
    ForwardOptions options = merging();
    way.ask(options);
    const at::Tensor ours = model.forward_pixels(pixels, options).logits;
    options.plain = true;
    EXPECT_TRUE(at::equal(ours, model.forward_pixels(pixels, options).logits));
    EXPECT_FALSE(at::allclose(ours, usual, 1e-3, 1e-3)) << "or nothing was asked";
  }
}

TEST(WaysToMerge, OperatorsGiveEachItsOwnResult) {
  const c10::InferenceMode inference;
  const VisionTransformer model = random_model(parity_config());
  at::manual_seed(3);
  const at::Tensor pixels = at::randn({2, 3, 64, 64});
  ForwardOptions plain = merging();
  plain.plain = true;
  std::vector<at::Tensor> results{model.forward_pixels(pixels, plain).logits};
  for (const Way& way :
       all_of(kSimilarities, kMetrics, kCombines, kPartitions, kClusterings, kPrunings)) {
    ForwardOptions options = plain;
    way.ask(options);
    const at::Tensor logits = model.forward_pixels(pixels, options).logits;
    for (const at::Tensor& other : results) {
      EXPECT_FALSE(at::allclose(logits, other, 1e-3, 1e-3)) << way.name;
    }
    results.push_back(logits);
  }
}

/// What one block asks of the tokens behind its attention.
Matching matching_of(const at::Tensor& tokens, int64_t r, const ForwardOptions& options) {
  MatchOptions match;
  match.r = r;
  match.protected_tokens = {0};
  match.similarity = options.similarity;
  if (options.method == MergeMethod::kKMeans) return kmeans_matching(tokens, match);
  if (options.method == MergeMethod::kGreedy) return greedy_matching(tokens, match);
  return bipartite_soft_matching(tokens, match);
}

// Without MLPs a block ends in the merge of the tokens that its trace names as their own metric.
TEST(WaysToMerge, EveryBlockMergesAsItIsAsked) {
  const c10::InferenceMode inference;
  const ViTConfig config = parity_config();
  at::manual_seed(11);
  const ViTWeights weights = random_weights(config);
  for (const BlockWeights& block : weights.blocks) {
    block.fc2.weight.zero_();
    block.fc2.bias.zero_();
  }
  const VisionTransformer model(config, weights);
  const at::Tensor pixels = at::randn({2, 3, 64, 64});
  const Way usual[] = {{"usual", [](ForwardOptions&) {}}};
  for (const Way& way : all_of(usual, kSimilarities, kCombines, kClusterings)) {
    ForwardOptions options = merging();
    options.metric = Metric::kTokensAfter;
    options.trace = true;
    way.ask(options);
    const ForwardOutput out = model.forward_pixels(pixels, options);
    at::Tensor size;  // of the tokens that enter the block; none has merged yet
    for (size_t i = 0; i < out.trace.size(); ++i) {
      SCOPED_TRACE(std::string(way.name) + ", block " + std::to_string(i));
      const at::Tensor& tokens = out.trace[i].metric;
      const MergedTokens merged =
          merge_tokens(tokens, size, matching_of(tokens, options.r[i], options), options.combine);
      EXPECT_TRUE(at::allclose(out.trace[i].x, merged.x, 1e-5, 1e-6));
      EXPECT_TRUE(at::equal(out.trace[i].size, merged.size));
      size = merged.size;
    }
  }
}

TEST(WaysToMerge, RandomOnesDependOnTheSeed) {
  const c10::InferenceMode inference;
  const VisionTransformer model = random_model(parity_config());
  const at::Tensor pixels = at::randn({2, 3, 64, 64});
  for (const Way& way : all_of(kPartitions, kPrunings)) {
    ForwardOptions options = merging();
    way.ask(options);
    const bool random = options.method != MergeMethod::kAttentionPrune;
    const at::Tensor first = model.forward_pixels(pixels, options).logits;
    EXPECT_TRUE(at::equal(first, model.forward_pixels(pixels, options).logits)) << way.name;
    options.seed = 4;
    EXPECT_EQ(at::equal(first, model.forward_pixels(pixels, options).logits), !random) << way.name;
  }
}

}  // namespace
}  // namespace tome
