// The merge kernels, run on the host, against the definition in double precision, the CPU
// implementation and the reference's recorded numbers.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "cuda/merge_runner.h"
#include "cuda/reference_merges.h"
#include "shared_data.h"

namespace tome::testing {
namespace {

static_assert(static_cast<int>(cuda::MergeCombine::kWeightedMean) ==
              static_cast<int>(Combine::kWeightedMean));
static_assert(static_cast<int>(cuda::MergeCombine::kMean) == static_cast<int>(Combine::kMean));
static_assert(static_cast<int>(cuda::MergeCombine::kMax) == static_cast<int>(Combine::kMax));
static_assert(static_cast<int>(cuda::MergeCombine::kKeepOne) ==
              static_cast<int>(Combine::kKeepOne));

TEST(MergeKernel, EveryWidthInFloat) {
  for (const int64_t channels : {1, 6, 8, 63, 192, 256, 384, 768, 1024, 1280, 1408, 2048}) {
    expect_definition<float>(35, channels, 9, 1e-5);
  }
}

TEST(MergeKernel, HalfTypes) {
  for (const int64_t channels : {30, 192, 768}) {
    expect_definition<cuda::Bf16>(43, channels, 12, 1e-2);
    expect_definition<cuda::Half>(43, channels, 12, 2e-3);
  }
}

TEST(MergeKernel, SizesUpToAClip) {
  for (const int64_t tokens : {3, 4, 50, 197, 2100}) {
    expect_definition<float>(tokens, 8, tokens / 3 + 1, 1e-5);
  }
}

template <class T>
void expect_tokens_to_stay() {
  MergeInput in = random_input(2, 9, 300, 3);
  in.x = in.x.to(ScalarTypeOf<T>::value);
  const at::Tensor expected =
      at::layer_norm(in.x.to(at::kDouble), {300}, in.norm_weight.to(at::kDouble),
                     in.norm_bias.to(at::kDouble), 1e-6);
  for (const bool shifted : {false, true}) {
    in.shifted = shifted;
    const MergeOutput got = merge_with_kernel<T>(in, nullptr);
    EXPECT_TRUE(same_bits(got.x, in.x));
    EXPECT_TRUE(at::equal(got.size, in.size));
    expect_near(got.norm, expected, sizeof(T) == 4 ? 1e-5 : 1e-2);
  }
  in.size = at::Tensor();
  EXPECT_TRUE(at::equal(merge_with_kernel<T>(in, nullptr).size, at::ones({2, 9})));
}

TEST(MergeKernel, WithoutMergingTokensStayAsTheyAre) {
  expect_tokens_to_stay<float>();
  expect_tokens_to_stay<cuda::Bf16>();
  expect_tokens_to_stay<cuda::Half>();
}

/// With a LayerNorm, without which no tokens go in a stream, and without.
void expect_combinations_of_the_cpu(const KernelMatching& plan) {
  const int64_t tokens = plan.matching.tokens_in;
  for (const auto combine :
       {Combine::kWeightedMean, Combine::kMean, Combine::kMax, Combine::kKeepOne}) {
    for (const bool shifted : {false, true}) {
      MergeInput in = random_input(2, tokens, 264, 4);
      in.size = at::randint(1, 300, {2, tokens}, at::kFloat);
      in.combine = combine;
      in.shifted = shifted;
      const MergedTokens expected = merge_tokens(in.x, in.size, plan.matching, combine);
      const MergeOutput got = merge_with_kernel<float>(in, &plan);
      expect_near(got.x, expected.x, 1e-5);
      EXPECT_TRUE(at::equal(got.size, expected.size));
      expect_near(got.norm, at::layer_norm(expected.x, {264}, in.norm_weight, in.norm_bias, 1e-6),
                  1e-5);
      in.norm_weight = in.norm_bias = at::Tensor();
      const MergeOutput alone = merge_with_kernel<float>(in, &plan);
      EXPECT_TRUE(same_bits(alone.x, got.x) && same_bits(alone.size, got.size));
    }
  }
}

TEST(MergeKernel, EveryCombinationLikeTheCpu) {
  expect_combinations_of_the_cpu(plan_for(2, 61, 25, 9, {0, 1}));
  expect_combinations_of_the_cpu(plan_of_one_destination(2, 61, 25));
}

TEST(MergeKernel, TokensOfManyMembers) {
  // Around what one token's warps sum, what a part's lanes hold, and all but one.
  for (const int64_t r : {1, 2, 6, 7, 8, 9, 65, 140}) {
    SCOPED_TRACE(r);
    const KernelMatching plan = plan_of_one_destination(2, 2 * r + 7, r);
    expect_definition<float>(plan, 24, 1e-5);
    expect_definition<float>(plan, 520, 1e-5);
  }
  const KernelMatching plan = plan_of_one_destination(2, 300, 135);
  expect_definition<cuda::Bf16>(plan, 768, 1e-2);
  expect_definition<cuda::Bf16>(plan, 1024, 1e-2);
  expect_definition<cuda::Half>(plan, 2048, 2e-3);
}

TEST(MergeKernel, ManyTokensWithManyMembersInABlock) {
  // Five directions for 80 tokens: several destinations of many sources side by side.
  for (const int64_t channels : {8, 200, 700}) {
    expect_definition<float>(plan_for(2, 161, 80, 5, {}), channels, 1e-5);
  }
}

TEST(MergeKernel, ResultDoesNotDependOnTheBlockSize) {
  const KernelMatching plan = plan_for(2, 161, 80, 5);
  const MergeInput in = random_input(2, 161, 300, 8);
  std::vector<MergeBuffers<float>> results;
  for (const int warps : {2, 4, 6, 8, 16}) {
    const auto& out = results.emplace_back(in, plan);
    cuda::MergeParams<float> p = out.params;
    p.shape = cuda::row_shape(300, warps);
    const cuda::LaunchShape shape{{cuda::ceil_div(81, p.shape.tokens), 1, 2},
                                  p.shape.threads(),
                                  cuda::merge_shared_bytes(p.shape)};
    cuda::HostLauncher launcher;
    launcher.run<cuda::MergeBody<float, true, false>>(shape, p);
    EXPECT_FALSE(out.x.isnan().any().item<bool>() || out.norm.isnan().any().item<bool>());
    EXPECT_TRUE(out.same(results.front())) << warps << " warps";
  }
}

TEST(MergeKernel, RowsThatAreNotAlignedGiveTheSame) {
  expect_the_same_where_not_aligned<float>(264);
  expect_the_same_where_not_aligned<cuda::Bf16>(264);
  expect_the_same_where_not_aligned<cuda::Half>(768);
}

TEST(MergeStream, ResultDoesNotDependOnTheGrid) {
  // More turns than a warp looks up at once, and than there are; tokens of two members and of many.
  expect_the_same_in_turns<float>(plan_for(2, 161, 80, 5), 8);
  expect_the_same_in_turns<float>(plan_for(2, 161, 9, 5), 520);
  expect_the_same_in_turns<cuda::Bf16>(plan_for(2, 161, 40, 5, {}), 1024);
  expect_the_same_in_turns<float>(plan_of_one_destination(2, 121, 45), 768);
  expect_the_same_in_turns<cuda::Half>(plan_of_one_destination(2, 24, 11), 2048);
  expect_the_same_in_turns<cuda::Bf16>(plan_of_one_destination(2, 301, 8), 264);
}

TEST(MergeStream, LayerNormDoesNotDependOnTheGrid) {
  for (const int64_t channels : {8, 192, 520, 768, 1024, 2048}) {
    SCOPED_TRACE(channels);
    const MergeInput in = random_input(1, 75, channels, 33);
    cuda::MergeParams<float> p;
    p.norm_weight = floats(in.norm_weight);
    p.norm_bias = floats(in.norm_bias);
    p.batch = 1;
    p.tokens_in = p.tokens_out = 75;
    p.channels = static_cast<int>(channels);
    p.shape = cuda::row_shape(p.channels, cuda::kMergeBlockWarps);
    const int shared = cuda::kMomentSets * cuda::kMomentBytes;
    const auto run = [&]<class Body>(int blocks, cuda::ThreadOrder order) {
      at::Tensor x = in.x.clone();  // in place, as it may be
      p.x = floats(x);
      p.norm_out = x.data_ptr<float>();
      cuda::HostLauncher(order).run<Body>({{blocks, 1, 1}, p.shape.threads(), shared}, p);
      return x;
    };
    using enum cuda::ThreadOrder;
    const at::Tensor expected = run.operator()<cuda::MergeBody<float, true, true>>(
        cuda::ceil_div(75, p.shape.tokens), kForwards);
    for (const int blocks : {1, 3, 500}) {
      for (const auto order : {kForwards, kBackwards}) {
        const at::Tensor got = run.operator()<cuda::NormStreamBody<float>>(blocks, order);
        EXPECT_TRUE(same_bits(got, expected)) << blocks << " blocks";
      }
    }
  }
}

TEST(MergeStream, OnlyWhereTokensAreMany) {
  const int32_t list = 0;
  cuda::MergeParams<cuda::Bf16> p;
  p.norm_out = reinterpret_cast<cuda::Bf16*>(uintptr_t{1024});
  p.channels = 1024;
  for (const int batch : {1, 8, 64, 128, 129, 3000}) {
    for (const bool merges : {false, true}) {
      p.members = p.member_begin = merges ? &list : nullptr;
      p.batch = batch;
      p.tokens_in = 197;
      p.tokens_out = merges ? 189 : 197;
      PlanLauncher plan;
      ASSERT_TRUE(cuda::launch_merge(plan, p));
      EXPECT_EQ(plan.streams, batch >= 64) << batch;
      EXPECT_LE(plan.shape.threads, plan.threads);
      const int64_t blocks = int64_t{plan.shape.grid.x} * plan.shape.grid.z;
      if (!plan.streams) continue;
      EXPECT_LE(blocks, merges ? std::max(132 * 4 * 8, batch) : 132 * 5);
    }
  }
  EXPECT_EQ(cuda::stream_blocks(95, 128, 528), 4);  // of 24 turns, all at once
  EXPECT_EQ(cuda::stream_blocks(95, 300, 528), 5);  // one each would leave 228 places free
  EXPECT_EQ(cuda::stream_blocks(95, 9000, 528), 1);
  EXPECT_EQ(cuda::stream_blocks(3, 1, 528), 3);
}

TEST(MergeStream, OnlyForSumsOfRowsInQuads) {
  using T = cuda::Bf16;
  const int32_t list = 0;
  cuda::MergeParams<T> given;
  given.members = given.member_begin = &list;
  given.batch = 512;
  given.tokens_in = 197;
  given.tokens_out = 189;
  given.channels = 1024;
  given.norm_out = reinterpret_cast<T*>(uintptr_t{1024});
  const auto expect = [&](bool streams, bool general, auto&& change) {
    auto p = given;
    change(p);
    PlanLauncher plan;
    ASSERT_TRUE(cuda::launch_merge(plan, p));
    EXPECT_EQ(plan.streams, streams);
    EXPECT_EQ(plan.general, general);
  };
  for (const auto combine : {cuda::MergeCombine::kWeightedMean, cuda::MergeCombine::kMean,
                             cuda::MergeCombine::kKeepOne}) {
    expect(true, false, [&](auto& p) { p.combine = combine; });
  }
  expect(false, true, [](auto& p) { p.combine = cuda::MergeCombine::kMax; });
  expect(false, false, [](auto& p) { p.norm_out = nullptr; });
  expect(false, true, [](auto& p) { p.channels = 1022; });
  T* const odd = reinterpret_cast<T*>(uintptr_t{1026});
  const float* const odd_norm = reinterpret_cast<const float*>(uintptr_t{1028});
  expect(false, true, [&](auto& p) { p.x = odd; });
  expect(false, true, [&](auto& p) { p.x_out = odd; });
  expect(false, true, [&](auto& p) { p.norm_out = odd; });
  expect(false, true, [&](auto& p) { p.norm_weight = odd_norm; });
  expect(false, true, [&](auto& p) { p.norm_bias = odd_norm; });
}

TEST(MergeKernel, LayerNormAlone) {
  for (const int64_t channels : {1, 7, 8, 192, 384, 700, 768, 1024, 1283, 1408, 2048}) {
    SCOPED_TRACE(channels);
    MergeInput in = random_input(3, 7, channels, 21);
    in.x = in.x * 0.01 + 50;  // E(x^2) - E(x)^2 would lose all digits
    const at::Tensor x = in.x.to(at::kDouble);
    const at::Tensor expected = at::layer_norm(x, {channels}, in.norm_weight.to(at::kDouble),
                                               in.norm_bias.to(at::kDouble), 1e-6);
    expect_near(normalised(in.x, in, false), expected, 2e-3);
    expect_near(normalised(in.x.clone(), in, true), expected, 2e-3);
  }
}

TEST(TokenRow, EveryThreadHasAPlace) {
  for (int channels = 1; channels <= cuda::kRowMaxChannels; ++channels) {
    for (const int block_warps : {1, 8, 16}) {
      const cuda::RowShape shape = cuda::row_shape(channels, block_warps);
      ASSERT_LE(shape.threads(), cuda::kRowThreads);
      for (int thread = 0; thread < shape.threads(); thread += cuda::kWarpSize) {
        const cuda::RowThread me = cuda::row_thread(cuda::HostContext(nullptr, thread), shape);
        ASSERT_EQ(me.token, thread / cuda::kWarpSize / shape.warps);
        ASSERT_EQ(me.warp, thread / cuda::kWarpSize % shape.warps);
        ASSERT_EQ(me.channel, me.warp * cuda::kRowWarpChannels);
        ASSERT_LT(me.channel, channels);
      }
    }
  }
}

TEST(MergeKernel, TokenThatNothingMergesIntoIsUntouched) {
  const KernelMatching plan = plan_for(1, 41, 10, 10);
  MergeInput in;
  in.x = at::randn({1, 41, 24});
  in.size = at::full({1, 41}, 3.0F);  // x * 3 / 3 would round
  const MergeOutput got = merge_with_kernel<float>(in, &plan);
  int untouched = 0;
  for (int64_t i = 0; i < 41; ++i) {
    const int64_t place = plan.matching.target[0][i].item<int64_t>();
    if ((plan.matching.target[0] == place).sum().item<int64_t>() != 1) continue;
    EXPECT_TRUE(at::equal(got.x[0][place], in.x[0][i]));
    ++untouched;
  }
  EXPECT_GT(untouched, 0);
}

void expect_place_of_the_largest(const KernelMatching& plan) {
  at::manual_seed(14);
  const at::Tensor x = at::randn({2, 61, 8});
  for (const int largest : {2, 40}) {  // sizes of 1 alone, and many; equal ones in either case
    const at::Tensor size = at::randint(1, largest, {2, 61}, at::kFloat);
    const at::Tensor parity = at::randint(0, 2, {2, 61}, at::kByte);
    const at::Tensor got = at::full({2, 36}, 9, at::kByte), out = at::empty({2, 36, 8});
    cuda::MergeParams<float> p;
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

TEST(MergeKernel, AMergedTokenLiesWhereItsLargestPartLay) {
  expect_place_of_the_largest(plan_for(2, 61, 25, 13));
  expect_place_of_the_largest(plan_of_one_destination(2, 61, 25));
}

TEST(MergeKernel, TooManyChannelsAreRefused) {
  cuda::MergeParams<float> p;
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
  TOME_NEEDS_SHARED_DATA("parity/matching.safetensors");
  const auto merges = reference_merges();
  EXPECT_GE(merges.size(), 10U);
  for (const ReferenceMerge& expected : merges) {
    SCOPED_TRACE(expected.name);
    const KernelMatching plan = match_with_kernels(expected.metric, expected.options);
    EXPECT_EQ(plan.matching.tokens_out, expected.x_out.size(1));
    MergeInput in;
    in.x = expected.x;
    in.size = expected.size;
    const MergeOutput got = merge_with_kernel<float>(in, &plan);
    expect_near(got.x, expected.x_out, 1e-5);
    EXPECT_TRUE(at::equal(got.size, expected.size_out));
  }
}

}  // namespace
}  // namespace tome::testing
