#include "merging/methods.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <tuple>

#include "merging/keys.h"
#include "merging/partition.h"
#include "merging/schedule.h"

namespace tome {
namespace {

using Places = std::vector<int64_t>;

Places free_tokens(int64_t tokens, const MatchOptions& options) {
  return unprotected_tokens(tokens, options.protected_tokens);
}

/// One sample's merges: for every token the token it ends in; itself if it stays.
using Roots = Places;

/// Numbers the tokens that stay (protected ones first) and fills one sample of a plan.
void write_sample(const Roots& roots, const MatchOptions& options, int64_t sample,
                  const Matching& matching) {
  int64_t* target = matching.target.data_ptr<int64_t>() + sample * matching.tokens_in;
  int64_t* source = matching.source.data_ptr<int64_t>() + sample * matching.r();
  int64_t* destination = matching.destination.data_ptr<int64_t>() + sample * matching.r();
  int64_t place = 0;
  for (const int64_t token : options.protected_tokens) target[token] = place++;
  const auto tokens = static_cast<int64_t>(roots.size());
  for (const int64_t token : free_tokens(tokens, options)) {
    if (roots[token] == token) target[token] = place++;
  }
  for (int64_t token = 0, k = 0; token < tokens; ++token) {
    if (roots[token] == token) continue;
    target[token] = target[roots[token]];
    source[k] = token;
    destination[k++] = roots[token];
  }
}

/// A plan whose samples are each found by `find(sample, r)`.
Matching plan(int64_t batch, int64_t tokens, const MatchOptions& options,
              const std::function<Roots(int64_t, int64_t)>& find) {
  const int64_t r =
      capped_r(options.r, tokens, static_cast<int64_t>(options.protected_tokens.size()));
  Matching matching = new_matching(batch, tokens, r);
  at::parallel_for(0, batch, 1, [&](int64_t begin, int64_t end) {
    for (int64_t sample = begin; sample < end; ++sample) {
      write_sample(find(sample, r), options, sample, matching);
    }
  });
  return matching;
}

/// Sends each pruned token to the nearest one that stays, the lower of equals.
Roots prune(int64_t tokens, const Places& free, Places pruned) {
  std::sort(pruned.begin(), pruned.end());
  Places kept;
  std::set_difference(free.begin(), free.end(), pruned.begin(), pruned.end(),
                      std::back_inserter(kept));
  Roots roots(static_cast<size_t>(tokens));
  std::iota(roots.begin(), roots.end(), 0);
  for (const int64_t token : pruned) {
    const auto above = std::lower_bound(kept.begin(), kept.end(), token);
    const bool take_below = above == kept.end() ||
                            (above != kept.begin() && token - *std::prev(above) <= *above - token);
    roots[token] = take_below ? *std::prev(above) : *above;
  }
  return roots;
}

}  // namespace

Matching random_pruning(int64_t batch, int64_t tokens, const MatchOptions& options) {
  const Places free = free_tokens(tokens, options);
  return plan(batch, tokens, options, [&](int64_t sample, int64_t r) {
    Places order = free;
    shuffle(order, options.seed * 1'000'003 + static_cast<uint64_t>(sample));
    order.resize(static_cast<size_t>(r));
    return prune(tokens, free, std::move(order));
  });
}

Matching attention_pruning(const at::Tensor& importance, const MatchOptions& options) {
  at::Tensor values = importance.to(at::kCPU, at::kFloat);
  // What is not a number matters least.
  values = values.masked_fill(values.isnan(), -std::numeric_limits<float>::infinity()).contiguous();
  const int64_t tokens = values.size(1);
  const Places free = free_tokens(tokens, options);
  Matching matching = plan(values.size(0), tokens, options, [&](int64_t sample, int64_t r) {
    const float* value = values.data_ptr<float>() + sample * tokens;
    Places order = free;
    std::sort(order.begin(), order.end(), [&](int64_t i, int64_t j) {
      return value[i] < value[j] || (value[i] == value[j] && i > j);
    });
    order.resize(static_cast<size_t>(r));
    return prune(tokens, free, std::move(order));
  });
  return to_device(std::move(matching), importance.device());
}

namespace {

/// The most similar centre of each row. [n, C] x [k, C] -> similarity and index, [n]
std::tuple<at::Tensor, at::Tensor> nearest(const at::Tensor& keys, const at::Tensor& centres) {
  return at::max(keys.matmul(centres.t()), 1);
}

Roots cluster(const at::Tensor& keys, int64_t tokens, const Places& free, int64_t clusters,
              int64_t iterations) {
  const at::Tensor rows = keys.index_select(0, at::tensor(free, at::kLong));  // [n, C]
  const int64_t n = rows.size(0);
  const at::Tensor seeds = at::div(at::arange(clusters, at::kLong) * n, clusters, "floor");
  at::Tensor centres = rows.index_select(0, seeds);
  at::Tensor member = std::get<1>(nearest(rows, centres));
  for (int64_t i = 0; i < iterations; ++i) {
    centres = unit_keys(at::zeros_like(centres).index_add(0, member, rows));
    member = std::get<1>(nearest(rows, centres));
  }
  at::Tensor similarity = (rows * centres.index_select(0, member)).sum(1);
  // Every cluster must have a member, or fewer tokens than asked would remain.
  at::Tensor count = at::bincount(member, {}, clusters);
  for (int64_t c = 0; c < clusters; ++c) {
    if (count[c].item<int64_t>() > 0) continue;
    const at::Tensor spare = count.index_select(0, member) > 1;
    const int64_t worst =
        similarity.masked_fill(spare.logical_not(), std::numeric_limits<float>::infinity())
            .argmin()
            .item<int64_t>();
    count[member[worst]] -= 1;
    member[worst] = c;
    count[c] += 1;
    similarity[worst] = 1;
  }
  Places first(static_cast<size_t>(clusters), -1);  // a cluster's lowest place stands for it
  Roots roots(static_cast<size_t>(tokens));
  std::iota(roots.begin(), roots.end(), 0);
  for (int64_t i = 0; i < n; ++i) {
    int64_t& root = first[member[i].item<int64_t>()];
    if (root < 0) root = free[i];
    roots[free[i]] = root;
  }
  return roots;
}

Roots merge_greedily(at::Tensor scores, const Places& free, int64_t tokens, int64_t r) {
  const auto n = static_cast<int64_t>(free.size());
  const float gone = -std::numeric_limits<float>::infinity();
  // What is not a number is the least alike, but still there.
  scores = scores.masked_fill(scores.isnan(), std::numeric_limits<float>::lowest());
  scores = scores.masked_fill(at::ones({n, n}, at::kBool).triu(1).logical_not(), gone).contiguous();
  float* score = scores.data_ptr<float>();  // [n, n], above the diagonal
  Roots roots(static_cast<size_t>(tokens));
  std::iota(roots.begin(), roots.end(), 0);
  for (int64_t step = 0; step < r; ++step) {
    const int64_t best = std::max_element(score, score + n * n) - score;
    const int64_t into = best / n;
    const int64_t out = best % n;
    for (auto& root : roots) root = root == free[out] ? free[into] : root;
    for (int64_t i = 0; i < n; ++i) score[i * n + out] = score[out * n + i] = gone;
  }
  return roots;
}

}  // namespace

Matching kmeans_matching(const at::Tensor& metric, const MatchOptions& options,
                         int64_t iterations) {
  const c10::AutoGradMode no_grad(false);
  const at::Tensor keys = unit_keys(metric.to(at::kCPU, at::kFloat));
  const int64_t tokens = keys.size(1);
  const Places free = free_tokens(tokens, options);
  Matching matching = plan(keys.size(0), tokens, options, [&](int64_t sample, int64_t r) {
    return cluster(keys[sample], tokens, free, static_cast<int64_t>(free.size()) - r, iterations);
  });
  return to_device(std::move(matching), metric.device());
}

Matching greedy_matching(const at::Tensor& metric, const MatchOptions& options) {
  const c10::AutoGradMode no_grad(false);
  const at::Tensor keys = unit_keys(metric.to(at::kCPU, at::kFloat));
  const int64_t tokens = keys.size(1);
  const Places free = free_tokens(tokens, options);
  const at::Tensor places = at::tensor(free, at::kLong);
  Matching matching = plan(keys.size(0), tokens, options, [&](int64_t sample, int64_t r) {
    const at::Tensor rows = keys[sample].index_select(0, places);
    return merge_greedily(rows.matmul(rows.t()), free, tokens, r);
  });
  return to_device(std::move(matching), metric.device());
}

}  // namespace tome
