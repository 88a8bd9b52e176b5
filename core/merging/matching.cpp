#include "merging/matching.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <limits>
#include <tuple>
#include <utility>
#include <vector>

#include "merging/keys.h"
#include "merging/merge_plan.h"
#include "merging/partition.h"
#include "merging/schedule.h"

namespace tome {
namespace {

/// The keys in float32, of unit length for the cosine.
at::Tensor prepare_keys(const at::Tensor& metric, Similarity similarity) {
  const at::Tensor keys = metric.to(at::kFloat);
  return similarity == Similarity::kCosine ? unit_keys(keys) : keys;
}

/// Scores of every A token with every B token. [B, Na, C] x [B, Nb, C] -> float32 [B, Na, Nb]
at::Tensor pair_scores(const at::Tensor& a, const at::Tensor& b, Similarity similarity) {
  at::Tensor scores = at::bmm(a, b.transpose(1, 2));
  if (similarity == Similarity::kEuclidean) {
    // -|a - b|^2 orders the pairs as -|a - b| does.
    scores = 2 * scores - a.square().sum(-1, true) - b.square().sum(-1).unsqueeze(1);
  }
  return scores;
}

at::Tensor take_rows(const at::Tensor& keys, const at::Tensor& rows) {
  if (rows.size(0) == 1) return keys.index_select(1, rows[0]);
  return keys.gather(1, rows.unsqueeze(-1).expand({-1, -1, keys.size(2)}));
}

/// The best B column of one A row; the first of equals. NaN never wins.
std::pair<float, int32_t> best_of_row(const float* scores, int64_t columns) {
  float best = -std::numeric_limits<float>::infinity();
#pragma omp simd reduction(max : best)
  for (int64_t j = 0; j < columns; ++j) best = scores[j] > best ? scores[j] : best;
  for (int64_t j = 0; j < columns; ++j) {
    if (scores[j] == best) return {best, static_cast<int32_t>(j)};
  }
  return {-std::numeric_limits<float>::infinity(), 0};  // a row of NaN: last in line
}

/// Scores of one sample, [na, nb], to the rest of its plan.
void match_sample(const float* scores, PlanView view) {
  std::vector<float> score(static_cast<size_t>(view.na));
  std::vector<int32_t> best(static_cast<size_t>(view.na));
  std::vector<int32_t> order(static_cast<size_t>(view.na));
  for (int64_t i = 0; i < view.na; ++i) {
    std::tie(score[i], best[i]) = best_of_row(scores + i * view.nb, view.nb);
  }
  view.score = score.data();
  view.best = best.data();
  view.order = order.data();
  plan_merges(view);
}

Matching no_merge(int64_t batch, int64_t tokens, at::Device device) {
  Matching matching;
  matching.tokens_in = matching.tokens_out = tokens;
  const auto options = at::TensorOptions().dtype(at::kLong).device(device);
  matching.target = at::arange(tokens, options).expand({batch, tokens}).contiguous();
  matching.source = at::empty({batch, 0}, options);
  matching.destination = at::empty({batch, 0}, options);
  return matching;
}

}  // namespace

Matching new_matching(int64_t batch, int64_t tokens, int64_t r) {
  Matching matching;
  matching.tokens_in = tokens;
  matching.tokens_out = tokens - r;
  matching.target = at::empty({batch, tokens}, at::kLong);
  matching.source = at::empty({batch, r}, at::kLong);
  matching.destination = at::empty({batch, r}, at::kLong);
  return matching;
}

Matching to_device(Matching matching, at::Device device) {
  for (at::Tensor* tensor : {&matching.target, &matching.source, &matching.destination}) {
    *tensor = tensor->to(device);
  }
  return matching;
}

Matching bipartite_soft_matching(const at::Tensor& metric, const MatchOptions& options) {
  const c10::AutoGradMode no_grad(false);  // the choice of edges has no gradient
  const int64_t batch = metric.size(0);
  const int64_t tokens = metric.size(1);
  const auto protected_count = static_cast<int64_t>(options.protected_tokens.size());
  int64_t r = capped_r(options.r, tokens, protected_count);
  if (r == 0 || batch == 0) return no_merge(batch, tokens, metric.device());

  const Halves halves = split_tokens(batch, tokens, options);
  const int64_t na = halves.a.size(1);
  const int64_t nb = halves.b.size(1);
  r = nb == 0 ? 0 : std::min(r, na);
  if (r == 0) return no_merge(batch, tokens, metric.device());

  const at::Device device = metric.device();
  const at::Tensor keys = prepare_keys(metric, options.similarity);
  const at::Tensor scores =
      pair_scores(take_rows(keys, halves.a.to(device)), take_rows(keys, halves.b.to(device)),
                  options.similarity)
          .to(at::kCPU)
          .contiguous();  // [B, Na, Nb]

  const Matching matching = new_matching(batch, tokens, r);
  const auto row_of = [](const at::Tensor& rows, int64_t sample) {
    return rows.data_ptr<int64_t>() + (rows.size(0) == 1 ? 0 : sample) * rows.size(1);
  };
  at::parallel_for(0, batch, 1, [&](int64_t begin, int64_t end) {
    for (int64_t sample = begin; sample < end; ++sample) {
      PlanView view;
      view.a = row_of(halves.a, sample);
      view.b = row_of(halves.b, sample);
      view.na = na;
      view.nb = nb;
      view.r = r;
      view.tokens = tokens;
      view.protected_tokens = options.protected_tokens;
      view.target = matching.target.data_ptr<int64_t>() + sample * tokens;
      view.source = matching.source.data_ptr<int64_t>() + sample * r;
      view.destination = matching.destination.data_ptr<int64_t>() + sample * r;
      match_sample(scores.data_ptr<float>() + sample * na * nb, view);
    }
  });
  return to_device(matching, device);
}

}  // namespace tome
