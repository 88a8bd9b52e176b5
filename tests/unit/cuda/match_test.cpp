// The matching kernels, run on the host, against the definition in double precision, the CPU
// implementation and the reference's recorded numbers.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "cuda/match_runner.h"
#include "merging/match_launch.h"

namespace tome::testing {
namespace {

constexpr double kGap = 1e-6;  // choices are owed where scores differ by more

at::Tensor random_keys(int64_t batch, int64_t tokens, int64_t channels, uint64_t seed,
                       at::ScalarType type = at::kFloat) {
  at::manual_seed(seed);
  return at::randn({batch, tokens, channels}).to(type);
}

void expect_right(const at::Tensor& metric, const MatchOptions& options,
                  cuda::ThreadOrder order = cuda::ThreadOrder::kForwards) {
  const KernelMatching m = match_with_kernels(metric, options, order);
  expect_right_plan(metric, options, m, kGap);
}

/// Equal answers, where the CPU implementation is the measure.
void expect_same_as_cpu(const at::Tensor& metric, const MatchOptions& options) {
  const Matching expected = bipartite_soft_matching(metric, options);
  for (const auto order : {cuda::ThreadOrder::kForwards, cuda::ThreadOrder::kBackwards}) {
    const KernelMatching m = match_with_kernels(metric, options, order);
    EXPECT_TRUE(m.matching.source.equal(expected.source));
    EXPECT_TRUE(m.matching.destination.equal(expected.destination));
    EXPECT_TRUE(m.matching.target.equal(expected.target));
  }
}

TEST(MatchKernel, EverySmallSize) {
  for (int64_t tokens = 3; tokens <= 24; ++tokens) {
    SCOPED_TRACE("tokens " + std::to_string(tokens));
    expect_right(random_keys(2, tokens, 8, 100 + tokens), merging(1 + tokens % 5));
  }
  for (int64_t tokens = 2; tokens <= 12; ++tokens) {  // nothing protected
    expect_right(random_keys(1, tokens, 5, 200 + tokens), merging(tokens, {}));
  }
}

TEST(MatchKernel, SizesOfModels) {
  for (const int64_t tokens : {65, 197, 198, 257, 577}) {
    SCOPED_TRACE("tokens " + std::to_string(tokens));
    expect_right(random_keys(2, tokens, 64, tokens), merging(16));
    expect_right(random_keys(1, tokens, 64, tokens + 1, at::kBFloat16), merging(13));
  }
  expect_right(random_keys(1, 1568, 64, 3, at::kBFloat16), merging(65, {}));
  expect_right(random_keys(1, 2101, 16, 4, at::kHalf), merging(700));
}

TEST(MatchKernel, EveryTypeAndWidth) {
  for (const auto type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const int64_t channels : {1, 7, 24, 32, 48, 64, 80, 128, 200, 768}) {
      SCOPED_TRACE(std::to_string(channels) + " channels");
      expect_right(random_keys(1, 67, channels, 300 + channels, type), merging(9));
    }
  }
}

TEST(MatchKernel, StridedMetricAsInQkvRows) {
  const at::Tensor rows = random_keys(2, 99, 200, 11, at::kBFloat16);
  expect_right(rows.slice(2, 136, 200), merging(20));       // 16-byte aligned slices
  expect_right(rows.slice(2, 131, 131 + 33), merging(20));  // and not
}

TEST(MatchKernel, CapsAtHalfAndMergesAll) {
  expect_right(random_keys(2, 50, 16, 21), merging(1000));
  expect_right(random_keys(2, 51, 16, 22), merging(1000, {0, 1}));
  expect_right(random_keys(1, 2100, 8, 23), merging(5000));
}

TEST(MatchKernel, ProtectedTokensNeverMerge) {
  expect_right(random_keys(2, 198, 64, 31), merging(30, {0, 1}));
  expect_right(random_keys(2, 60, 16, 32), merging(30, {0, 1, 2, 3, 4}));
  for (const auto partition : {Partition::kSequential, Partition::kRandom}) {
    expect_right(random_keys(2, 61, 16, 33), merging(12, {0, 7, 30}, partition));
  }
}

TEST(MatchKernel, PartitionsThatDifferBySample) {
  MatchOptions options = merging(10, {0}, Partition::kCheckerboard);
  at::manual_seed(5);
  options.places.tyx = at::randint(0, 4, {3, 41, 3}, at::kInt);
  expect_right(random_keys(3, 41, 16, 34), options);
}

TEST(MatchKernel, TiesGoToTheLowerIndex) {
  // All keys alike: every A token's best is the first B token, and A tokens merge in order.
  const at::Tensor same = at::ones({2, 97, 64}, at::kBFloat16);
  const KernelMatching m = match_with_kernels(same, merging(20));
  for (int64_t k = 0; k < 20; ++k) {
    EXPECT_EQ(m.matching.source[1][k].item<int64_t>(), 2 + 2 * k);
    EXPECT_EQ(m.matching.destination[1][k].item<int64_t>(), 1);
  }
  // Four kinds of keys, exact in any type, so many exact ties between different edges.
  for (const auto type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (uint64_t seed = 0; seed < 8; ++seed) {
      at::manual_seed(seed);
      const at::Tensor kind = at::randint(0, 4, {1, 90}, at::kLong);
      const at::Tensor keys = at::eye(8).slice(0, 0, 4).index({kind[0]}).unsqueeze(0).to(type);
      expect_same_as_cpu(keys, merging(17));
    }
  }
}

TEST(MatchKernel, SameAsCpuOnWellSeparatedScores) {
  for (uint64_t seed = 0; seed < 6; ++seed) {
    expect_same_as_cpu(random_keys(2, 60 + 7 * static_cast<int64_t>(seed), 32, seed), merging(9));
  }
}

TEST(MatchKernel, OtherSimilarities) {
  for (const auto similarity : {Similarity::kDot, Similarity::kEuclidean}) {
    MatchOptions options = merging(11);
    options.similarity = similarity;
    expect_same_as_cpu(random_keys(2, 70, 16, 51), options);
    expect_same_as_cpu(random_keys(2, 70, 48, 52, at::kBFloat16), options);
  }
}

TEST(MatchKernel, KeysWithoutNormHaveCosineZero) {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    at::Tensor keys = random_keys(1, 41, 16, 61, type);
    for (const int64_t token : {4, 5, 11, 20}) keys[0][token].zero_();
    expect_right(keys, merging(19));
    expect_same_as_cpu(at::zeros({1, 41, 16}, type), merging(19));
  }
}

