// Merges and sources on a device, case by case, against the CPU implementation (suite gpu): several
// sources for one destination, sizes, odd counts, types, every way to combine. Skipped, with the
// reason, where there is none.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "cuda/device_tensors.h"
#include "cuda/needs_device.h"

namespace tome::testing {
namespace {

MatchOptions behind_a_class_token(int64_t r) {
  MatchOptions options;
  options.r = r;
  options.protected_tokens.push_back(0);
  return options;
}

/// Few directions: several sources for one destination.
DeviceMatching plan_of_few_directions(int64_t batch, int64_t tokens, int64_t r) {
  at::manual_seed(static_cast<uint64_t>(tokens + r));
  const at::Tensor which = at::randint(0, 5, {batch, tokens}, at::kLong);
  const at::Tensor keys = at::randn({5, 16}).index({which}) + 0.05 * at::randn({batch, tokens, 16});
  return match_on_device(keys, behind_a_class_token(r));
}

/// One token of r + 1 members: with keys all alike every token's best is the same.
DeviceMatching plan_of_one_token(int64_t tokens, int64_t r) {
  return match_on_device(at::ones({2, tokens, 16}), behind_a_class_token(r));
}

DeviceMergeInput input_for(const DeviceMatching& by, int64_t channels,
                           at::ScalarType type = at::kFloat) {
  const int64_t batch = by.plan.matching.target.size(0), tokens = by.plan.matching.tokens_in;
  at::manual_seed(static_cast<uint64_t>(tokens + channels));
  DeviceMergeInput in;
  in.x = at::randn({batch, tokens, channels}).to(type);
  in.size = at::randint(1, 300, {batch, tokens}, at::kFloat);
  in.norm_weight = at::rand({channels}) + 0.5;
  in.norm_bias = at::randn({channels});
  return in;
}

/// What the last rounding to the type allows.
double rounding_of(at::ScalarType type) {
  if (type == at::kFloat) return 1e-5;
  return type == at::kHalf ? 2e-3 : 1e-2;
}

void expect_close(const at::Tensor& got, const at::Tensor& expected, double tolerance) {
  ASSERT_EQ(got.sizes(), expected.sizes());
  const at::Tensor wide = expected.to(at::kDouble);
  const at::Tensor error = (got.to(at::kDouble) - wide).abs() / (1 + wide.abs());
  EXPECT_LE(error.max().item<double>(), tolerance);  // NaN fails too
}

void expect_the_cpus_merge(const DeviceMergeInput& in, const DeviceMatching& by) {
  const int64_t channels = in.x.size(2);
  SCOPED_TRACE(std::to_string(in.x.size(1)) + " tokens of " + std::to_string(channels) + " x " +
               at::toString(in.x.scalar_type()) + ", r " + std::to_string(by.plan.matching.r()) +
               (in.shifted ? ", not aligned" : "") + (in.size.defined() ? "" : ", sizes of 1") +
               ", combined in way " + std::to_string(static_cast<int>(in.combine)));
  const DeviceMerge got = merge_on_device(in, by);
  const MergedTokens cpu = merge_tokens(in.x.to(at::kFloat), in.size, by.plan.matching, in.combine);
  const double tolerance = rounding_of(in.x.scalar_type());
  expect_close(got.x, cpu.x, tolerance);
  EXPECT_TRUE(at::equal(got.size, cpu.size));
  if (!got.norm.defined()) return;
  expect_close(got.norm,
               at::layer_norm(cpu.x.to(at::kDouble), {channels}, in.norm_weight.to(at::kDouble),
                              in.norm_bias.to(at::kDouble), 1e-6),
               tolerance);
}

TEST(MergeCasesOnDevice, EveryTypeAndWidth) {
  TOME_NEEDS_DEVICE();
  const DeviceMatching by = plan_of_few_directions(2, 61, 25);
  for (const auto type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const int64_t channels : {1, 6, 8, 63, 192, 768, 1024, 1283, 2048}) {
      DeviceMergeInput in = input_for(by, channels, type);
      expect_the_cpus_merge(in, by);
      in.shifted = true;
      expect_the_cpus_merge(in, by);
      in.shifted = false;
      in.size = at::Tensor();
      expect_the_cpus_merge(in, by);
    }
  }
}

TEST(MergeCasesOnDevice, AnyNumberOfTokensAndMembers) {
  TOME_NEEDS_DEVICE();
  for (const int64_t tokens : {3, 4, 50, 197, 2101}) {
    const DeviceMatching by = plan_of_few_directions(3, tokens, tokens / 3 + 1);
    for (const int64_t channels : {8, 520}) expect_the_cpus_merge(input_for(by, channels), by);
  }
  // Around what one token's warps sum, what a part's lanes hold, and all but one.
  for (const int64_t r : {1, 2, 6, 7, 8, 9, 65, 140}) {
    const DeviceMatching by = plan_of_one_token(2 * r + 7, r);
    const at::Tensor sources = by.plan.member_begin.diff();
    ASSERT_EQ(sources.max().item<int64_t>(), r + 1) << "members of the largest token";
    for (const int64_t channels : {24, 520}) {
      expect_the_cpus_merge(input_for(by, channels), by);
      expect_the_cpus_merge(input_for(by, channels, at::kHalf), by);
    }
  }
}

/// With a LayerNorm, without which no tokens go in a stream, and without.
TEST(MergeCasesOnDevice, EveryCombination) {
  TOME_NEEDS_DEVICE();
  const DeviceMatching few = plan_of_few_directions(2, 61, 25), one = plan_of_one_token(61, 25),
                       many = plan_of_few_directions(129, 197, 60);
  for (const auto combine :
       {Combine::kWeightedMean, Combine::kMean, Combine::kMax, Combine::kKeepOne}) {
    for (const DeviceMatching* by : {&few, &one, &many}) {
      for (const bool shifted : {false, true}) {
        DeviceMergeInput in = input_for(*by, 264);
        in.combine = combine;
        in.shifted = shifted;
        expect_the_cpus_merge(in, *by);
        in.norm_weight = in.norm_bias = at::Tensor();
        expect_the_cpus_merge(in, *by);
      }
    }
  }
}

TEST(MergeCasesOnDevice, SourcesFollowTokensThroughTwoMerges) {
  TOME_NEEDS_DEVICE();
  for (const auto& [batch, tokens] : {std::pair{1, 5}, {2, 61}, {3, 1569}, {130, 197}}) {
    SCOPED_TRACE(std::to_string(batch) + " x " + std::to_string(tokens));
    const DeviceMatching first = plan_of_few_directions(batch, tokens, tokens / 3);
    const int64_t fewer = first.plan.matching.tokens_out;
    const DeviceMatching second = plan_of_few_directions(batch, fewer, fewer / 3);
    const at::Tensor got = at::full({batch, tokens}, -1, at::kLong);
    const cuda::DeviceMemory source = on_device(got);
    for (const DeviceMatching* by : {&first, &second}) {
      const cuda::DeviceMemory target = on_device(by->plan.matching.target);
      cuda::SourceParams p;
      p.source = by == &first ? nullptr : source.as<int64_t>();
      p.target = target.as<int64_t>();
      p.source_out = source.as<int64_t>();  // in place the second time
      p.batch = batch;
      p.tokens_0 = tokens;
      p.tokens_in = static_cast<int>(by->plan.matching.tokens_in);
      cuda::merge_sources(p, nullptr);
      cuda::synchronise(nullptr);
    }
    download(source, got);
    const at::Tensor once = merge_source({}, first.plan.matching, batch);
    EXPECT_TRUE(at::equal(got, merge_source(once, second.plan.matching, batch)));
  }
}

}  // namespace
}  // namespace tome::testing
