// From logits to the tags of a result: activation, smoothing over time, threshold, top-k.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "engine/classification.h"

namespace tome {

/// Scores from logits; softmax subtracts the maximum first, so large logits do not overflow.
std::vector<float> activate(std::span<const float> logits, ScoreActivation activation);

/// At most k scores of at least `threshold`, best first, equal ones by lower id; 0 leaves none out,
/// negative ones (raw logits, a regression) neither. NaN is always left out.
std::vector<LabelScore> top_scores(std::span<const float> scores, size_t k, double threshold);

/// Which scores of a result are told, as top_scores takes them.
struct ScoreLimits {
  size_t top_k = 5;
  double threshold = 0;
};

struct ScoreOptions {
  ScoreActivation activation = ScoreActivation::kSoftmax;
  double smoothing = 0;  ///< weight of the past, [0, 1)
};

/// Scores the results of one stream in their order: an exponential moving average
/// s = smoothing * s_before + (1 - smoothing) * now when smoothing is on. Used by one thread.
class Scorer {
 public:
  explicit Scorer(ScoreOptions options) : options_(options) {}

  /// @param generation  results of another generation (after a flush or a discontinuity) start anew
  /// @param smooth  false for a result that is not a continuation of the one before (a region)
  std::vector<LabelScore> score(std::span<const float> logits, uint64_t generation, bool smooth,
                                const ScoreLimits& limits);

 private:
  ScoreOptions options_;
  std::vector<float> past_;
  uint64_t generation_ = 0;
};

}  // namespace tome