TEST(MatchKernel, NanAndInfinityStayInBounds) {
  at::Tensor keys = random_keys(1, 41, 16, 62);
  keys[0][6].fill_(std::numeric_limits<float>::quiet_NaN());
  keys[0][7].fill_(std::numeric_limits<float>::quiet_NaN());
  keys[0][9].fill_(std::numeric_limits<float>::infinity());
  const KernelMatching m = match_with_kernels(keys, merging(19));
  expect_members_match(m, 0);
  // A token of NaN is last in line, even when all but it merge.
  EXPECT_FALSE((m.matching.source == 6).any().item<bool>());
}

TEST(MatchKernel, ClusteredKeysManySourcesForOneDestination) {
  at::manual_seed(71);
  const at::Tensor centres = at::randn({3, 64});
  const at::Tensor which = at::randint(0, 3, {301}, at::kLong);
  const at::Tensor keys = (centres.index({which}) + 0.01 * at::randn({301, 64})).unsqueeze(0);
  expect_right(keys, merging(120));
  expect_right(keys.to(at::kBFloat16), merging(120));
}

TEST(MatchKernel, ResultDoesNotDependOnTheOrderOfThreads) {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const at::Tensor keys = random_keys(2, 197, 64, 81, type);
    const auto forwards = match_with_kernels(keys, merging(50));
    const auto backwards = match_with_kernels(keys, merging(50), cuda::ThreadOrder::kBackwards);
    EXPECT_TRUE(forwards.matching.source.equal(backwards.matching.source));
    EXPECT_TRUE(forwards.matching.target.equal(backwards.matching.target));
    EXPECT_TRUE(forwards.members.equal(backwards.members));
    EXPECT_TRUE(forwards.member_begin.equal(backwards.member_begin));
  }
}

TEST(MatchKernel, FewKeptOfMany) {
  for (const int64_t tokens : {258, 401, 700}) {
    for (const int64_t r : {1, 15, 33, 60}) {
      SCOPED_TRACE(std::to_string(tokens) + " tokens, r " + std::to_string(r));
      for (const auto order : {cuda::ThreadOrder::kForwards, cuda::ThreadOrder::kBackwards}) {
        expect_right(random_keys(1, tokens, 8, 400 + r, at::kBFloat16), merging(r), order);
      }
    }
  }
}

