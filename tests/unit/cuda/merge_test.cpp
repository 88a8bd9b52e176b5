// The merge kernels, run on the host, against the definition in double precision, the CPU
// implementation and the reference's recorded numbers.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "checkpoint/safetensors.h"
#include "cuda/match_runner.h"
#include "merging/merge.h"
#include "merging/merge_launch.h"
#include "shared_data.h"

namespace tome::testing {
namespace {

static_assert(static_cast<int>(cuda::MergeCombine::kWeightedMean) ==
              static_cast<int>(Combine::kWeightedMean));
static_assert(static_cast<int>(cuda::MergeCombine::kMean) == static_cast<int>(Combine::kMean));
static_assert(static_cast<int>(cuda::MergeCombine::kMax) == static_cast<int>(Combine::kMax));
static_assert(static_cast<int>(cuda::MergeCombine::kKeepOne) ==
              static_cast<int>(Combine::kKeepOne));

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

const float* floats(const at::Tensor& t) { return t.defined() ? t.data_ptr<float>() : nullptr; }

/// @param plan  null: nothing merges
template <class X, class Y>
MergeOutput merge_with_kernel(const MergeInput& in, const KernelMatching* plan) {
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
  cuda::HostLauncher launcher;
  EXPECT_TRUE(cuda::launch_merge(launcher, p));
  return out;
}

KernelMatching plan_for(int64_t batch, int64_t tokens, int64_t r, uint64_t seed,
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
MergeOutput merge_by_definition(const MergeInput& in, const KernelMatching& plan) {
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

void expect_near(const at::Tensor& got, const at::Tensor& expected, double tolerance) {
  ASSERT_EQ(got.sizes(), expected.sizes());
  const at::Tensor error =
      (got.to(at::kDouble) - expected).abs() / (1 + expected.to(at::kDouble).abs());
  EXPECT_LE(error.max().item<double>(), tolerance);  // NaN fails too
}

MergeInput random_input(int64_t batch, int64_t tokens, int64_t channels, uint64_t seed) {
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

template <class X, class Y>
void expect_definition(int64_t tokens, int64_t channels, int64_t r, double tolerance) {
  SCOPED_TRACE(std::to_string(tokens) + " tokens of " + std::to_string(channels));
  MergeInput in = random_input(2, tokens, channels, static_cast<uint64_t>(tokens + channels));
  // Inputs as the kernel sees them, so that only its own arithmetic is judged.
  in.x = in.x.to(ScalarTypeOf<X>::value).to(at::kFloat);
  in.branch = in.branch.to(ScalarTypeOf<Y>::value).to(at::kFloat);
  const KernelMatching plan = plan_for(2, tokens, r, 7);
  const MergeOutput got = merge_with_kernel<X, Y>(in, &plan);
  const MergeOutput expected = merge_by_definition(in, plan);
  expect_near(got.x, expected.x, tolerance);
  expect_near(got.norm, expected.norm, tolerance);
  EXPECT_TRUE(at::equal(got.size.to(at::kDouble), expected.size));
}

TEST(MergeKernel, EveryWidthInFloat) {
  for (const int64_t channels : {1, 6, 8, 63, 192, 256, 384, 768, 1024, 1280, 1408, 2048}) {
    expect_definition<float, float>(35, channels, 9, 1e-5);
  }
}

TEST(MergeKernel, HalfTypesAndMixedResidual) {
  for (const int64_t channels : {30, 192, 768}) {
    expect_definition<cuda::Bf16, cuda::Bf16>(43, channels, 12, 1e-2);
    expect_definition<cuda::Half, cuda::Half>(43, channels, 12, 2e-3);
    expect_definition<float, cuda::Bf16>(43, channels, 12, 1e-2);
  }
}

TEST(MergeKernel, SizesUpToAClip) {
  for (const int64_t tokens : {3, 4, 50, 197, 2100}) {
    expect_definition<float, float>(tokens, 8, tokens / 3 + 1, 1e-5);
  }
}

TEST(MergeKernel, WithoutMergingItIsAddAndNorm) {
  const MergeInput in = random_input(2, 9, 64, 3);
  const MergeOutput got = merge_with_kernel<float, float>(in, nullptr);
  const at::Tensor sum = in.x + in.branch_scale * (in.branch + in.branch_bias);
  expect_near(got.x, sum, 1e-6);
  expect_near(got.norm, at::layer_norm(sum, {64}, in.norm_weight, in.norm_bias, 1e-6), 1e-5);
  EXPECT_TRUE(at::equal(got.size, in.size));
}

TEST(MergeKernel, EveryCombinationLikeTheCpu) {
  const KernelMatching plan = plan_for(2, 61, 25, 9, {0, 1});
  for (const auto combine :
       {Combine::kWeightedMean, Combine::kMean, Combine::kMax, Combine::kKeepOne}) {
    MergeInput in;
    at::manual_seed(4);
    in.x = at::randn({2, 61, 40});
    in.size = at::randint(1, 300, {2, 61}, at::kFloat);
    in.combine = combine;
    const MergeOutput got = merge_with_kernel<float, float>(in, &plan);
    const MergedTokens expected = merge_tokens(in.x, in.size, plan.matching, combine);
    expect_near(got.x, expected.x, 1e-5);
    EXPECT_TRUE(at::equal(got.size, expected.size));
  }
}

TEST(MergeKernel, TokenThatNothingMergesIntoIsUntouched) {
  const KernelMatching plan = plan_for(1, 41, 10, 10);
  MergeInput in;
  in.x = at::randn({1, 41, 24});
  in.size = at::full({1, 41}, 3.0F);  // x * 3 / 3 would round
  const MergeOutput got = merge_with_kernel<float, float>(in, &plan);
  int untouched = 0;
  for (int64_t i = 0; i < 41; ++i) {
    const int64_t place = plan.matching.target[0][i].item<int64_t>();
    if ((plan.matching.target[0] == place).sum().item<int64_t>() != 1) continue;
    EXPECT_TRUE(at::equal(got.x[0][place], in.x[0][i]));
    ++untouched;
  }
  EXPECT_GT(untouched, 0);
}

TEST(MergeKernel, AMergedTokenLiesWhereItsLargestPartLay) {
  const KernelMatching plan = plan_for(2, 61, 25, 13);
  at::manual_seed(14);
  const at::Tensor x = at::randn({2, 61, 8});
  for (const int largest : {2, 40}) {  // sizes of 1 alone, and many; equal ones in either case
    const at::Tensor size = at::randint(1, largest, {2, 61}, at::kFloat);
    const at::Tensor parity = at::randint(0, 2, {2, 61}, at::kByte);
    const at::Tensor got = at::full({2, 36}, 9, at::kByte), out = at::empty({2, 36, 8});
    cuda::MergeParams<float, float> p;
    p.x = x.data_ptr<float>();
    p.x_out = out.data_ptr<float>();
    p.size = size.data_ptr<float>();
    p.parity = parity.data_ptr<uint8_t>();
    p.parity_out = got.data_ptr<uint8_t>();
    p.member_begin = plan.member_begin.data_ptr<int32_t>();
    p.members = plan.members.data_ptr<int32_t>();
    p.batch = 2;
    p.tokens_in = 61;
    p.tokens_out = 36;
    p.channels = 8;
    cuda::HostLauncher launcher;
    ASSERT_TRUE(cuda::launch_merge(launcher, p));
    for (int64_t b = 0; b < 2; ++b) {
      for (int64_t place = 0; place < 36; ++place) {
        // The token that keeps its place first, then its sources; the first of the largest leads.
        std::vector<int64_t> parts;
        for (int64_t i = 0; i < 61; ++i) {
          if (plan.matching.target[b][i].item<int64_t>() == place) parts.push_back(i);
        }
        std::stable_partition(parts.begin(), parts.end(), [&](int64_t i) {
          return !(plan.matching.source[b] == i).any().item<bool>();
        });
        const int64_t leader =
            *std::max_element(parts.begin(), parts.end(), [&](int64_t i, int64_t j) {
              return size[b][i].item<float>() < size[b][j].item<float>();
            });
        EXPECT_EQ(got[b][place].item<int>(), parity[b][leader].item<int>()) << place;
      }
    }
  }
}

TEST(MergeKernel, TooManyChannelsAreRefused) {
  cuda::MergeParams<float, float> p;
  p.batch = p.tokens_in = p.tokens_out = 1;
  p.channels = cuda::kMergeMaxChannels + 1;
  cuda::HostLauncher launcher;
  EXPECT_FALSE(cuda::launch_merge(launcher, p));
  EXPECT_EQ(launcher.launches(), 0);
}

TEST(SourceKernel, FollowsTokensThroughTwoMerges) {
  const KernelMatching first = plan_for(2, 61, 20, 11);
  const KernelMatching second = plan_for(2, 41, 15, 12);
  const at::Tensor source = at::full({2, 61}, -1, at::kLong);
  for (const auto& [plan, tokens] : {std::pair{&first, 61}, std::pair{&second, 41}}) {
    cuda::SourceParams p;
    p.source = plan == &first ? nullptr : source.data_ptr<int64_t>();
    p.target = plan->matching.target.data_ptr<int64_t>();
    p.source_out = source.data_ptr<int64_t>();
    p.batch = 2;
    p.tokens_0 = 61;
    p.tokens_in = tokens;
    cuda::HostLauncher launcher;
    cuda::launch_source(launcher, p);
  }
  const at::Tensor expected = merge_source(merge_source({}, first.matching, 2), second.matching, 2);
  EXPECT_TRUE(at::equal(source, expected));
}

TEST(MergeKernel, ValuesEqualTheReferences) {
  TOME_NEEDS_SHARED_DATA("parity/matching.json");
  std::ifstream about(shared_data() / "parity/matching.json");
  const auto file = SafetensorsFile::open(shared_data() / "parity/matching.safetensors");
  int compared = 0;
  for (const auto& c : nlohmann::json::parse(about)) {
    // Where the reference orders its output by score, or leaves ties and NaN open, the CPU tests
    // compare what can be.
    if (!c["exact_order"].get<bool>() || c["noop"].get<bool>() || !c["class_token"].get<bool>()) {
      continue;
    }
    const std::string name = c["name"];
    SCOPED_TRACE(name);
    MatchOptions options;
    options.r = c["r"];
    options.protected_tokens.push_back(0);
    if (c["distill_token"].get<bool>()) options.protected_tokens.push_back(1);
    const KernelMatching plan = match_with_kernels(file.tensor(name + ".metric"), options);
    EXPECT_EQ(plan.matching.tokens_out, c["N_out"].get<int64_t>());
    MergeInput in;
    in.x = file.tensor(name + ".x");
    if (file.has(name + ".size_in")) {
      in.size = file.tensor(name + ".size_in").squeeze(-1).to(at::kFloat).contiguous();
    }
    const MergeOutput got = merge_with_kernel<float, float>(in, &plan);
    expect_near(got.x, file.tensor(name + ".x_out"), 1e-5);
    EXPECT_TRUE(at::equal(got.size, file.tensor(name + ".size_out").squeeze(-1).to(at::kFloat)));
    ++compared;
  }
  EXPECT_GE(compared, 10);
}

}  // namespace
}  // namespace tome::testing
