// The embedding's kernel, run on the host, against its definition.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "cuda/merge_runner.h"
#include "vit/embed_kernel.h"

namespace tome::testing {
namespace {

/// Two samples: two prefix tokens, then three frames of 2 x 3 patches.
struct EmbedCase {
  static constexpr int64_t kBatch = 2, kPrefix = 2, kFrames = 3, kRows = 2, kCols = 3;
  static constexpr int64_t kCells = kRows * kCols, kTokens = kPrefix + kFrames * kCells;

  at::Tensor patches, first, position, weight, bias;

  EmbedCase(int64_t channels, at::ScalarType type) {
    at::manual_seed(static_cast<uint64_t>(channels));
    patches = at::randn({kBatch, kFrames * kCells, channels}).to(type);
    first = at::randn({kPrefix, channels});
    position = at::randn({kCells, channels});
    weight = at::rand({channels}) + 0.5;
    bias = at::randn({channels});
  }
};

struct EmbeddedTokens {
  at::Tensor x, norm, size, parity;
};

/// @param shifted  rows begin where they cannot move in quads
template <class T>
EmbeddedTokens embedded_by_kernel(const EmbedCase& in, bool shifted, cuda::ThreadOrder order) {
  const int64_t channels = in.patches.size(2);
  const at::Tensor patches = laid_out(in.patches, shifted);
  const at::Tensor blank =
      at::full({EmbedCase::kBatch, EmbedCase::kTokens, channels}, NAN, patches.options());
  EmbeddedTokens out{laid_out(blank, shifted), laid_out(blank.clone(), shifted),
                     at::full({EmbedCase::kBatch, EmbedCase::kTokens}, NAN),
                     at::full({EmbedCase::kBatch, EmbedCase::kTokens}, 9, at::kByte)};
  cuda::EmbedParams<T> p;
  p.patches = static_cast<const T*>(patches.data_ptr());
  p.first = floats(in.first);
  p.position = floats(in.position);
  p.x_out = static_cast<T*>(out.x.data_ptr());
  p.size_out = out.size.data_ptr<float>();
  p.prefix_size = EmbedCase::kFrames;
  p.parity_out = out.parity.data_ptr<uint8_t>();
  p.grid = {EmbedCase::kRows, EmbedCase::kCols, GridParity::kCheckerboard};
  p.norm_weight = floats(in.weight);
  p.norm_bias = floats(in.bias);
  p.norm_out = static_cast<T*>(out.norm.data_ptr());
  p.batch = EmbedCase::kBatch;
  p.tokens = EmbedCase::kTokens;
  p.prefix = EmbedCase::kPrefix;
  p.cells = EmbedCase::kCells;
  p.channels = static_cast<int>(channels);
  cuda::HostLauncher launcher(order);
  EXPECT_TRUE(cuda::launch_embed(launcher, p));
  return out;
}

void expect_sizes_and_parities(const EmbeddedTokens& got) {
  for (int64_t b = 0; b < EmbedCase::kBatch; ++b) {
    for (int64_t i = 0; i < EmbedCase::kTokens; ++i) {
      const int64_t patch = i - EmbedCase::kPrefix;
      const int64_t t = patch / EmbedCase::kCells, cell = patch % EmbedCase::kCells;
      const int64_t parity =
          patch < 0 ? 0 : (t + cell / EmbedCase::kCols + cell % EmbedCase::kCols) % 2;
      EXPECT_EQ(got.size[b][i].item<float>(), patch < 0 ? EmbedCase::kFrames : 1);
      EXPECT_EQ(got.parity[b][i].item<int>(), parity) << i;
    }
  }
}

/// As the widths of models are cut into warps, and where quads and warps end between.
template <class T>
void expect_embedding(int64_t channels, double tolerance) {
  const EmbedCase in(channels, ScalarTypeOf<T>::value);
  const at::Tensor places =
      in.patches.to(at::kDouble) + in.position.to(at::kDouble).repeat({EmbedCase::kFrames, 1});
  const at::Tensor x = at::cat(
      {in.first.to(at::kDouble).expand({EmbedCase::kBatch, EmbedCase::kPrefix, channels}), places},
      1);
  const at::Tensor norm =
      at::layer_norm(x, {channels}, in.weight.to(at::kDouble), in.bias.to(at::kDouble), 1e-6);
  for (const bool shifted : {false, true}) {
    for (const auto order : {cuda::ThreadOrder::kForwards, cuda::ThreadOrder::kBackwards}) {
      SCOPED_TRACE(::testing::Message() << channels << " channels, shifted " << shifted
                                        << ", order " << static_cast<int>(order));
      const EmbeddedTokens got = embedded_by_kernel<T>(in, shifted, order);
      expect_near(got.x, x, tolerance);
      expect_near(got.norm, norm, tolerance);
      expect_sizes_and_parities(got);
    }
  }
}

TEST(EmbedKernel, TokensOfEveryWidth) {
  for (const int64_t channels : {1, 7, 8, 192, 256, 264, 384, 520, 768, 1024, 1283, 2048}) {
    expect_embedding<float>(channels, 1e-5);
  }
}

TEST(EmbedKernel, HalfTypes) {
  for (const int64_t channels : {192, 768, 1025}) {
    expect_embedding<cuda::Bf16>(channels, 1e-2);
    expect_embedding<cuda::Half>(channels, 2e-3);
  }
}

TEST(EmbedKernel, TooManyChannelsAreRefused) {
  cuda::EmbedParams<float> p;
  p.batch = p.tokens = p.cells = 1;
  p.channels = cuda::kRowMaxChannels + 1;
  cuda::HostLauncher launcher;
  EXPECT_FALSE(cuda::launch_embed(launcher, p));
  EXPECT_EQ(launcher.launches(), 0);
}

}  // namespace
}  // namespace tome::testing
