#include "merging/merge.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace tome {
namespace {

/// Tokens 0 and 2 merge into 1, token 3 stays: places {1 with 0 and 2} and {3}.
Matching two_into_one() {
  Matching m;
  m.tokens_in = 4;
  m.tokens_out = 2;
  m.target = at::tensor({0, 0, 0, 1}, at::kLong).unsqueeze(0);
  m.source = at::tensor({0, 2}, at::kLong).unsqueeze(0);
  m.destination = at::tensor({1, 1}, at::kLong).unsqueeze(0);
  return m;
}

const at::Tensor& tokens() {
  static const at::Tensor x =
      at::tensor({1.F, 10.F, 2.F, 20.F, 4.F, 40.F, 7.F, 70.F}).view({1, 4, 2});
  return x;
}

at::Tensor expect_values(const at::Tensor& x, const std::vector<float>& expected) {
  const at::Tensor wanted = at::tensor(expected).view_as(x);
  EXPECT_TRUE(at::allclose(x.to(at::kFloat), wanted)) << x << " not " << wanted;
  return wanted;
}

TEST(Merge, WeightedMeanByHand) {
  const at::Tensor size = at::tensor({1.F, 2.F, 5.F, 3.F}).unsqueeze(0);
  const auto merged = merge_tokens(tokens(), size, two_into_one());
  expect_values(merged.x, {(1 + 4 + 20) / 8.F, (10 + 40 + 200) / 8.F, 7, 70});
  expect_values(merged.size, {8, 3});
}

TEST(Merge, OtherWaysToCombine) {
  const at::Tensor size = at::tensor({1.F, 2.F, 5.F, 3.F}).unsqueeze(0);
  const auto combined = [&](Combine combine) {
    return merge_tokens(tokens(), size, two_into_one(), combine);
  };
  expect_values(combined(Combine::kMean).x, {7 / 3.F, 70 / 3.F, 7, 70});
  expect_values(combined(Combine::kMax).x, {4, 40, 7, 70});
  expect_values(combined(Combine::kKeepOne).x, {2, 20, 7, 70});
  expect_values(combined(Combine::kKeepOne).size, {8, 3});
}

TEST(Merge, RowsAndDifferentiableWayAgree) {
  at::manual_seed(1);
  const at::Tensor x = at::randn({3, 197, 24});
  const at::Tensor size = at::randint(1, 9, {3, 197}).to(at::kFloat);
  MatchOptions options;
  options.r = 60;
  options.protected_tokens = {0};
  const Matching m = bipartite_soft_matching(at::randn({3, 197, 8}), options);
  const auto fast = merge_tokens(x, size, m);
  const auto slow = merge_tokens(x.clone().requires_grad_(true), size, m);
  EXPECT_TRUE(at::allclose(fast.x, slow.x, 1e-5, 1e-6));
  EXPECT_TRUE(at::equal(fast.size, slow.size));
  EXPECT_TRUE(at::equal(fast.size.sum(1), size.sum(1))) << "no patch is lost";
}

TEST(Merge, TokensThatStayAreNotTouched) {
  const at::Tensor x = at::tensor({1.1F, 1.F, 1.F, 0.1F}).view({1, 4, 1});
  const at::Tensor size = at::tensor({1.F, 1.F, 1.F, 3.F}).unsqueeze(0);
  EXPECT_EQ(merge_tokens(x, size, two_into_one()).x[0][1].item<float>(), 0.1F);
}

TEST(Merge, BackpropagatesLikeAveragePooling) {
  at::Tensor x = tokens().to(at::kDouble).clone().requires_grad_(true);
  const at::Tensor size = at::tensor({1.F, 2.F, 5.F, 3.F}).unsqueeze(0);
  merge_tokens(x, size, two_into_one()).x.select(1, 0).sum().backward();
  const at::Tensor grad = x.grad();
  for (int64_t c = 0; c < 2; ++c) {
    EXPECT_NEAR(grad[0][0][c].item<double>(), 1 / 8.0, 1e-6);
    EXPECT_NEAR(grad[0][1][c].item<double>(), 2 / 8.0, 1e-6);
    EXPECT_NEAR(grad[0][2][c].item<double>(), 5 / 8.0, 1e-6);
    EXPECT_EQ(grad[0][3][c].item<double>(), 0);
  }
}

TEST(Merge, Bf16KeepsCountPast256) {
  const at::Tensor x = tokens().to(at::kBFloat16);
  const at::Tensor size = at::tensor({300.F, 1.F, 1.F, 3.F}).unsqueeze(0);
  const auto merged = merge_tokens(x, size, two_into_one());
  EXPECT_EQ(merged.x.scalar_type(), at::kBFloat16);
  EXPECT_EQ(merged.size[0][0].item<float>(), 302);
}

TEST(Merge, UnmergeCopiesBackToAllSources) {
  const Matching m = two_into_one();
  const at::Tensor source = merge_source({}, m, 1);
  const auto merged = merge_tokens(tokens(), {}, m);
  const at::Tensor back = unmerge(merged.x, source);
  expect_values(back, {7 / 3.F, 70 / 3.F, 7 / 3.F, 70 / 3.F, 7 / 3.F, 70 / 3.F, 7, 70});
}

TEST(Merge, SourcesCompose) {
  const Matching first = two_into_one();
  Matching second;  // the two tokens left become one
  second.tokens_in = 2;
  second.tokens_out = 1;
  second.target = at::zeros({1, 2}, at::kLong);
  const at::Tensor source = merge_source(merge_source({}, first, 1), second, 1);
  EXPECT_TRUE(at::equal(source, at::zeros({1, 4}, at::kLong)));
}

}  // namespace
}  // namespace tome
