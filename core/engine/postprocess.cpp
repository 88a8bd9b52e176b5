#include "engine/postprocess.h"

#include <algorithm>
#include <cmath>

namespace tome {
namespace {

std::vector<float> softmax(std::span<const float> logits) {
  std::vector<float> scores(logits.begin(), logits.end());
  if (scores.empty()) return scores;
  const float top = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (float& score : scores) {
    score = std::exp(score - top);
    sum += score;
  }
  for (float& score : scores) score = static_cast<float>(score / sum);
  return scores;
}

}  // namespace

std::vector<float> activate(std::span<const float> logits, ScoreActivation activation) {
  if (activation == ScoreActivation::kSoftmax) return softmax(logits);
  std::vector<float> scores(logits.begin(), logits.end());
  if (activation == ScoreActivation::kSigmoid) {
    for (float& score : scores) score = 1.0F / (1.0F + std::exp(-score));
  }
  return scores;
}

std::vector<LabelScore> top_scores(std::span<const float> scores, size_t k, double threshold) {
  std::vector<LabelScore> kept;
  for (size_t i = 0; i < scores.size(); ++i) {
    // NaN must not reach the sort: it has no place in an order.
    const bool told = threshold == 0 ? !std::isnan(scores[i]) : scores[i] >= threshold;
    if (told) kept.push_back({static_cast<int64_t>(i), scores[i]});
  }
  const size_t n = std::min(k, kept.size());
  std::partial_sort(kept.begin(), kept.begin() + static_cast<std::ptrdiff_t>(n), kept.end(),
                    [](const LabelScore& a, const LabelScore& b) {
                      return a.score != b.score ? a.score > b.score : a.id < b.id;
                    });
  kept.resize(n);
  return kept;
}

std::vector<LabelScore> Scorer::score(std::span<const float> logits, uint64_t generation,
                                      bool smooth, const ScoreLimits& limits) {
  std::vector<float> scores = activate(logits, options_.activation);
  if (smooth && options_.smoothing > 0) {
    if (generation == generation_ && past_.size() == scores.size()) {
      const auto weight = static_cast<float>(options_.smoothing);
      for (size_t i = 0; i < scores.size(); ++i) {
        // A result that is not a number must not poison all that follow it.
        const float past = std::isfinite(past_[i]) ? past_[i] : scores[i];
        scores[i] = weight * past + (1.0F - weight) * scores[i];
      }
    }
    past_ = scores;
    generation_ = generation;
  }
  return top_scores(scores, limits.top_k, limits.threshold);
}

}  // namespace tome
