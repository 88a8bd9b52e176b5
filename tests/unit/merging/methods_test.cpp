#include "merging/methods.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>

#include "forward_settings.h"
#include "merging/partition.h"
#include "merging/schedule.h"
#include "merging/static_runs.h"
#include "merging_fixtures.h"
#include "tome_error.h"

namespace tome {
namespace {

using testing::row;

void expect_sound(const Matching& matching, int64_t batch, int64_t r) {
  EXPECT_EQ(matching.r(), r);
  for (int64_t b = 0; b < batch; ++b) {
    const auto target = row(matching.target, b);
    const std::set<int64_t> places(target.begin(), target.end());
    EXPECT_EQ(static_cast<int64_t>(places.size()), matching.tokens_out);
    EXPECT_EQ(std::count(target.begin(), target.end(), 0), 1) << "the class token is alone";
    const auto source = row(matching.source, b);
    EXPECT_EQ(static_cast<int64_t>(std::set<int64_t>(source.begin(), source.end()).size()), r);
  }
}

MatchOptions with_class_token(int64_t r) {
  MatchOptions options;
  options.r = r;
  options.protected_tokens = {0};
  options.seed = 5;
  return options;
}

TEST(Methods, EveryPlanIsSound) {
  at::manual_seed(1);
  const at::Tensor metric = at::randn({2, 33, 8});
  for (const int64_t r : {1, 7, 16}) {
    const auto options = with_class_token(r);
    expect_sound(random_pruning(2, 33, options), 2, r);
    expect_sound(attention_pruning(at::rand({2, 33}), options), 2, r);
    expect_sound(kmeans_matching(metric, options), 2, r);
    expect_sound(greedy_matching(metric, options), 2, r);
  }
  expect_sound(kmeans_matching(at::ones({1, 33, 8}), with_class_token(7)), 1, 7);
}

TEST(Methods, PlansAreSoundWhereTheMetricIsNotANumber) {
  at::manual_seed(1);
  at::Tensor metric = at::randn({2, 33, 8});
  for (const bool all : {false, true}) {
    metric.slice(1, all ? 0 : 5, all ? 33 : 9).fill_(std::nanf(""));
    const auto options = with_class_token(16);
    expect_sound(bipartite_soft_matching(metric, options), 2, 16);
    expect_sound(kmeans_matching(metric, options), 2, 16);
    expect_sound(greedy_matching(metric, options), 2, 16);
    expect_sound(attention_pruning(metric.select(2, 0), options), 2, 16);
  }
}

TEST(Methods, ProtectedTokensMustBeAscendingPlaces) {
  const at::Tensor metric = at::ones({1, 12, 8});
  MatchOptions options;
  options.r = 3;
  for (const auto& places :
       std::vector<std::vector<int64_t>>{{1, 0}, {0, 0}, {-1}, {12}, {0, 1, 12}}) {
    options.protected_tokens = places;
    EXPECT_THROW(bipartite_soft_matching(metric, options), Error);
    EXPECT_THROW(greedy_matching(metric, options), Error);
  }
}

// Of the tokens that may merge, alternating places can all be in A, or all in B.
TEST(Methods, NothingMergesWhereOneHalfIsEmpty) {
  using Places = std::vector<int64_t>;
  MatchOptions options;
  options.r = 1;
  for (const auto& [tokens, places] : {std::pair{3, Places{1}}, {5, Places{0, 2, 4}}}) {
    options.protected_tokens = places;
    ASSERT_EQ(capped_r(1, tokens, static_cast<int64_t>(places.size())), 1);
    const Matching m = bipartite_soft_matching(at::ones({2, tokens, 4}), options);
    EXPECT_EQ(m.r(), 0) << tokens;
    EXPECT_TRUE(at::equal(m.target, at::arange(tokens, at::kLong).repeat({2, 1}))) << tokens;
  }
}

TEST(Methods, AttentionPruningDropsTheLeastImportant) {
  const at::Tensor importance =
      at::tensor({9.F, 5.F, 1.F, 4.F, 2.F, 8.F, 2.F, 7.F, 6.F}).unsqueeze(0);
  const Matching m = attention_pruning(importance, with_class_token(3));
  EXPECT_EQ(row(m.source), (std::vector<int64_t>{2, 4, 6}));
  EXPECT_EQ(row(m.destination), (std::vector<int64_t>{1, 3, 5}));  // nearest kept, lower of equals
}

TEST(Methods, RandomPruningDependsOnTheSeed) {
  auto options = with_class_token(8);
  const auto first = row(random_pruning(1, 65, options).source);
  EXPECT_EQ(first, row(random_pruning(1, 65, options).source));
  options.seed = 6;
  EXPECT_NE(first, row(random_pruning(1, 65, options).source));
}

TEST(Methods, OfEquallyImportantTokensTheHigherPlaceGoesFirst) {
  const at::Tensor importance = at::tensor({9.F, 2.F, 2.F, 8.F, 2.F, 7.F}).unsqueeze(0);
  EXPECT_EQ(row(attention_pruning(importance, with_class_token(1)).source),
            std::vector<int64_t>{4});
  EXPECT_EQ(row(attention_pruning(importance, with_class_token(2)).source),
            (std::vector<int64_t>{2, 4}));
}

TEST(Methods, RandomPruningIsAnotherForEachSample) {
  const Matching m = random_pruning(2, 65, with_class_token(8));
  EXPECT_NE(row(m.source, 0), row(m.source, 1));
}

TEST(Methods, GreedyMergesTheMostSimilarPairsFirst) {
  // Tokens 2 and 4 are both in A: bipartite matching cannot join them, greedy must.
  const at::Tensor metric =
      at::tensor({1.F, 1.F, 0.F, 1.F, 1.F, 0.F, -1.F, 0.5F, 1.F, 0.01F, -1.F, -1.F})
          .view({1, 6, 2});
  const Matching m = greedy_matching(metric, with_class_token(1));
  EXPECT_EQ(row(m.source), std::vector<int64_t>{4});
  EXPECT_EQ(row(m.destination), std::vector<int64_t>{2});
}

TEST(Methods, KMeansFindsSeparatedClusters) {
  at::manual_seed(2);
  // Eight tokens around each of four directions, in blocks; four clusters remain.
  const at::Tensor directions = at::eye(4).repeat_interleave(8, 0);
  at::Tensor metric = (directions + 0.05 * at::randn({32, 4})).unsqueeze(0);
  MatchOptions options;
  options.r = 16;  // capped at half: 16 clusters, so only ask that no cluster mixes directions
  const Matching m = kmeans_matching(metric, options);
  const auto target = row(m.target);
  for (size_t i = 0; i < target.size(); ++i) {
    for (size_t j = 0; j < target.size(); ++j) {
      if (target[i] == target[j]) {
        EXPECT_EQ(i / 8, j / 8);
      }
    }
  }
}

/// Keys of unit length at these angles in a plane; the one that is not a number stands upright.
at::Tensor keys_at(const std::vector<double>& degrees) {
  at::Tensor keys = at::zeros({1, static_cast<int64_t>(degrees.size()), 3});
  for (size_t i = 0; i < degrees.size(); ++i) {
    const auto token = static_cast<int64_t>(i);
    const double angle = degrees[i] * std::acos(-1.0) / 180;
    keys[0][token][0] = std::isnan(angle) ? 0 : std::cos(angle);
    keys[0][token][1] = std::isnan(angle) ? 0 : std::sin(angle);
    keys[0][token][2] = std::isnan(angle) ? 1 : 0;
  }
  return keys;
}

TEST(Methods, KMeansMovesItsCentres) {
  // Three clusters from tokens 0, 2 and 4. The last token, at 44 degrees, is nearer to token 0 than
  // to token 2; but means of what came to them, around 1 and 70 degrees, are 43 and 26 away.
  const at::Tensor metric = keys_at({0, -40, 90, 50, std::nan(""), 44});
  MatchOptions options;
  options.r = 3;
  const Matching m = kmeans_matching(metric, options);
  EXPECT_EQ(row(m.source), (std::vector<int64_t>{1, 3, 5}));
  EXPECT_EQ(row(m.destination), (std::vector<int64_t>{0, 2, 2}));
  EXPECT_EQ(row(kmeans_matching(metric, options, 0).destination), (std::vector<int64_t>{0, 2, 0}));
}

TEST(StaticRuns, NothingRepeatsNothingMerges) {
  at::manual_seed(3);
  EXPECT_EQ(match_static_runs(at::randn({2, 4, 49, 12}), 0.01, 1).r(), 0);
}

TEST(StaticRuns, AStillSceneComesDownToOneFrame) {
  at::manual_seed(4);
  const Matching m = match_static_runs(at::randn({1, 1, 64, 12}).repeat({1, 8, 1, 1}), 0, 1);
  EXPECT_EQ(m.tokens_out, 1 + 64);
  const auto target = row(m.target);
  for (int64_t t = 0; t < 8; ++t) {
    for (int64_t place = 0; place < 64; ++place) EXPECT_EQ(target[1 + t * 64 + place], 1 + place);
  }
}

TEST(StaticRuns, SlowChangeDoesNotPileUp) {
  // Each step is 0.4 of the threshold: a run holds three tubelets (0, 0.4, 0.8), then a new one
  // begins. Sixteen places, eight times: runs of 3, 3 and 2 leave 3 x 16 tokens.
  at::Tensor tubelets = at::zeros({1, 8, 16, 4});
  for (int64_t t = 0; t < 8; ++t) tubelets[0][t].fill_(0.4 * static_cast<double>(t));
  const Matching m = match_static_runs(tubelets, 1.0, 0);
  EXPECT_EQ(m.tokens_out, 3 * 16);
  const auto target = row(m.target);
  EXPECT_EQ(target[2 * 16], target[0]);
  EXPECT_NE(target[3 * 16], target[0]);
  EXPECT_EQ(target[5 * 16], target[3 * 16]);
}

TEST(StaticRuns, TheMostAlikeMergeFirst) {
  // Twenty places could merge, the later the more alike; one bucket of them does.
  constexpr int64_t kPlaces = 20;
  at::Tensor tubelets = at::zeros({1, 2, kPlaces, 1});
  for (int64_t p = 0; p < kPlaces; ++p) tubelets[0][1][p] = 0.01 * static_cast<double>(19 - p);
  const Matching m = match_static_runs(tubelets, 1, 0);
  std::vector<int64_t> expected;
  for (int64_t token = 2 * kPlaces - 1; token >= 24; --token) expected.push_back(token);
  EXPECT_EQ(row(m.source), expected);
  for (int64_t& token : expected) token -= kPlaces;
  EXPECT_EQ(row(m.destination), expected);
}

TEST(StaticRuns, ABatchMergesWhatAllCan) {
  at::manual_seed(5);
  const at::Tensor still = at::randn({1, 1, 64, 4}).repeat({1, 4, 1, 1});
  at::Tensor half = still.clone();
  half.narrow(2, 0, 32).add_(at::randn({1, 4, 32, 4}));  // half of the places move
  const Matching m = match_static_runs(at::cat({still, half}), 1e-6, 0);
  EXPECT_EQ(m.r(), 3 * 32);
  EXPECT_EQ(match_static_runs(still, 1e-6, 0).r(), 3 * 64);
}

/// The text of the error that `tome`'s options raise for a model; empty if they raise none.
std::string refusal(const cli::ForwardSettings& settings, bool class_token = true) {
  ViTConfig config;
  config.class_token = class_token;
  try {
    cli::forward_options(settings, config, PreprocessSpec());
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kSettings);
    return error.what();
  }
  return "";
}

TEST(Methods, OptionsThatAMethodIgnoresAreRefused) {
  using Settings = cli::ForwardSettings;
  struct Part {
    const char *option, *word;
    std::string Settings::*value;
  };
  const Part parts[] = {{"--metric", "values", &Settings::metric},
                        {"--combine", "max", &Settings::combine},
                        {"--similarity", "dot", &Settings::similarity},
                        {"--partition", "random", &Settings::partition}};
  // Of these the first so many are used.
  const std::pair<const char*, int> methods[] = {
      {"bipartite", 4}, {"k-means", 2}, {"greedy", 2}, {"random-prune", 0}, {"attention-prune", 0}};
  for (const auto& [method, used] : methods) {
    Settings settings;
    settings.method = method;
    EXPECT_EQ(refusal(settings), "") << method;
    for (int i = 0; i < 4; ++i) {
      Settings asked = settings;
      asked.*parts[i].value = parts[i].word;
      const std::string text = refusal(asked);
      EXPECT_EQ(text.empty(), i < used) << method << ' ' << parts[i].option << ": " << text;
      if (text.empty()) continue;
      EXPECT_NE(text.find(parts[i].option), std::string::npos) << text;
      EXPECT_NE(text.find(std::string("--method ") + method), std::string::npos) << text;
    }
  }
}

TEST(Methods, AttentionPruningNeedsAClassToken) {
  cli::ForwardSettings settings;
  settings.method = "attention-prune";
  EXPECT_NE(refusal(settings, false).find("class token"), std::string::npos);
}

}  // namespace
}  // namespace tome
