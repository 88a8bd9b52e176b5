#include "vit/token_state.h"

#include <ATen/ATen.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <cmath>
#include <numeric>

#include "merging/methods.h"
#include "merging/static_runs.h"

namespace tome {
namespace {

/// (t, y, x) of every token before block 0; prefix tokens at (0, 0, 0).
at::Tensor grid_places(int64_t batch, int64_t prefix, int64_t tokens, int64_t rows, int64_t cols) {
  const at::Tensor cell = at::arange(tokens - prefix, at::kInt);
  const auto divide = [](const at::Tensor& x, int64_t by) { return at::div(x, by, "floor"); };
  const at::Tensor t = divide(cell, rows * cols);
  const at::Tensor y = at::remainder(divide(cell, cols), rows);
  const at::Tensor x = at::remainder(cell, cols);
  const at::Tensor patches = at::stack({t, y, x}, 1).to(at::kInt);
  return at::cat({at::zeros({prefix, 3}, at::kInt), patches}).unsqueeze(0).repeat({batch, 1, 1});
}

}  // namespace

TokenState::TokenState(const ViTConfig& config, int64_t batch, const FirstTokens& first,
                       bool proportional, at::Device device)
    : batch_(batch),
      first_(first),
      prefix_(first.prefix),
      tokens_(first.count()),
      rows_(config.grid_rows()),
      cols_(config.grid_cols()),
      proportional_(proportional),
      default_partition_(default_partition(config.frames * first.joint_frames)),
      device_(device),
      protected_(static_cast<size_t>(prefix_)) {
  std::iota(protected_.begin(), protected_.end(), 0);
}

Partition TokenState::partition(const ForwardOptions& options) const {
  return options.partition.value_or(default_partition_);
}

at::Tensor TokenState::log_weight() const {
  const bool by_size = proportional_ && size_.defined();
  const double prefix_weight = first_.prefix_weight(tokens_, proportional_);
  if (!by_size && (prefix_weight == 1 || prefix_ == 0)) return {};
  at::Tensor bias = by_size ? size_.log() : at::zeros({batch_, tokens_}, at::device(device_));
  if (prefix_ > 0) bias.narrow(1, 0, prefix_).fill_(std::log(prefix_weight));
  return bias;
}

at::Tensor TokenState::merge(const at::Tensor& x, const at::Tensor& metric, int64_t asked,
                             const ForwardOptions& options, int64_t block) {
  if (asked <= 0) return x;
  MatchOptions match;
  match.r = asked;
  match.protected_tokens = protected_;
  match.similarity = options.similarity;
  match.partition = partition(options);
  match.seed = options.seed + static_cast<uint64_t>(block);
  if (knows_grid(partition(options))) {
    if (!places_.defined()) places_ = grid_places(batch_, prefix_, tokens_, rows_, cols_);
    match.places.tyx = places_;
  }
  return apply(x, this->match(metric, match, options.method), options);
}

at::Tensor TokenState::merge_static(const at::Tensor& x, const at::Tensor& tubelets,
                                    const ForwardOptions& options) {
  if (knows_grid(partition(options))) {
    places_ = grid_places(batch_, prefix_, tokens_, rows_, cols_);
  }
  return apply(x, match_static_runs(tubelets, options.static_threshold, prefix_), options);
}

Matching TokenState::match(const at::Tensor& metric, const MatchOptions& match,
                           MergeMethod method) const {
  // Scores stay float32 under autocast: which tokens are most alike is not a matter of bfloat16.
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
  switch (method) {
    case MergeMethod::kRandomPrune:
      return random_pruning(batch_, tokens_, match);
    case MergeMethod::kAttentionPrune:
      return attention_pruning(metric.squeeze(-1), match);
    case MergeMethod::kKMeans:
      return kmeans_matching(metric, match);
    case MergeMethod::kGreedy:
      return greedy_matching(metric, match);
    case MergeMethod::kBipartite:
      break;
  }
  return bipartite_soft_matching(metric, match);
}

at::Tensor TokenState::apply(const at::Tensor& x, const Matching& matching,
                             const ForwardOptions& options) {
  if (matching.r() == 0) return x;
  const bool prune =
      options.method == MergeMethod::kRandomPrune || options.method == MergeMethod::kAttentionPrune;
  at::Tensor weight = sizes();
  if (prune) weight = weight.scatter(1, matching.source, 0.0);
  // What is pruned has no part in the token that stays, however others would be combined.
  const MergedTokens merged =
      merge_tokens(x, weight, matching, prune ? Combine::kKeepOne : options.combine);
  if (places_.defined()) move_places(matching, weight);
  size_ = merged.size;
  if (options.track_source) source_ = merge_source(source_, matching, batch_);
  tokens_ = matching.tokens_out;
  return merged.x;
}

void TokenState::move_places(const Matching& matching, const at::Tensor& old_size) {
  // A merged token lies where its largest part lay; of equals, the destination's place stands.
  const at::Tensor target = matching.target.to(at::kCPU);
  const at::Tensor size = old_size.to(at::kCPU).contiguous();
  at::Tensor moved = at::empty({batch_, matching.tokens_out, 3}, at::kInt);
  const auto to = target.accessor<int64_t, 2>();
  const auto weight = size.accessor<float, 2>();
  const auto from = places_.accessor<int32_t, 3>();
  auto out = moved.accessor<int32_t, 3>();
  const auto destination = matching.destination.to(at::kCPU);
  const auto destinations = destination.accessor<int64_t, 2>();
  for (int64_t b = 0; b < batch_; ++b) {
    std::vector<float> largest(static_cast<size_t>(matching.tokens_out), -1.0F);
    const auto offer = [&](int64_t token) {
      const int64_t place = to[b][token];
      if (weight[b][token] <= largest[place]) return;
      largest[place] = weight[b][token];
      for (int64_t axis = 0; axis < 3; ++axis) out[b][place][axis] = from[b][token][axis];
    };
    for (int64_t k = 0; k < destinations.size(1); ++k) offer(destinations[b][k]);
    for (int64_t token = 0; token < matching.tokens_in; ++token) offer(token);
  }
  places_ = moved;
}

at::Tensor TokenState::mean_of_patches(const at::Tensor& x, bool weighted) const {
  const at::Tensor patches = x.narrow(1, prefix_, x.size(1) - prefix_);
  if (!weighted || !size_.defined()) return patches.mean(1);
  const at::Tensor weight = size_.narrow(1, prefix_, x.size(1) - prefix_);
  const at::Tensor sum = (patches.to(at::kFloat) * weight.unsqueeze(-1)).sum(1);
  return (sum / weight.sum(1, true)).to(x.scalar_type());
}

at::Tensor TokenState::sizes() const {
  if (size_.defined()) return size_;
  return at::ones({batch_, tokens_}, at::device(device_).dtype(at::kFloat));
}

at::Tensor TokenState::source() const {
  if (source_.defined()) return source_;
  return at::arange(first_.count(), at::device(device_).dtype(at::kLong))
      .expand({batch_, first_.count()})
      .clone();
}

}  // namespace tome
