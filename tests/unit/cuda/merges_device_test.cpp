// Matching, merges and LayerNorm on a device against the host executor and their definitions.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "cuda/device_tensors.h"
#include "cuda/needs_device.h"

namespace tome::testing {
namespace {

TEST(Device, MatchingAndMergeEqualTheHostExecutor) {
  TOME_NEEDS_DEVICE();
  for (const int64_t tokens : {65, 197, 1569, 4200}) {
    SCOPED_TRACE(std::to_string(tokens) + " tokens");
    at::manual_seed(static_cast<uint64_t>(tokens));
    const at::Tensor keys = at::randn({2, tokens, 64}).to(at::kBFloat16);
    MatchOptions options;
    options.r = tokens / 8;
    options.protected_tokens = {0};
    const Matching host = match_with_kernels(keys, options).matching;
    const DeviceMatching device = match_on_device(keys, options, 3);
    const Matching& got = device.plan.matching;
    // Sums in another order may swap edges whose scores differ in the last bits.
    expect_right_plan(keys, options, device.plan, 1e-5);
    const at::Tensor same = got.source.eq(host.source);
    EXPECT_GE(same.to(at::kDouble).mean().item<double>(), 0.98);
    const at::Tensor elsewhere = got.destination.ne(host.destination).logical_and(same);
    EXPECT_LE(elsewhere.sum().item<int64_t>(), host.r() / 100);

    const at::Tensor x = at::randn({2, tokens, 192});
    const DeviceMerge merged = merge_on_device({x}, device);
    // Against the definition, by the device's own plan.
    const at::Tensor ones = at::ones({2, tokens}, at::kDouble);
    const at::Tensor count =
        at::zeros({2, got.tokens_out}, at::kDouble).scatter_add(1, got.target, ones);
    const at::Tensor expected =
        at::zeros({2, got.tokens_out, 192}, at::kDouble)
            .scatter_add(1, got.target.unsqueeze(-1).expand({2, tokens, 192}), x.to(at::kDouble)) /
        count.unsqueeze(-1);
    EXPECT_LE((merged.x - expected).abs().max().item<double>(), 1e-5);
    EXPECT_TRUE(at::equal(merged.size.to(at::kDouble), count));
  }
}

at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  return at::layer_norm(x.to(at::kDouble), {x.size(-1)}, weight.to(at::kDouble),
                        bias.to(at::kDouble), 1e-6);
}

/// LayerNorm alone, as an unmerged block asks for it: few tokens each in a block, many in streams.
TEST(Device, LayerNormEqualsTheDefinition) {
  TOME_NEEDS_DEVICE();
  for (const int64_t batch : {2, 128}) {
    for (const int64_t channels : {192, 384, 768, 1024, 1280}) {
      at::manual_seed(static_cast<uint64_t>(channels));
      const at::Tensor x = (3 * at::randn({batch, 197, channels})).to(at::kBFloat16);
      const at::Tensor weight = at::randn({channels}), bias = at::randn({channels});
      const cuda::DeviceMemory x_in = on_device(x), device_weight = on_device(weight),
                               device_bias = on_device(bias), norm = on_device(x);
      cuda::MergeRequest m;
      m.x = x_in.data();
      m.norm_weight = device_weight.as<float>();
      m.norm_bias = device_bias.as<float>();
      m.norm_out = norm.data();
      m.batch = static_cast<int>(batch);
      m.tokens_in = m.tokens_out = 197;
      m.channels = static_cast<int>(channels);
      cuda::merge_tokens(m, nullptr);
      cuda::synchronise(nullptr);
      const at::Tensor got = at::empty_like(x);
      norm.download(got.data_ptr(), got.nbytes());
      EXPECT_LE(distance(got, layer_norm(x, weight, bias)), 4e-3) << batch << " x " << channels;
    }
  }
}

/// What a merge of many tokens, which goes in streams, makes of x and sizes, by the device's plan.
void expect_merged_in_streams(int64_t channels, at::ScalarType type) {
  constexpr int64_t kBatch = 128, kTokens = 197;
  at::manual_seed(static_cast<uint64_t>(channels));
  // In few clusters, so that many sources have one destination.
  const at::Tensor pick = at::randint(8, {kBatch, kTokens, 1}, at::kLong).expand({-1, -1, 64});
  const at::Tensor keys =
      at::randn({kBatch, 8, 64}).gather(1, pick) + 0.01 * at::randn({kBatch, kTokens, 64});
  MatchOptions options;
  options.r = 60;
  options.protected_tokens = {0};
  const DeviceMatching by = match_on_device(keys.to(at::kBFloat16).contiguous(), options);
  const int64_t tokens_out = by.plan.matching.tokens_out;
  const at::Tensor& target = by.plan.matching.target;

  const at::Tensor x = at::randn({kBatch, kTokens, channels}).to(type);
  const at::Tensor size = at::randint(1, 5, {kBatch, kTokens}, at::kFloat);
  const at::Tensor weight = at::randn({channels}), bias = at::randn({channels});
  const DeviceMerge got = merge_on_device({x, size, weight, bias}, by);

  const at::Tensor wide = size.to(at::kDouble);
  const at::Tensor sizes =
      at::zeros({kBatch, tokens_out}, at::kDouble).scatter_add(1, target, wide);
  const at::Tensor sums = at::zeros({kBatch, tokens_out, channels}, at::kDouble)
                              .scatter_add(1, target.unsqueeze(-1).expand({-1, -1, channels}),
                                           x.to(at::kDouble) * wide.unsqueeze(-1));
  const at::Tensor expected = sums / sizes.unsqueeze(-1);
  const at::Tensor members = at::zeros_like(sizes).scatter_add(1, target, at::ones_like(wide));
  EXPECT_GT(members.max().item<double>(), 8) << "a whole block sums these";
  EXPECT_TRUE(at::equal(got.size.to(at::kDouble), sizes));
  EXPECT_LE(distance(got.x, expected), 4e-3);
  EXPECT_LE(distance(got.norm, layer_norm(expected, weight, bias)), 6e-3);
}

TEST(Device, MergesInStreamsEqualTheDefinition) {
  TOME_NEEDS_DEVICE();
  for (const auto type : {at::kBFloat16, at::kHalf}) {
    for (const int64_t channels : {384, 768, 1024}) {
      SCOPED_TRACE(std::to_string(channels) + " channels of " + at::toString(type));
      expect_merged_in_streams(channels, type);
    }
  }
}

}  // namespace
}  // namespace tome::testing