TEST(MatchKernel, FewKeptOfManyWithTies) {
  expect_same_as_cpu(at::ones({1, 301, 8}, at::kBFloat16), merging(20));
  for (uint64_t seed = 0; seed < 3; ++seed) {
    at::manual_seed(seed);
    const at::Tensor kind = at::randint(0, 4, {700}, at::kLong);
    const at::Tensor keys = at::eye(8).slice(0, 0, 4).index({kind}).unsqueeze(0);
    expect_same_as_cpu(keys, merging(30));
    expect_same_as_cpu(keys.to(at::kHalf), merging(160));
  }
}

TEST(MatchKernel, FewKeptOfManyWhereTheyLieWorst) {
  // The most similar edges are those of every 32nd A token, all in one group of the selection.
  at::Tensor keys = random_keys(1, 1201, 32, 95);
  for (int64_t i = 0; i < 600; i += 32) {
    keys[0][2 + 2 * i] = (2 + 0.01 * static_cast<double>(i)) * keys[0][1 + 2 * i];
  }
  expect_right(keys, merging(12));
  keys[0].slice(0, 200, 1200).fill_(std::numeric_limits<float>::quiet_NaN());
  const KernelMatching m = match_with_kernels(keys, merging(120));
  expect_members_match(m, 0);
}

TEST(MatchKernel, TooManyKeptToBeSelected) {
  expect_right(random_keys(1, 701, 8, 96, at::kBFloat16), merging(300));
  expect_right(random_keys(1, 1001, 8, 97), merging(200));
  expect_same_as_cpu(at::ones({1, 701, 8}, at::kBFloat16), merging(290));
}

TEST(MatchKernel, LargeBatches) {
  for (const int64_t tokens : {40, 129, 197, 261}) {  // whole samples in a block, and not
    SCOPED_TRACE(std::to_string(tokens) + " tokens");
    expect_right(random_keys(46, tokens, 8, 98, at::kBFloat16), merging(12));
    expect_right(random_keys(46, tokens, 8, 99), merging(20));
  }
}

/// A partition of one's own may leave halves of very different size.
TEST(MatchKernel, BlocksSuitHalvesOfAnySize) {
  for (const int batch : {1, 3, 100, 300}) {
    for (const int n_a : {1, 16, 20, 100, 129, 300, 1000, 2048}) {
      for (const int n_b : {1, 8, 20, 100, 400, 2048}) {
        cuda::MatchParams<cuda::Bf16> p;
        p.batch = batch;
        p.halves.n_a = n_a;
        p.halves.n_b = n_b;
        p.one_launch = true;
        const int most = cuda::MatchBody<cuda::Bf16, 2>::kThreads;
        const cuda::LaunchShape shape = cuda::match_shape(p, most);
        SCOPED_TRACE(::testing::Message() << batch << " x " << n_a << ":" << n_b);
        EXPECT_LE(shape.threads, most);
        EXPECT_EQ(shape.threads % (cuda::kWarpSize << p.tile_bits), 0);
        // What the kernel uses: scores, and the order behind them where a block is a sample's only.
        const int scores = cuda::score_shared_bytes(shape.threads, cuda::kMatchRows << p.tile_bits);
        const int order = cuda::order_shared_bytes(n_a);
        const bool alone = shape.grid.x * shape.grid.y == 1;
        EXPECT_GE(shape.shared_bytes, alone ? scores + order : std::max(scores, order));
      }
    }
  }
}

TEST(MatchKernel, OneLaunchUpToTwoThousandTokensThenMore) {
  const auto below = match_with_kernels(random_keys(1, 2101, 8, 91, at::kBFloat16), merging(64));
  EXPECT_EQ(below.launches, 1);
  const at::Tensor keys = random_keys(1, 4200, 8, 92, at::kBFloat16);
  EXPECT_EQ(match_with_kernels(keys, merging(300)).launches, 4);
  for (const auto order : {cuda::ThreadOrder::kForwards, cuda::ThreadOrder::kBackwards}) {
    expect_right(keys, merging(300), order);
  }
  const at::Tensor same = at::ones({1, 4200, 8}, at::kBFloat16);
  expect_same_as_cpu(same, merging(400));
}

}  // namespace
}  // namespace tome::testing
