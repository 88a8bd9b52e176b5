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
  at::Tensor x, size, norm_weight, norm_bias;
  Combine combine = Combine::kWeightedMean;
  bool shifted = false;  ///< x begins where its rows cannot move in quads
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

/// `x` with rows that follow each other, one element past where quads may begin if `shifted`.
inline at::Tensor laid_out(const at::Tensor& x, bool shifted) {
  if (!shifted) return x.contiguous();
  const at::Tensor rows = at::empty({x.numel() + 1}, x.options()).slice(0, 1).view(x.sizes());
  rows.copy_(x);
  return rows;
}

/// @param plan  null: nothing merges
/// @param processors  as HostLauncher's
template <class T>
MergeOutput merge_in_order(const MergeInput& in, const KernelMatching* plan,
                           cuda::ThreadOrder order, int processors = 132) {
  const int64_t batch = in.x.size(0), tokens = in.x.size(1), channels = in.x.size(2);
  const int64_t tokens_out = plan == nullptr ? tokens : plan->matching.tokens_out;
  const at::Tensor x = laid_out(in.x.to(ScalarTypeOf<T>::value), in.shifted);
  MergeOutput out{at::full({batch, tokens_out, channels}, NAN, x.options()),
                  at::full({batch, tokens_out}, NAN, at::kFloat),
                  {}};
  cuda::MergeParams<T> p;
  p.x = static_cast<const T*>(x.data_ptr());
  p.size = floats(in.size);
  if (plan != nullptr) {
    p.member_begin = plan->member_begin.data_ptr<int32_t>();
    p.members = plan->members.data_ptr<int32_t>();
  }
  p.x_out = static_cast<T*>(out.x.data_ptr());
  p.size_out = out.size.data_ptr<float>();
  if (in.norm_weight.defined()) {
    out.norm = at::full_like(out.x, NAN);
    p.norm_weight = floats(in.norm_weight);
    p.norm_bias = floats(in.norm_bias);
    p.norm_out = static_cast<T*>(out.norm.data_ptr());
  }
  p.batch = static_cast<int>(batch);
  p.tokens_in = static_cast<int>(tokens);
  p.tokens_out = static_cast<int>(tokens_out);
  p.channels = static_cast<int>(channels);
  p.combine = static_cast<cuda::MergeCombine>(in.combine);
  cuda::HostLauncher launcher(order, processors);
  EXPECT_TRUE(cuda::launch_merge(launcher, p));
  return out;
}

inline bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.nbytes() == b.nbytes() && std::memcmp(a.data_ptr(), b.data_ptr(), a.nbytes()) == 0;
}

