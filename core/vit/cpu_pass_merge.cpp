#include "vit/cpu_pass.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "merging/merge_plan.h"
#include "merging/partition.h"

namespace tome {

void CpuPass::begin_sizes() {
  const ClipGrid grid{static_cast<int>(config_.grid_rows()), static_cast<int>(config_.grid_cols()),
                      grid_parity(run_.partition)};
  for (int64_t b = 0; b < run_.batch; ++b) {
    SampleTokens& sample = work_.samples[static_cast<size_t>(b)];
    std::fill_n(sample.size.begin(), tokens_, 1.0F);
    for (int64_t i = prefix_; by_grid() && i < tokens_; ++i) {
      sample.parity[static_cast<size_t>(i)] = grid.parity(static_cast<int>(i - prefix_));
    }
    write_bias(b, nullptr, tokens_, work_.key_bias);
    if (run_.source != nullptr) {
      std::iota(run_.source + b * tokens_, run_.source + (b + 1) * tokens_, 0);
    }
  }
}

void CpuPass::write_bias(int64_t sample, const float* size, int64_t tokens,
                         std::vector<float>& bias) const {
  float* out = bias.data() + sample * work_.padded_tokens;
  for (int64_t i = 0; i < tokens; ++i) {
    out[i] = size != nullptr && size[i] != 1 ? std::log2(size[i]) : 0;
  }
  const double prefix_weight = first_.prefix_weight(tokens, run_.proportional);
  std::fill_n(out, prefix_, std::log2(static_cast<float>(prefix_weight)));
  std::fill(out + tokens, out + work_.padded_tokens, kNoKey);
}

void CpuPass::split(SampleTokens& sample) const {
  sample.na = sample.nb = 0;
  const int64_t count = tokens_ - prefix_;
  const auto* parity = sample.parity.data() + prefix_;
  const int64_t evens = by_grid() ? std::count(parity, parity + count, 0) : 0;
  int64_t even = 0;
  int64_t odd = evens;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t token = prefix_ + i;
    bool in_a = token % 2 == 0;
    if (run_.partition == Partition::kSequential) in_a = i < (count + 1) / 2;
    if (by_grid()) in_a = (parity[i] == 0 ? even++ : odd++) < (count + 1) / 2;
    if (in_a) {
      sample.a[static_cast<size_t>(sample.na++)] = token;
    } else {
      sample.b[static_cast<size_t>(sample.nb++)] = token;
    }
  }
}

void CpuPass::move_parities(SampleTokens& sample, int64_t tokens_out) const {
  std::fill_n(sample.largest.begin(), tokens_out, -1.0F);
  const auto offer = [&](int64_t token) {
    const auto place = static_cast<size_t>(sample.target[static_cast<size_t>(token)]);
    const float size = sample.size[static_cast<size_t>(token)];
    if (size <= sample.largest[place]) return;
    sample.largest[place] = size;
    sample.parity_out[place] = sample.parity[static_cast<size_t>(token)];
  };
  for (int64_t j = 0; j < sample.nb; ++j) offer(sample.b[static_cast<size_t>(j)]);
  for (int64_t token = 0; token < tokens_; ++token) offer(token);
  std::swap(sample.parity, sample.parity_out);
}

void CpuPass::match(int64_t b, int64_t r, int thread) {
  SampleTokens& sample = work_.samples[static_cast<size_t>(b)];
  PartnerArgs args;
  args.keys = head_args(b * config_.heads, nullptr).k;
  args.stride = work_.wide_stride;
  args.tokens = tokens_;
  args.heads = config_.heads;
  args.head_dim = head_dim_;
  split(sample);
  args.na = sample.na;
  args.nb = sample.nb;
  args.a = sample.a.data();
  args.b = sample.b.data();
  args.scratch = scratch(thread);
  args.score = sample.score.data();
  args.best = sample.best.data();
  kernels_.find_partners(args);
  plan(sample, r);
  finish_plan(b, tokens_ - r);
}

void CpuPass::plan(SampleTokens& sample, int64_t r) const {
  int64_t protected_tokens[CpuForward::kMostPrefixTokens];
  std::iota(protected_tokens, protected_tokens + prefix_, 0);
  PlanView view;
  view.score = sample.score.data();
  view.best = sample.best.data();
  view.a = sample.a.data();
  view.b = sample.b.data();
  view.na = sample.na;
  view.nb = sample.nb;
  view.r = r;
  view.tokens = tokens_;
  view.protected_tokens = {protected_tokens, static_cast<size_t>(prefix_)};
  view.order = sample.order.data();
  view.target = sample.target.data();
  plan_merges(view);
}

void CpuPass::finish_plan(int64_t b, int64_t tokens_out) {
  SampleTokens& sample = work_.samples[static_cast<size_t>(b)];
  auto* first = sample.first.data();
  std::fill_n(first, tokens_out + 1, 0);
  std::fill_n(sample.size_out.begin(), tokens_out, 0.0F);
  for (int64_t i = 0; i < tokens_; ++i) {
    ++first[sample.target[i] + 1];
    sample.size_out[sample.target[i]] += sample.size[i];
  }
  std::partial_sum(first, first + tokens_out + 1, first);
  for (int64_t i = 0; i < tokens_; ++i) {
    sample.members[first[sample.target[i]]++] = static_cast<int32_t>(i);
  }
  std::copy_backward(first, first + tokens_out, first + tokens_out + 1);
  first[0] = 0;
  if (by_grid()) move_parities(sample, tokens_out);
  write_bias(b, run_.proportional ? sample.size_out.data() : nullptr, tokens_out,
             work_.key_bias_out);
  if (run_.source == nullptr) return;
  for (int64_t i = b * first_.count(); i < (b + 1) * first_.count(); ++i) {
    run_.source[i] = sample.target[run_.source[i]];
  }
}

void CpuPass::merge_static() {
  for (int64_t b = 0; b < run_.batch; ++b) {
    SampleTokens& sample = work_.samples[static_cast<size_t>(b)];
    std::copy_n(run_.static_target + b * tokens_, tokens_, sample.target.begin());
    sample.nb = 0;
    finish_plan(b, run_.static_tokens);
  }
  merge_and_normalise(weights_.blocks.front().norm1, run_.static_tokens);
}

void CpuPass::merge_and_normalise(const CpuNorm& norm, int64_t tokens_out) {
  for_rows(run_.batch * tokens_out, [&](int64_t first, int64_t last, int) {
    while (first < last) {
      const int64_t b = first / tokens_out;
      const int64_t end = std::min(last, (b + 1) * tokens_out);
      const SampleTokens& sample = work_.samples[static_cast<size_t>(b)];
      MergeArgs args;
      args.x = x_row(b * tokens_);
      args.x_stride = work_.x_stride;
      args.first = sample.first.data();
      args.members = sample.members.data();
      args.size = sample.size.data();
      args.size_out = sample.size_out.data();
      args.out = work_.x_out.at<float>(b * tokens_out * work_.x_stride);
      args.norm = norm_args(norm, config_.norm_eps);
      args.norm.out = work_.narrow.at(b * tokens_out * work_.narrow_stride);
      kernels_.merge_normalise(args, first - b * tokens_out, end - b * tokens_out);
      first = end;
    }
  });
  std::swap(work_.x, work_.x_out);
  std::swap(work_.key_bias, work_.key_bias_out);
  for (int64_t b = 0; b < run_.batch; ++b) {
    std::swap(work_.samples[static_cast<size_t>(b)].size,
              work_.samples[static_cast<size_t>(b)].size_out);
  }
  tokens_ = tokens_out;
}

}  // namespace tome
