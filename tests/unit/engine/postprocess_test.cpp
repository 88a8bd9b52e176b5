// Scores, ties, smoothing.
#include "engine/postprocess.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace tome {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<int64_t> ids(const std::vector<LabelScore>& scores) {
  std::vector<int64_t> found;
  for (const LabelScore& score : scores) found.push_back(score.id);
  return found;
}

TEST(Postprocess, SoftmaxByDefinition) {
  const std::vector<float> logits{1, 2, 3};
  const auto scores = activate(logits, ScoreActivation::kSoftmax);
  const double sum = std::exp(1.0) + std::exp(2.0) + std::exp(3.0);
  for (int i = 0; i < 3; ++i) EXPECT_NEAR(scores[i], std::exp(i + 1.0) / sum, 1e-7);
}

TEST(Postprocess, SoftmaxOfLargeLogitsDoesNotOverflow) {
  const std::vector<float> logits{1000, 1000, -1000};
  const auto scores = activate(logits, ScoreActivation::kSoftmax);
  EXPECT_FLOAT_EQ(scores[0], 0.5F);
  EXPECT_FLOAT_EQ(scores[2], 0.0F);
}

TEST(Postprocess, SigmoidAndNone) {
  const std::vector<float> logits{0, 100, -100, 2};
  const auto scores = activate(logits, ScoreActivation::kSigmoid);
  EXPECT_FLOAT_EQ(scores[0], 0.5F);
  EXPECT_FLOAT_EQ(scores[1], 1.0F);
  EXPECT_NEAR(scores[2], 0, 1e-30);
  EXPECT_FLOAT_EQ(scores[3], 1 / (1 + std::exp(-2.0F)));
  EXPECT_EQ(activate(logits, ScoreActivation::kNone), logits);
}

TEST(Postprocess, TiesGoToTheLowerId) {
  const std::vector<float> scores{0.2F, 0.5F, 0.2F, 0.5F, 0.2F};
  EXPECT_EQ(ids(top_scores(scores, 4, 0)), (std::vector<int64_t>{1, 3, 0, 2}));
}

TEST(Postprocess, ThresholdKeepsScoresAtIt) {
  const std::vector<float> scores{0.25F, 0.5F, 0.75F};
  EXPECT_EQ(ids(top_scores(scores, 10, 0.5)), (std::vector<int64_t>{2, 1}));
  EXPECT_TRUE(top_scores(scores, 10, 1.5).empty());
}

TEST(Postprocess, AThresholdOfZeroLeavesOutNothing) {
  const std::vector<float> logits{-3, 0, -0.5F, 2};
  EXPECT_EQ(ids(top_scores(logits, 4, 0)), (std::vector<int64_t>{3, 1, 2, 0}));
  EXPECT_EQ(ids(top_scores(logits, 4, -0.0)), (std::vector<int64_t>{3, 1, 2, 0}));
  EXPECT_EQ(ids(top_scores(logits, 4, -0.5)), (std::vector<int64_t>{3, 1, 2}));
  EXPECT_EQ(ids(top_scores(logits, 4, 1e-9)), (std::vector<int64_t>{3}));
  Scorer scorer({ScoreActivation::kNone, 0});
  const std::vector<float> regression{-7.5F};
  EXPECT_FLOAT_EQ(scorer.score(regression, 1, true, {}).at(0).score, -7.5F);
}

TEST(Postprocess, NanIsLeftOut) {
  const std::vector<float> scores{kNan, 0.5F, kNan, 0.75F};
  EXPECT_EQ(ids(top_scores(scores, 4, -1)), (std::vector<int64_t>{3, 1}));
  EXPECT_EQ(ids(top_scores(scores, 4, 0)), (std::vector<int64_t>{3, 1}));
}

TEST(Postprocess, SmoothingIsAnExponentialMovingAverage) {
  Scorer scorer({ScoreActivation::kNone, 0.75});
  const ScoreLimits all{2, -10};
  const std::vector<float> first{1, 0}, second{0, 1};
  EXPECT_FLOAT_EQ(scorer.score(first, 1, true, all)[0].score, 1);
  auto scores = scorer.score(second, 1, true, all);
  EXPECT_EQ(scores[0].id, 0);
  EXPECT_FLOAT_EQ(scores[0].score, 0.75F);
  EXPECT_FLOAT_EQ(scores[1].score, 0.25F);
  scores = scorer.score(second, 1, true, all);
  EXPECT_FLOAT_EQ(scores[0].score, 0.5625F);
  EXPECT_FLOAT_EQ(scorer.score(second, 1, false, all)[0].score, 1) << "a region stands alone";
  EXPECT_FLOAT_EQ(scorer.score(second, 2, true, all)[0].score, 1) << "a flush forgets the past";
}

TEST(Postprocess, SmoothingRecoversFromNan) {
  Scorer scorer({ScoreActivation::kNone, 0.5});
  const ScoreLimits all{1, -10};
  const std::vector<float> bad{kNan}, good{1};
  EXPECT_TRUE(scorer.score(bad, 1, true, all).empty());
  EXPECT_FLOAT_EQ(scorer.score(good, 1, true, all).at(0).score, 1);
}

}  // namespace
}  // namespace tome