/// The same in either order of threads, and where a small GPU has tokens wait for a turn.
template <class T>
MergeOutput merge_with_kernel(const MergeInput& in, const KernelMatching* plan) {
  using enum cuda::ThreadOrder;
  const MergeOutput out = merge_in_order<T>(in, plan, kForwards);
  for (const auto& again :
       {merge_in_order<T>(in, plan, kBackwards), merge_in_order<T>(in, plan, kForwards, 1),
        merge_in_order<T>(in, plan, kBackwards, 1)}) {
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

/// sum(size * x) / sum(size) by target, and its LayerNorm, in double.
inline MergeOutput merge_by_definition(const MergeInput& in, const KernelMatching& plan) {
  const at::Tensor rows = in.x.to(at::kDouble);
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
  in.size = at::randint(1, 40, {batch, tokens}, at::kFloat);
  in.norm_weight = at::rand({channels}) + 0.5;
  in.norm_bias = at::randn({channels});
  return in;
}

/// As the engine asks for it, where rows cannot move in quads, and before anything has merged.
template <class T>
void expect_definition(const KernelMatching& plan, int64_t channels, double tolerance) {
  const int64_t batch = plan.matching.target.size(0), tokens = plan.matching.tokens_in;
  SCOPED_TRACE(std::to_string(tokens) + " tokens of " + std::to_string(channels));
  MergeInput in = random_input(batch, tokens, channels, static_cast<uint64_t>(tokens + channels));
  // Inputs as the kernel sees them, so that only its own arithmetic is judged.
  in.x = in.x.to(ScalarTypeOf<T>::value).to(at::kFloat);
  const auto expect = [&](const char* what) {
    SCOPED_TRACE(what);
    const MergeOutput got = merge_with_kernel<T>(in, &plan);
    const MergeOutput expected = merge_by_definition(in, plan);
    expect_near(got.x, expected.x, tolerance);
    expect_near(got.norm, expected.norm, tolerance);
    EXPECT_TRUE(at::equal(got.size.to(at::kDouble), expected.size));
  };
  expect("in quads if the width allows");
  in.shifted = true;
  expect("not aligned");
  in.shifted = false;
  in.size = at::Tensor();
  expect("sizes of 1");
}

template <class T>
void expect_definition(int64_t tokens, int64_t channels, int64_t r, double tolerance) {
  expect_definition<T>(plan_for(2, tokens, r, 7), channels, tolerance);
}

template <class T>
void expect_the_same_where_not_aligned(int64_t channels) {
  const KernelMatching plan = plan_for(2, 61, 25, 9);
  MergeInput in = random_input(2, 61, channels, 6);
  const MergeOutput expected = merge_with_kernel<T>(in, &plan);
  in.shifted = true;
  const MergeOutput got = merge_with_kernel<T>(in, &plan);
  EXPECT_TRUE(same_bits(got.x, expected.x) && same_bits(got.norm, expected.norm));
}

/// One token of r + 1 members: with keys all alike every token's best is the same.
inline KernelMatching plan_of_one_destination(int64_t batch, int64_t tokens, int64_t r) {
  MatchOptions options;
  options.r = r;
  options.protected_tokens.push_back(0);
  return match_with_kernels(at::ones({batch, tokens, 16}), options);
}

/// For runs of one kernel alone: all that it reads and writes; outputs begin as NaN.
template <class T>
struct MergeBuffers {
  at::Tensor x_in, parity_in, x, norm, size, parity;
  cuda::MergeParams<T> params;

  MergeBuffers(const MergeInput& in, const KernelMatching& plan)
      : x_in(in.x.to(ScalarTypeOf<T>::value)),
        parity_in((in.size.to(at::kByte).bitwise_and(1))),
        x(at::full({x_in.size(0), plan.matching.tokens_out, x_in.size(2)}, NAN, x_in.options())),
        norm(at::full_like(x, NAN)),
        size(at::full({x.size(0), x.size(1)}, NAN)),
        parity(at::full({x.size(0), x.size(1)}, 9, at::kByte)) {
    params.x = static_cast<const T*>(x_in.data_ptr());
    params.size = floats(in.size);
    params.member_begin = plan.member_begin.data_ptr<int32_t>();
    params.members = plan.members.data_ptr<int32_t>();
    params.x_out = static_cast<T*>(x.data_ptr());
    params.size_out = size.data_ptr<float>();
    params.parity = parity_in.data_ptr<uint8_t>();
    params.parity_out = parity.data_ptr<uint8_t>();
    params.norm_weight = floats(in.norm_weight);
    params.norm_bias = floats(in.norm_bias);
    params.norm_out = static_cast<T*>(norm.data_ptr());
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
template <class T>
void expect_the_same_in_turns(const KernelMatching& plan, int64_t channels) {
  const int64_t tokens = plan.matching.tokens_in;
  SCOPED_TRACE(std::to_string(tokens) + " tokens of " + std::to_string(channels));
  const MergeInput in = random_input(2, tokens, channels, 31);
  const MergeBuffers<T> expected(in, plan);
  cuda::MergeParams<T> p = expected.params;
  p.shape = cuda::row_shape(p.channels, cuda::kMergeBlockWarps);
  cuda::LaunchShape shape{{cuda::ceil_div(p.tokens_out, p.shape.tokens), 1, 2},
                          p.shape.threads(),
                          cuda::merge_shared_bytes(p.shape)};
  cuda::HostLauncher().run<cuda::MergeBody<T, true, false>>(shape, p);
  EXPECT_FALSE(at::isnan(expected.x).any().item().toBool());
  EXPECT_FALSE(at::isnan(expected.size).any().item().toBool());
  for (const int blocks : {1, 3, 500}) {
    for (const auto order : {cuda::ThreadOrder::kForwards, cuda::ThreadOrder::kBackwards}) {
      const MergeBuffers<T> got(in, plan);
      cuda::MergeParams<T> q = got.params;
      q.shape = p.shape;
      shape.grid.x = blocks;
      cuda::HostLauncher(order).run<cuda::MergeStreamBody<T>>(shape, q);
      EXPECT_TRUE(got.same(expected)) << blocks << " blocks";
    }
  }
}

/// A LayerNorm alone, of `x` or in its place.
inline at::Tensor normalised(const at::Tensor& x, const MergeInput& in, bool in_place) {
  const at::Tensor out = in_place ? x : at::full_like(x, NAN);
  cuda::MergeParams<float> p;
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
  bool streams = false, general = false;
  static int processors() { return 132; }
  template <class Body, class T>
  void run(const cuda::LaunchShape& launched, const cuda::MergeParams<T>& /*params*/) {
    shape = launched;
    threads = Body::kThreads;
    streams = std::is_same_v<Body, cuda::MergeStreamBody<T>> ||
              std::is_same_v<Body, cuda::NormStreamBody<T>>;
    general = std::is_same_v<Body, cuda::MergeBody<T, false, false>>;
  }
};

}  // namespace tome::testing
