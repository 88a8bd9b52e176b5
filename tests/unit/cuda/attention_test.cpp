// The attention kernels, run on the host, against softmax(Q K^T / sqrt(d) + log s) V in double.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "cuda/executor/host_executor.h"
#include "vit/attention_group_kernel.h"
#include "vit/attention_kernel.h"

namespace tome::testing {
namespace {

/// Rows of a QKV product, [batch, tokens, 3, heads, dim] and `extra` more columns.
struct Attention {
  at::Tensor rows;
  at::Tensor key_weight;  // float32 [batch, tokens]; undefined: ones
  int64_t heads = 1, dim = 64;

  at::Tensor part(int64_t which) const {  // [batch, tokens, heads, dim]
    return rows.slice(2, which * heads * dim, (which + 1) * heads * dim).unflatten(2, {heads, dim});
  }
};

Attention random_attention(int64_t batch, int64_t tokens, int64_t heads, int64_t dim,
                           at::ScalarType type, double spread = 1) {
  at::manual_seed(static_cast<uint64_t>(1000 * tokens + dim));
  Attention a;
  a.rows = (spread * at::randn({batch, tokens, 3 * heads * dim + 8})).to(type);
  a.key_weight = at::randint(1, 60, {batch, tokens}, at::kFloat);
  a.heads = heads;
  a.dim = dim;
  return a;
}

at::Tensor by_definition(const Attention& a) {
  const auto part = [&](int64_t which) { return a.part(which).to(at::kDouble).transpose(1, 2); };
  at::Tensor scores = at::matmul(part(0), part(1).transpose(2, 3)) / std::sqrt(a.dim);
  if (a.key_weight.defined()) {
    scores = scores + a.key_weight.to(at::kDouble).log().unsqueeze(1).unsqueeze(1);
  }
  return at::matmul(scores.softmax(-1), part(2)).transpose(1, 2).flatten(2);
}

/// By tiles of a warp, or by warpgroups.
enum class Way { kTiles, kGroups };

template <class T>
at::Tensor with_kernel(const Attention& a, cuda::ThreadOrder order, Way way = Way::kTiles) {
  const at::Tensor out =
      at::full({a.rows.size(0), a.rows.size(1), a.heads * a.dim}, NAN, a.rows.options());
  cuda::AttentionParams<T> p;
  p.q = static_cast<const T*>(a.rows.data_ptr());
  p.k = p.q + a.heads * a.dim;
  p.v = p.k + a.heads * a.dim;
  p.key_weight = a.key_weight.defined() ? a.key_weight.data_ptr<float>() : nullptr;
  p.weight_sample_stride = a.rows.size(1);
  p.out = static_cast<T*>(out.data_ptr());
  p.sample_stride = a.rows.stride(0);
  p.token_stride = a.rows.stride(1);
  p.head_stride = a.dim;
  p.batch = static_cast<int>(a.rows.size(0));
  p.tokens = static_cast<int>(a.rows.size(1));
  p.heads = static_cast<int>(a.heads);
  p.scale = 1.0F / std::sqrt(static_cast<float>(a.dim));
  cuda::HostLauncher launcher(order);
  if (way == Way::kTiles) {
    EXPECT_TRUE(cuda::launch_attention(launcher, static_cast<int>(a.dim), p));
  } else {
    cuda::launch_group_attention(launcher, p);
  }
  return out;
}

void expect_attention_definition(const Attention& a, double tolerance,
                                 cuda::ThreadOrder order = cuda::ThreadOrder::kForwards) {
  SCOPED_TRACE(std::to_string(a.rows.size(1)) + " tokens, heads of " + std::to_string(a.dim));
  const bool half = a.rows.scalar_type() == at::kHalf;
  const at::Tensor expected = by_definition(a);
  for (const Way way : {Way::kTiles, Way::kGroups}) {
    if (way != Way::kTiles && a.dim != cuda::kGroupDim) continue;
    SCOPED_TRACE("way " + std::to_string(static_cast<int>(way)));
    const at::Tensor got =
        half ? with_kernel<cuda::Half>(a, order, way) : with_kernel<cuda::Bf16>(a, order, way);
    const at::Tensor error = (got.to(at::kDouble) - expected).abs();
    EXPECT_LE(error.max().item<double>(), tolerance);  // NaN fails too
  }
}

TEST(AttentionKernel, EveryHeadSizeAndType) {
  for (const int64_t dim : {32, 64, 80, 128}) {
    for (const auto order : {cuda::ThreadOrder::kForwards, cuda::ThreadOrder::kBackwards}) {
      expect_attention_definition(random_attention(2, 37, 3, dim, at::kBFloat16), 1e-2, order);
      expect_attention_definition(random_attention(1, 70, 2, dim, at::kHalf), 2e-3, order);
    }
  }
}

TEST(AttentionKernel, EveryNumberOfTokensAroundATile) {
  for (const int64_t tokens : {1, 2, 8, 15, 16, 17, 63, 64, 65, 127, 128, 129, 197, 577}) {
    Attention a = random_attention(1, tokens, 1, 64, at::kBFloat16);
    expect_attention_definition(a, 1e-2);
    a.key_weight = at::Tensor();
    expect_attention_definition(a, 1e-2, cuda::ThreadOrder::kBackwards);
  }
}

TEST(AttentionKernel, SharpScoresAndOldMaximaAreRescaled) {
  // Scores of +-50: later steps hold the maximum for some rows, earlier ones for others.
  expect_attention_definition(random_attention(1, 200, 2, 64, at::kHalf, 2.5), 1e-2);
}

TEST(AttentionKernel, ScoresThatGrowFromStepToStep) {
  // Some of a step's scores pass the number that is subtracted, by less than what moves it or more.
  for (const double growth : {-3.0, 0.5, 2.0, 6.0, 20.0}) {
    SCOPED_TRACE(growth);
    for (const bool weighted : {false, true}) {
      Attention a = random_attention(1, 7 * cuda::kAttentionKeys - 20, 1, 64, at::kHalf, 0.1);
      if (!weighted) a.key_weight = at::Tensor();
      const at::Tensor step = at::arange(a.rows.size(1)).div(cuda::kAttentionKeys, "floor");
      a.part(0).slice(1, 100).add_(1);  // queries; the first hundred have scores alike
      a.part(1).add_((step * (growth / 8)).view({1, -1, 1, 1}));
      expect_attention_definition(a, 2e-3);
    }
  }
}

TEST(AttentionKernel, WithoutWeightsItIsPlainAttention) {
  Attention a = random_attention(1, 90, 2, 64, at::kHalf);
  a.key_weight = at::Tensor();
  expect_attention_definition(a, 2e-3);
}

TEST(AttentionKernel, AWeightIsTheSameAsThatManyTokens) {
  const Attention few = random_attention(1, 20, 1, 32, at::kHalf);
  Attention many = few;
  const at::Tensor counts = few.key_weight[0].to(at::kLong);
  many.rows = few.rows[0].repeat_interleave(counts, 0).unsqueeze(0).contiguous();
  many.key_weight = at::Tensor();
  const at::Tensor merged = with_kernel<cuda::Half>(few, cuda::ThreadOrder::kForwards);
  const at::Tensor apart = with_kernel<cuda::Half>(many, cuda::ThreadOrder::kForwards);
  const at::Tensor expected = merged[0].repeat_interleave(counts, 0);
  EXPECT_LE((apart[0].to(at::kFloat) - expected.to(at::kFloat)).abs().max().item<float>(), 2e-3F);
}

TEST(AttentionKernel, KeysOfNoWeightAreIgnoredEvenInAWholeStep) {
  Attention a = random_attention(1, 150, 1, 64, at::kHalf);
  a.key_weight.slice(1, 0, 70).zero_();
  expect_attention_definition(a, 2e-3);
}

TEST(AttentionKernel, SizesThatBf16CannotHold) {
  Attention a = random_attention(1, 66, 1, 64, at::kBFloat16);
  a.key_weight[0][5] = 1025;  // bf16 counts to 256
  a.key_weight[0][6] = 1027;
  expect_attention_definition(a, 1e-2);
}

TEST(AttentionKernel, ResultDoesNotDependOnTheOrderOfThreads) {
  const auto same = [](const Attention& a, Way way) {
    return at::equal(with_kernel<cuda::Bf16>(a, cuda::ThreadOrder::kForwards, way),
                     with_kernel<cuda::Bf16>(a, cuda::ThreadOrder::kBackwards, way));
  };
  const Attention a = random_attention(2, 130, 2, 64, at::kBFloat16);
  EXPECT_TRUE(same(a, Way::kTiles));
  EXPECT_TRUE(same(a, Way::kGroups));
  // Three steps: rows are fetched to where others lay.
  for (const int64_t dim : {32, 80, 128}) {
    EXPECT_TRUE(same(random_attention(1, 150, 1, dim, at::kBFloat16), Way::kTiles)) << dim;
  }
  // Steps in the middle that are known to be whole are code of their own.
  EXPECT_TRUE(same(random_attention(1, 330, 1, 64, at::kBFloat16), Way::kGroups));
}

TEST(AttentionKernel, OtherHeadSizesAreRefused) {
  cuda::AttentionParams<cuda::Bf16> p;
  cuda::HostLauncher launcher;
  EXPECT_FALSE(cuda::launch_attention(launcher, 48, p));
  EXPECT_EQ(launcher.launches(), 0);
}

}  // namespace
}  // namespace tome::testing
