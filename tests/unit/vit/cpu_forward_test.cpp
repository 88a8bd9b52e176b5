// The CPU's own kernels against LibTorch's operators.
#include "vit/cpu_forward.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cfenv>
#include <cstdlib>
#include <optional>
#include <string>
#include <thread>

#include "allocations.h"
#include "cpu_sets.h"
#include "tome_error.h"
#include "vit/cpu_team.h"
#include "vit/model.h"
#include "vit_fixtures.h"

namespace tome {
namespace {

using testing::allocations;
using testing::allocations_left;
using testing::parity_config;
using testing::random_patches;
using testing::random_weights;

/// Sizes that are no multiple of any vector, panel or block.
ViTConfig odd_config(Pooling pooling = Pooling::kToken) {
  ViTConfig config = parity_config(pooling);
  config.dim = 66;
  config.heads = 3;
  config.mlp_hidden = 106;
  config.classes = 13;
  return config;
}

struct Result {
  at::Tensor logits, size, source;
};

Result run_cpu(const CpuForward& forward, const ViTConfig& config, const at::Tensor& patches,
               const ForwardOutput& expected, bool proportional, int threads = 2,
               Partition partition = Partition::kAlternating) {
  Result result{at::empty_like(expected.logits), at::empty({patches.size(0), expected.tokens_out}),
                at::empty({patches.size(0), expected.tokens_in}, at::kLong)};
  CpuRun run;
  run.patches = patches.const_data_ptr<float>();
  run.batch = patches.size(0);
  run.frames = patches.size(1);
  run.r = expected.r;
  run.proportional = proportional;
  run.threads = threads;
  run.partition = partition;
  run.logits = result.logits.mutable_data_ptr<float>();
  run.size = result.size.mutable_data_ptr<float>();
  run.source = result.source.mutable_data_ptr<int64_t>();
  forward.run(run);
  return result;
}

class CpuKernelSets : public testing::CpuKernelTest {
 protected:
  /// Kernels and operators give the same logits and, where nothing is rounded to bfloat16, merge
  /// the same tokens.
  void expect_same(const ViTConfig& config, int64_t batch, std::vector<int64_t> r,
                   int64_t frames = 1, PropAttn prop_attn = PropAttn::kOn,
                   Partition partition = Partition::kAlternating) const {
    const c10::InferenceMode inference;
    at::manual_seed(5);
    const ViTWeights weights = random_weights(config);
    const CpuForward cpu(config, weights, *kernels_);
    const VisionTransformer model(config, weights);
    const at::Tensor patches = random_patches(config, batch, frames);
    ForwardOptions options;
    options.r = std::move(r);
    options.prop_attn = prop_attn;
    options.partition = partition;
    options.plain = options.track_source = true;
    const ForwardOutput expected = model.forward(patches, options);
    const Result found =
        run_cpu(cpu, config, patches, expected, prop_attn == PropAttn::kOn, 2, partition);
    const double scale = expected.logits.abs().max().item<double>();
    // In bfloat16 other tokens may merge.
    const double tolerance = !kernels_->bf16 ? 1e-4 : options.r.empty() ? 3e-2 : 0.2;
    EXPECT_LE((found.logits - expected.logits).abs().max().item<double>(), tolerance * scale);
    if (kernels_->bf16) return;
    EXPECT_TRUE(at::equal(found.source, expected.source));
    if (expected.size.defined()) {
      EXPECT_TRUE(at::equal(found.size, expected.size));
    }
  }
};

TEST_P(CpuKernelSets, Unmerged) {
  for (const int64_t batch : {1, 3}) {
    expect_same(parity_config(), batch, {});
    expect_same(parity_config(Pooling::kMean), batch, {});
    expect_same(parity_config(Pooling::kTokenAndMean), batch, {});
    expect_same(parity_config(Pooling::kToken, true), batch, {});
    expect_same(odd_config(), batch, {});
    expect_same(odd_config(Pooling::kTokenAndMean), batch, {});
  }
}

TEST_P(CpuKernelSets, Merged) {
  for (const PropAttn prop_attn : {PropAttn::kOn, PropAttn::kOff}) {
    expect_same(parity_config(), 2, {8, 0, 8, 100}, 1, prop_attn);
    expect_same(parity_config(Pooling::kMean), 2, {8, 8, 8, 8}, 1, prop_attn);
    expect_same(odd_config(Pooling::kTokenAndMean), 2, {8, 8, 8, 8}, 1, prop_attn);
    expect_same(odd_config(), 3, {13, 13, 13, 13}, 1, prop_attn);
    expect_same(parity_config(), 2, {60, 60, 60, 60}, 5, prop_attn);
  }
}

TEST_P(CpuKernelSets, PartitionsOfClips) {
  for (const Partition partition :
       {Partition::kSequential, Partition::kByFrame, Partition::kCheckerboard}) {
    expect_same(parity_config(), 2, {60, 50, 40, 10}, 5, PropAttn::kOn, partition);
  }
}

TEST_P(CpuKernelSets, FramesThatAreNotSquare) {
  ViTConfig config = parity_config();
  config.image_width = 32;
  for (const Partition partition : {Partition::kByFrame, Partition::kCheckerboard}) {
    expect_same(config, 2, {40, 30, 20, 10}, 5, PropAttn::kOn, partition);
  }
}

TEST_P(CpuKernelSets, NormsByTheArchitecturesEpsilon) {
  ViTConfig config = parity_config();
  config.norm_eps = 0.1;
  expect_same(config, 2, {4, 4, 4, 4});
}

TEST_P(CpuKernelSets, OptionsOfTheArchitecture) {
  ViTConfig config = parity_config();
  for (const Activation activation :
       {Activation::kGeluTanh, Activation::kQuickGelu, Activation::kRelu}) {
    config.activation = activation;
    expect_same(config, 2, {4, 4, 4, 4});
  }
  config = parity_config();
  config.pre_norm = true;
  expect_same(config, 2, {4, 4, 4, 4});
  config = parity_config(Pooling::kMean);
  config.class_token = false;
  config.frames = 4;
  config.tubelet = 2;
  expect_same(config, 2, {20, 20, 20, 20}, 4);
  config.weighted_pool = false;  // a mean that hangs on every merge, of which bfloat16 makes others
  if (!kernels_->bf16) expect_same(config, 2, {20, 20, 20, 20}, 4);
  config.weighted_pool = true;
  config.mlp_hidden = 2200;  // longer than what is summed in one part
  expect_same(config, 1, {20, 20, 20, 20}, 4);
}

TEST_P(CpuKernelSets, AsManyPrefixTokensAsAPassHasPlaceFor) {
  ViTConfig config = parity_config();
  config.registers = CpuForward::kMostPrefixTokens - 1;  // and the class token
  expect_same(config, 2, {8, 8, 8, 8});
  config.registers += 1;
  const ViTWeights weights = random_weights(config);
  EXPECT_THROW(CpuForward(config, weights, *kernels_), Error);
  const ProductType type = kernels_->bf16 ? ProductType::kBf16 : ProductType::kFloat;
  EXPECT_EQ(CpuForward::make(config, weights, type), nullptr);
}

TEST_P(CpuKernelSets, RefuseWhatIsNoWholeSteps) {
  ViTConfig config = parity_config();
  config.mlp_hidden = 107;
  if (!kernels_->bf16) return expect_same(config, 2, {});
  EXPECT_THROW(CpuForward(config, random_weights(config), *kernels_), Error);
}

TEST_P(CpuKernelSets, EqualOnAnyNumberOfThreads) {
  const c10::InferenceMode inference;
  const ViTConfig config = parity_config();
  const CpuForward cpu(config, random_weights(config), *kernels_);
  const at::Tensor patches = random_patches(config, 3);
  ForwardOutput shape;
  shape.logits = at::empty({3, config.classes});
  shape.tokens_in = config.tokens();
  shape.r = {8, 8, 8, 8};
  shape.tokens_out = shape.tokens_in - 32;
  const Result one = run_cpu(cpu, config, patches, shape, true, 1);
  for (const int threads : {2, 3, 7}) {
    EXPECT_TRUE(at::equal(run_cpu(cpu, config, patches, shape, true, threads).logits, one.logits));
  }
}

TEST_P(CpuKernelSets, AllocatesNothingOnceWarm) {
  const c10::InferenceMode inference;
  const ViTConfig config = parity_config();
  const CpuForward cpu(config, random_weights(config), *kernels_);
  const at::Tensor patches = random_patches(config, 2);
  std::vector<float> logits(static_cast<size_t>(2 * config.classes));
  const std::vector<int64_t> r{8, 8, 8, 8};
  CpuRun run;
  run.patches = patches.const_data_ptr<float>();
  run.batch = 2;
  run.r = r;
  run.threads = 2;
  run.logits = logits.data();
  const int64_t cold = allocations;
  cpu.run(run);
  const int64_t before = allocations;
  EXPECT_GT(before, cold + 4) << "or nothing is counted";
  for (int i = 0; i < 5; ++i) cpu.run(run);
  run.batch = 1;
  cpu.run(run);
  EXPECT_EQ(allocations - before, 0);
}

INSTANTIATE_TEST_SUITE_P(Cpu, CpuKernelSets, ::testing::ValuesIn(testing::kCpuSets),
                         testing::name_of);

TEST(CpuKernelChoice, LeavesOutWhatTheEnvironmentDoesNotWant) {
  const auto limit = [](const char* name) { setenv("TOME_MAX_CPU_ISA", name, 1); };
  limit("avx2");
  EXPECT_EQ(best_cpu_kernels(ProductType::kFloat), cpu_kernels(CpuSet::kAvx2));
  EXPECT_EQ(best_cpu_kernels(ProductType::kBf16), nullptr);
  limit("avx512-bf16");
  EXPECT_EQ(best_cpu_kernels(ProductType::kBf16), cpu_kernels(CpuSet::kAvx512Bf16));
  limit("sse2");
  EXPECT_THROW(best_cpu_kernels(ProductType::kBf16), Error);
  unsetenv("TOME_MAX_CPU_ISA");
  const CpuKernels* tiles = cpu_kernels(CpuSet::kAmxBf16);
  EXPECT_EQ(best_cpu_kernels(ProductType::kBf16),
            tiles != nullptr ? tiles : cpu_kernels(CpuSet::kAvx512Bf16));
}

TEST(CpuForward, StaticPatchesMergeAlike) {
  const c10::InferenceMode inference;
  at::manual_seed(3);
  const ViTConfig config = parity_config();
  const VisionTransformer model(config, random_weights(config));
  at::Tensor pixels = at::randn({2, 3, 1, 64, 64}).repeat({1, 1, 4, 1, 1});
  // From the third frame on: had the fourth gone back, its tokens would tie with the first ones.
  pixels.narrow(2, 2, 2).narrow(3, 0, 16).add_(at::randn({2, 3, 1, 16, 64}));
  ForwardOptions options;
  options.static_threshold = 0;
  options.r = {8, 8, 8, 8};
  options.partition = Partition::kByFrame;
  options.track_source = true;
  at::Tensor before;
  for (const PropAttn prop_attn : {PropAttn::kOn, PropAttn::kOff}) {
    options.prop_attn = prop_attn;
    options.plain = false;
    const ForwardOutput ours = model.forward_pixels(pixels, options);
    options.plain = true;
    const ForwardOutput plain = model.forward_pixels(pixels, options);
    EXPECT_LT(ours.tokens_out, 1 + 64 * 4 - 64);
    EXPECT_EQ(ours.tokens_out, plain.tokens_out);
    EXPECT_EQ(ours.r, plain.r);
    EXPECT_TRUE(at::equal(ours.source, plain.source));
    EXPECT_TRUE(at::equal(ours.size, plain.size));
    EXPECT_TRUE(at::allclose(ours.logits, plain.logits, 1e-4, 1e-4));
    if (before.defined()) {
      EXPECT_FALSE(at::allclose(ours.logits, before, 1e-3, 1e-3)) << "sizes must matter";
    }
    before = ours.logits;
  }
}

// Rounding norms, biases and positions changes which tokens merge, and products never ask for it.
TEST(CpuForward, Bf16RoundsOnlyWhatIsMultiplied) {
  const c10::InferenceMode inference;
  const ViTConfig config = parity_config();
  const ViTWeights weights = random_weights(config);
  const auto cpu = CpuForward::make(config, weights, ProductType::kBf16);
  if (!cpu) GTEST_SKIP() << "this processor has no bf16 products";
  const VisionTransformer model(config, weights, at::kCPU, at::kBFloat16);
  const at::Tensor patches = random_patches(config, 2);
  const ForwardOutput found = model.forward(patches);
  EXPECT_TRUE(at::equal(found.logits, run_cpu(*cpu, config, patches, found, true).logits));
}

// Helpers round as usual, so the calling thread's share must too.
TEST(CpuForward, RoundsAsUsualWhateverTheProgramDoes) {
  const c10::InferenceMode inference;
  const ViTConfig config = parity_config();
  const VisionTransformer model(config, random_weights(config));
  const at::Tensor patches = random_patches(config, 3);
  const at::Tensor expected = model.forward(patches).logits;
  std::fesetround(FE_TOWARDZERO);
  const at::Tensor found = model.forward(patches).logits;
  const int rounding = std::fegetround();
  std::fesetround(FE_TONEAREST);
  EXPECT_TRUE(at::equal(found, expected));
  EXPECT_EQ(rounding, FE_TOWARDZERO) << "it is the program's";
}

TEST(CpuForward, WeightsChangedAreSeen) {
  const c10::InferenceMode inference;
  const ViTConfig config = parity_config();
  VisionTransformer model(config, random_weights(config));
  const at::Tensor patches = random_patches(config, 1);
  const at::Tensor before = model.forward(patches).logits;
  model.weights().head.bias.add_(1);
  model.weights_changed();
  EXPECT_TRUE(at::allclose(model.forward(patches).logits, before + 1, 1e-5, 1e-5));
}

TEST(CpuTeam, EveryItemOnce) {
  CpuTeam team(3);
  for (const int64_t count : {0, 1, 2, 7, 1000}) {
    for (int round = 0; round < 50; ++round) {
      std::vector<std::atomic<int>> done(static_cast<size_t>(count));
      std::atomic<bool> thread_known{true};
      team.for_each(count, [&](int64_t item, int thread) {
        ++done[static_cast<size_t>(item)];
        if (thread < 0 || thread >= team.threads()) thread_known = false;
      });
      EXPECT_TRUE(thread_known);
      for (const auto& times : done) EXPECT_EQ(times, 1);
    }
  }
}

TEST(CpuTeam, WakesAfterAPause) {
  CpuTeam team(1);
  for (int round = 0; round < 3; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // helpers sleep by now
    std::atomic<int> both{0};
    team.for_each(2, [&](int64_t item, int thread) {
      EXPECT_EQ(item, thread) << "a thread begins with its own share";
      ++both;  // each waits for the other: one thread alone would never end
      while (both < 2) std::this_thread::yield();
    });
    EXPECT_EQ(both, 2);
  }
}

TEST(CpuTeam, FewerThreadsWhereThereIsNoMemoryForMore) {
  int short_teams = 0;
  for (int left = 0; left < 10; ++left) {
    std::optional<CpuTeam> team;
    allocations_left = left;
    try {
      team.emplace(3);
    } catch (const std::bad_alloc&) {  // not even one thread's
    }
    allocations_left = -1;
    if (!team) continue;
    if (team->threads() < 4) ++short_teams;
    std::atomic<int> items{0};
    team->for_each(100, [&](int64_t, int thread) {
      EXPECT_LT(thread, team->threads());
      ++items;
    });
    EXPECT_EQ(items, 100);
  }
  EXPECT_GT(short_teams, 0);
}

}  // namespace
}  // namespace tome
