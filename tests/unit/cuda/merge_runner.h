// Runs the merge kernels on the host over ATen tensors, and says what they should give.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "cuda/match_runner.h"
#include "merging/merge.h"
#include "merging/merge_launch.h"

namespace tome::testing {

/// What the kernel is given besides a plan; undefined tensors are left out.
struct MergeInput {
  at::Tensor x, branch, branch_scale, branch_bias, size, norm_weight, norm_bias;
  Combine combine = Combine::kWeightedMean;
};

struct MergeOutput {
  at::Tensor x, size, norm;
};

template <class T>
struct ScalarTypeOf;
template <>
struct ScalarTypeOf<float> {
  static constexpr at::ScalarType value = at::kFloat;
};
template <>
struct ScalarTypeOf<cuda::Bf16> {
  static constexpr at::ScalarType value = at::kBFloat16;
};
template <>
struct ScalarTypeOf<cuda::Half> {
  static constexpr at::ScalarType value = at::kHalf;
};

inline const float* floats(const at::Tensor& t) {
  return t.defined() ? t.data_ptr<float>() : nullptr;
}

/// @param plan  null: nothing merges
template <class X, class Y>
MergeOutput merge_in_order(const MergeInput& in, const KernelMatching* plan,
                           cuda::ThreadOrder order) {
  const int64_t batch = in.x.size(0), tokens = in.x.size(1), channels = in.x.size(2);
  const int64_t tokens_out = plan == nullptr ? tokens : plan->matching.tokens_out;
  const at::Tensor x = in.x.to(ScalarTypeOf<X>::value).contiguous();
  const at::Tensor branch =
      in.branch.defined() ? in.branch.to(ScalarTypeOf<Y>::value).contiguous() : at::Tensor();
  MergeOutput out{at::full({batch, tokens_out, channels}, NAN, x.options()),
                  at::full({batch, tokens_out}, NAN, at::kFloat),
                  {}};
  cuda::MergeParams<X, Y> p;
  p.x = static_cast<const X*>(x.data_ptr());
  if (branch.defined()) p.branch = static_cast<const Y*>(branch.data_ptr());
  p.branch_scale = floats(in.branch_scale);
  p.branch_bias = floats(in.branch_bias);
  p.size = floats(in.size);
  if (plan != nullptr) {
    p.member_begin = plan->member_begin.data_ptr<int32_t>();
    p.members = plan->members.data_ptr<int32_t>();
  }
  p.x_out = static_cast<X*>(out.x.data_ptr());
  p.size_out = out.size.data_ptr<float>();
  if (in.norm_weight.defined()) {
    out.norm = at::full({batch, tokens_out, channels}, NAN,
                        at::TensorOptions().dtype(ScalarTypeOf<Y>::value));
    p.norm_weight = floats(in.norm_weight);
    p.norm_bias = floats(in.norm_bias);
    p.norm_out = static_cast<Y*>(out.norm.data_ptr());
  }
  p.batch = static_cast<int>(batch);
  p.tokens_in = static_cast<int>(tokens);
  p.tokens_out = static_cast<int>(tokens_out);
  p.channels = static_cast<int>(channels);
  p.combine = static_cast<cuda::MergeCombine>(in.combine);
  cuda::HostLauncher launcher(order);
  EXPECT_TRUE(cuda::launch_merge(launcher, p));
  return out;
}

inline bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.nbytes() == b.nbytes() && std::memcmp(a.data_ptr(), b.data_ptr(), a.nbytes()) == 0;
}

template <class X, class Y>
MergeOutput merge_with_kernel(const MergeInput& in, const KernelMatching* plan) {
  const MergeOutput out = merge_in_order<X, Y>(in, plan, cuda::ThreadOrder::kForwards);
  const MergeOutput again = merge_in_order<X, Y>(in, plan, cuda::ThreadOrder::kBackwards);
  EXPECT_TRUE(same_bits(out.x, again.x) && same_bits(out.size, again.size));
  EXPECT_EQ(out.norm.defined(), again.norm.defined());
  EXPECT_TRUE(!out.norm.defined() || same_bits(out.norm, again.norm));
  return out;
}

