// Runs the merge kernels on the host over ATen tensors, and says what they should give.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <type_traits>
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
/// @param processors  as launch_merge's
template <class X, class Y>
MergeOutput merge_in_order(const MergeInput& in, const KernelMatching* plan,
                           cuda::ThreadOrder order, int processors = cuda::kMergeProcessors) {
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
  EXPECT_TRUE(cuda::launch_merge(launcher, p, processors));
  return out;
}

inline bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.nbytes() == b.nbytes() && std::memcmp(a.data_ptr(), b.data_ptr(), a.nbytes()) == 0;
}

/// The same in either order of threads, and where a small GPU has tokens wait for a turn.
template <class X, class Y>
MergeOutput merge_with_kernel(const MergeInput& in, const KernelMatching* plan) {
  using enum cuda::ThreadOrder;
  const MergeOutput out = merge_in_order<X, Y>(in, plan, kForwards);
  for (const auto& again :
       {merge_in_order<X, Y>(in, plan, kBackwards), merge_in_order<X, Y>(in, plan, kForwards, 1),
        merge_in_order<X, Y>(in, plan, kBackwards, 1)}) {
    EXPECT_TRUE(same_bits(out.x, again.x) && same_bits(out.size, again.size));
    EXPECT_EQ(out.norm.defined(), again.norm.defined());
    EXPECT_TRUE(!out.norm.defined() || same_bits(out.norm, again.norm));
  }
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

/// For runs of one kernel alone: all that it reads and writes, without a scale; outputs begin as
/// NaN.
template <class X, class Y>
struct MergeBuffers {
  at::Tensor x_in, branch, parity_in, x, norm, size, parity;
  cuda::MergeParams<X, Y> params;

  MergeBuffers(const MergeInput& in, const KernelMatching& plan)
      : x_in(in.x.to(ScalarTypeOf<X>::value)),
        branch(in.branch.to(ScalarTypeOf<Y>::value)),
        parity_in((in.size.to(at::kByte).bitwise_and(1))),
        x(at::full({x_in.size(0), plan.matching.tokens_out, x_in.size(2)}, NAN, x_in.options())),
        norm(at::full_like(x, NAN, branch.options())),
        size(at::full({x.size(0), x.size(1)}, NAN)),
        parity(at::full({x.size(0), x.size(1)}, 9, at::kByte)) {
    params.x = static_cast<const X*>(x_in.data_ptr());
    params.branch = static_cast<const Y*>(branch.data_ptr());
    params.branch_bias = floats(in.branch_bias);
    params.size = floats(in.size);
    params.member_begin = plan.member_begin.data_ptr<int32_t>();
    params.members = plan.members.data_ptr<int32_t>();
    params.x_out = static_cast<X*>(x.data_ptr());
    params.size_out = size.data_ptr<float>();
    params.parity = parity_in.data_ptr<uint8_t>();
    params.parity_out = parity.data_ptr<uint8_t>();
    params.norm_weight = floats(in.norm_weight);
    params.norm_bias = floats(in.norm_bias);
    params.norm_out = static_cast<Y*>(norm.data_ptr());
    params.batch = static_cast<int>(x.size(0));
    params.tokens_in = static_cast<int>(x_in.size(1));
    params.tokens_out = static_cast<int>(x.size(1));
    params.channels = static_cast<int>(x.size(2));
  }

  bool same(const MergeBuffers& other) const {
    return same_bits(x, other.x) && same_bits(norm, other.norm) && same_bits(size, other.size) &&
           same_bits(parity, other.parity);
  }
};

/// By blocks that take turns, however many of them share a sample, as by one block to each tokens.
template <class X, class Y>
void expect_the_same_in_turns(const KernelMatching& plan, int64_t channels) {
  const int64_t tokens = plan.matching.tokens_in;
  SCOPED_TRACE(std::to_string(tokens) + " tokens of " + std::to_string(channels));
  const MergeInput in = random_input(2, tokens, channels, 31);
  const MergeBuffers<X, Y> expected(in, plan);
  cuda::MergeParams<X, Y> p = expected.params;
  p.shape = cuda::row_shape(p.channels, cuda::kMergeBlockWarps);
  p.staged_at = cuda::staged_place(p.shape);
  cuda::LaunchShape shape{{cuda::ceil_div(p.tokens_out, p.shape.tokens), 1, 2},
                          p.shape.threads(),
                          cuda::stream_shared_bytes(p)};
  cuda::HostLauncher().run<cuda::MergeBody<X, Y, true, false>>(shape, p);
  EXPECT_FALSE(at::isnan(expected.x).any().item().toBool());
  EXPECT_FALSE(at::isnan(expected.size).any().item().toBool());
  for (const int blocks : {1, 3, 500}) {
    for (const auto order : {cuda::ThreadOrder::kForwards, cuda::ThreadOrder::kBackwards}) {
      const MergeBuffers<X, Y> got(in, plan);
      cuda::MergeParams<X, Y> q = got.params;
      q.shape = p.shape;
      q.staged_at = p.staged_at;
      shape.grid.x = blocks;
      cuda::HostLauncher(order).run<cuda::MergeStreamBody<X, Y>>(shape, q);
      EXPECT_TRUE(got.same(expected)) << blocks << " blocks";
    }
  }
}

/// A LayerNorm alone, of `x` or in its place.
inline at::Tensor normalised(const at::Tensor& x, const MergeInput& in, bool in_place) {
  const at::Tensor out = in_place ? x : at::full_like(x, NAN);
  cuda::MergeParams<float, float> p;
  p.x = floats(x);
  p.norm_weight = floats(in.norm_weight);
  p.norm_bias = floats(in.norm_bias);
  p.norm_out = out.data_ptr<float>();
  p.batch = static_cast<int>(x.size(0));
  p.tokens_in = p.tokens_out = static_cast<int>(x.size(1));
  p.channels = static_cast<int>(x.size(2));
  for (const auto order : {cuda::ThreadOrder::kForwards, cuda::ThreadOrder::kBackwards}) {
    cuda::HostLauncher launcher(order);
    EXPECT_TRUE(cuda::launch_merge(launcher, p));
    if (in_place) break;
  }
  return out;
}

/// Says what would be launched.
struct PlanLauncher {
  cuda::LaunchShape shape;
  int threads = 0;  ///< at most
  bool streams = false;
  template <class Body, class X, class Y>
  void run(const cuda::LaunchShape& launched, const cuda::MergeParams<X, Y>& /*params*/) {
    shape = launched;
    threads = Body::kThreads;
    streams = std::is_same_v<Body, cuda::MergeStreamBody<X, Y>> ||
              std::is_same_v<Body, cuda::NormStreamBody<X, Y>>;
  }
};

}  // namespace tome::testing
