#include "merging/merge.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include "merging/merge_rows.h"

namespace tome {
namespace {

at::Tensor sizes_or_ones(const at::Tensor& size, const at::Tensor& x) {
  if (size.defined()) return size;
  return at::ones({x.size(0), x.size(1)}, x.options().dtype(at::kFloat).requires_grad(false));
}

at::Tensor sum_by_target(const at::Tensor& values, const Matching& matching) {
  at::Tensor out = at::zeros({values.size(0), matching.tokens_out}, values.options());
  return out.scatter_add(1, matching.target, values);
}

/// The differentiable way, in ATen's operations; also the way of devices without kernels of ours.
at::Tensor weighted_mean(const at::Tensor& x, const at::Tensor& weight, const Matching& matching) {
  const at::Tensor weighted = x.to(at::kFloat) * weight.unsqueeze(-1);
  const at::Tensor index = matching.target.unsqueeze(-1).expand_as(weighted);
  const at::Tensor sums = at::zeros({x.size(0), matching.tokens_out, x.size(2)}, weighted.options())
                              .scatter_add(1, index, weighted);
  return (sums / sum_by_target(weight, matching).unsqueeze(-1)).to(x.scalar_type());
}

/// x without the tokens that merged away: the destinations as they were.
at::Tensor kept_tokens(const at::Tensor& x, const Matching& matching) {
  // Each output place takes the token that is not merged away; sources get weight 0.
  at::Tensor weight = at::ones({x.size(0), matching.tokens_in}, x.options().dtype(at::kFloat));
  weight.scatter_(1, matching.source, 0.0);
  return weighted_mean(x, weight, matching);
}

at::Tensor maximum(const at::Tensor& x, const Matching& matching) {
  const at::Tensor index = matching.target.unsqueeze(-1).expand_as(x);
  at::Tensor out = at::zeros({x.size(0), matching.tokens_out, x.size(2)}, x.options());
  return out.scatter_reduce(1, index, x, "amax", /*include_self=*/false);
}

bool rows_apply(const at::Tensor& x, Combine combine) {
  return combine == Combine::kWeightedMean && x.device().is_cpu() &&
         x.scalar_type() == at::kFloat && !(c10::GradMode::is_enabled() && x.requires_grad());
}

}  // namespace

MergedTokens merge_tokens(const at::Tensor& x, const at::Tensor& size, const Matching& matching,
                          Combine combine) {
  const at::Tensor sizes = sizes_or_ones(size, x);
  if (matching.r() == 0) return {x, sizes};
  if (rows_apply(x, combine)) return merge_rows(x, sizes, matching);
  const at::Tensor merged_sizes = sum_by_target(sizes, matching);
  switch (combine) {
    case Combine::kMean:
      return {weighted_mean(x, at::ones_like(sizes), matching), merged_sizes};
    case Combine::kMax:
      return {maximum(x, matching), merged_sizes};
    case Combine::kKeepOne:
      return {kept_tokens(x, matching), merged_sizes};
    case Combine::kWeightedMean:
      break;
  }
  return {weighted_mean(x, sizes, matching), merged_sizes};
}

at::Tensor merge_source(const at::Tensor& source, const Matching& matching, int64_t batch) {
  if (!source.defined()) return matching.target.expand({batch, -1}).clone();
  return matching.target.gather(1, source);
}

at::Tensor unmerge(const at::Tensor& x, const at::Tensor& source) {
  return x.gather(1, source.unsqueeze(-1).expand({-1, -1, x.size(2)}));
}

}  // namespace tome