inline KernelMatching plan_for(int64_t batch, int64_t tokens, int64_t r, uint64_t seed,
                               std::vector<int64_t> fixed = {0}) {
  at::manual_seed(seed);
  // Few distinct directions: several sources for one destination.
  const at::Tensor centres = at::randn({5, 16});
  const at::Tensor which = at::randint(0, 5, {batch * tokens}, at::kLong);
  const at::Tensor keys =
      (centres.index({which}) + 0.05 * at::randn({batch * tokens, 16})).view({batch, tokens, 16});
  MatchOptions options;
  options.r = r;
  options.protected_tokens = std::move(fixed);
  return match_with_kernels(keys, options);
}

/// sum(size * (x + scale * (branch + bias))) / sum(size) by target, in double.
inline MergeOutput merge_by_definition(const MergeInput& in, const KernelMatching& plan) {
  at::Tensor rows = in.x.to(at::kDouble);
  if (in.branch.defined()) {
    at::Tensor branch = in.branch.to(at::kDouble);
    if (in.branch_bias.defined()) branch = branch + in.branch_bias;
    if (in.branch_scale.defined()) branch = branch * in.branch_scale;
    rows = rows + branch;
  }
  const at::Tensor size = in.size.defined() ? in.size.to(at::kDouble)
                                            : at::ones({rows.size(0), rows.size(1)}, at::kDouble);
  MergeOutput out{at::zeros({rows.size(0), plan.matching.tokens_out, rows.size(2)}, at::kDouble),
                  at::zeros({rows.size(0), plan.matching.tokens_out}, at::kDouble),
                  {}};
  for (int64_t b = 0; b < rows.size(0); ++b) {
    for (int64_t i = 0; i < rows.size(1); ++i) {
      const int64_t place = plan.matching.target[b][i].item<int64_t>();
      out.x[b][place] += rows[b][i] * size[b][i];
      out.size[b][place] += size[b][i];
    }
  }
  out.x /= out.size.unsqueeze(-1);
  if (in.norm_weight.defined()) {
    const at::Tensor centred = out.x - out.x.mean(-1, true);
    const at::Tensor variance = centred.square().mean(-1, true);
    out.norm = centred / (variance + 1e-6).sqrt() * in.norm_weight + in.norm_bias;
  }
  return out;
}

inline void expect_near(const at::Tensor& got, const at::Tensor& expected, double tolerance) {
  ASSERT_EQ(got.sizes(), expected.sizes());
  const at::Tensor error =
      (got.to(at::kDouble) - expected).abs() / (1 + expected.to(at::kDouble).abs());
  EXPECT_LE(error.max().item<double>(), tolerance);  // NaN fails too
}

inline MergeInput random_input(int64_t batch, int64_t tokens, int64_t channels, uint64_t seed) {
  at::manual_seed(seed);
  MergeInput in;
  in.x = at::randn({batch, tokens, channels});
  in.branch = at::randn({batch, tokens, channels});
  in.branch_scale = at::rand({channels});
  in.branch_bias = at::randn({channels});
  in.size = at::randint(1, 40, {batch, tokens}, at::kFloat);
  in.norm_weight = at::rand({channels}) + 0.5;
  in.norm_bias = at::randn({channels});
  return in;
}

/// One token of r + 1 members: with keys all alike every token's best is the same.
inline KernelMatching plan_of_one_destination(int64_t batch, int64_t tokens, int64_t r) {
  MatchOptions options;
  options.r = r;
  options.protected_tokens.push_back(0);
  return match_with_kernels(at::ones({batch, tokens, 16}), options);
}

}  // namespace tome::testing
