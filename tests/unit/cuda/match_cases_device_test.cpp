// Matching on a device, case by case, against the CPU implementation (suite gpu): ties, keys that
// are no numbers, caps, types, strides, halves, similarities. Skipped, with the reason, where there
// is none.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "cuda/device_tensors.h"
#include "cuda/match_runner.h"
#include "cuda/needs_device.h"

namespace tome::testing {
namespace {

constexpr double kOwedGap = 1e-6;  // choices are owed where scores differ by more

struct MatchCase {
  std::string name;
  at::Tensor metric;
  MatchOptions options;
};

at::Tensor noise(int64_t batch, int64_t tokens, int64_t channels, at::ScalarType type) {
  at::manual_seed(static_cast<uint64_t>(tokens + channels));
  return at::randn({batch, tokens, channels}).to(type);
}

/// Four kinds of keys, exact in any type: many exact ties between different edges.
at::Tensor kinds(int64_t tokens, at::ScalarType type) {
  at::manual_seed(static_cast<uint64_t>(tokens));
  return at::eye(8).index({at::randint(0, 4, {2, tokens}, at::kLong)}).to(type);
}

/// Around three centres: many sources for one destination.
at::Tensor clusters(int64_t tokens, at::ScalarType type) {
  at::manual_seed(71);
  const at::Tensor which = at::randint(0, 3, {2, tokens}, at::kLong);
  return (at::randn({3, 64}).index({which}) + 0.1 * at::randn({2, tokens, 64})).to(type);
}

std::vector<MatchCase> cases_of_sizes() {
  std::vector<MatchCase> cases;
  for (const int64_t tokens : {3, 4, 5, 24, 65, 198, 577}) {
    cases.push_back({"small", noise(2, tokens, 64, at::kFloat), merging(1 + tokens % 16)});
  }
  for (const int64_t tokens : {2, 3, 12}) {
    cases.push_back({"nothing protected", noise(1, tokens, 5, at::kFloat), merging(tokens, {})});
  }
  for (const auto type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const int64_t channels : {1, 7, 24, 32, 48, 64, 80, 128, 200, 768}) {
      cases.push_back({"every type and width", noise(1, 67, channels, type), merging(9)});
    }
    for (const int64_t tokens : {40, 129, 261}) {  // whole samples in a block, and not
      cases.push_back({"large batch", noise(46, tokens, 8, type), merging(12)});
    }
  }
  const at::Tensor rows = noise(2, 99, 200, at::kBFloat16);
  cases.push_back({"slices of rows, aligned", rows.slice(2, 136, 200), merging(20)});
  cases.push_back({"slices of rows, not aligned", rows.slice(2, 131, 164), merging(20)});
  for (const int64_t tokens : {50, 51, 2100}) {
    cases.push_back({"capped", noise(2, tokens, 16, at::kFloat), merging(5000, {0, 1})});
  }
  cases.push_back({"four launches", noise(1, 4200, 8, at::kBFloat16), merging(300)});
  return cases;
}

std::vector<MatchCase> cases_of_choices() {
  std::vector<MatchCase> cases;
  for (const auto type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    cases.push_back({"clusters", clusters(301, type), merging(120)});
    cases.push_back({"few of many", noise(1, 700, 32, type), merging(33)});
    at::Tensor keys = noise(1, 41, 16, type);
    for (const int64_t token : {4, 5, 11, 20}) keys[0][token].zero_();
    cases.push_back({"keys without norm", keys, merging(19)});
    keys = noise(1, 41, 16, type);
    for (const int64_t token : {6, 7, 20}) {
      keys[0][token].fill_(std::numeric_limits<float>::quiet_NaN());
    }
    for (const int64_t r : {10, 19}) cases.push_back({"NaN", keys, merging(r)});
    for (const auto similarity : {Similarity::kDot, Similarity::kEuclidean}) {
      MatchOptions options = merging(11);
      options.similarity = similarity;
      cases.push_back({"another similarity", noise(2, 70, 48, type), options});
    }
  }
  const at::Tensor keys = noise(2, 61, 16, at::kFloat);
  cases.push_back({"many protected", keys, merging(30, {0, 1, 2, 3, 4})});
  for (const auto partition : {Partition::kSequential, Partition::kRandom}) {
    cases.push_back({"protected anywhere", keys, merging(12, {0, 7, 30}, partition)});
  }
  MatchOptions by_grid = merging(10, {0}, Partition::kCheckerboard);
  at::manual_seed(5);
  by_grid.places.tyx = at::randint(0, 4, {2, 61, 3}, at::kInt);
  cases.push_back({"halves that differ by sample", keys, by_grid});
  // The most similar edges are those of every 32nd A token, all in one group of the selection.
  at::Tensor worst = noise(1, 1201, 32, at::kFloat);
  for (int64_t i = 0; i < 600; i += 32) {
    worst[0][2 + 2 * i] = (2 + 0.01 * static_cast<double>(i)) * worst[0][1 + 2 * i];
  }
  cases.push_back({"where they lie worst", worst, merging(12)});
  return cases;
}

/// All choices are owed, since equal scores go to the lower index.
std::vector<MatchCase> cases_of_ties() {
  std::vector<MatchCase> cases;
  for (const auto type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const auto& [tokens, r] : {std::pair{90, 17}, {97, 48}, {700, 30}, {700, 160}}) {
      cases.push_back({"four kinds of keys", kinds(tokens, type), merging(r)});
    }
    cases.push_back({"no norm at all", at::zeros({2, 41, 16}, type), merging(19)});
    for (const auto& [tokens, r] : {std::pair{97, 20}, {301, 20}, {701, 290}, {4200, 400}}) {
      cases.push_back({"all alike", at::ones({2, tokens, 64}, type), merging(r)});
    }
  }
  return cases;
}

/// Of A's tokens with B's, by the definition, in double: [B, Na, Nb]. NaN is behind all others.
at::Tensor exact_scores(const at::Tensor& metric, const Halves& halves, Similarity similarity) {
  at::Tensor keys = metric.to(at::kDouble);
  if (similarity == Similarity::kCosine) {
    const at::Tensor norm = keys.norm(2, -1, true);
    keys = keys / at::where(norm == 0, at::ones_like(norm), norm);
  }
  const auto rows_of = [&](const at::Tensor& places) {
    return keys.gather(1, places.unsqueeze(-1).expand({keys.size(0), -1, keys.size(2)}));
  };
  const at::Tensor a = rows_of(halves.a), b = rows_of(halves.b);
  const at::Tensor scores = similarity == Similarity::kEuclidean
                                ? -(a.unsqueeze(2) - b.unsqueeze(1)).square().sum(-1)
                                : at::matmul(a, b.transpose(1, 2));
  return at::where(scores.isnan(), at::full_like(scores, -1e9), scores);
}

bool has_any(const at::Tensor& t) { return t.any().item<bool>(); }

/// One sample: the CPU's edges in the CPU's order wherever the scores are farther apart than `gap`,
/// and edges of equal worth elsewhere.
/// @param scores  [Na, Nb] @param a, b  places of either half
void expect_the_cpus_edges(const at::Tensor& scores, const at::Tensor& a, const at::Tensor& b,
                           const at::Tensor& source, const at::Tensor& destination,
                           const at::Tensor& cpu_source, const at::Tensor& cpu_destination,
                           int64_t tokens, double gap) {
  at::Tensor row = at::full({tokens}, -1, at::kLong), column = row.clone();
  row.index_put_({a}, at::arange(a.size(0)));
  column.index_put_({b}, at::arange(b.size(0)));
  ASSERT_FALSE(has_any(source.lt(0).logical_or(source.ge(tokens)))) << source;
  ASSERT_FALSE(has_any(destination.lt(0).logical_or(destination.ge(tokens)))) << destination;
  const at::Tensor mine = row.index_select(0, source), theirs = row.index_select(0, cpu_source),
                   chosen = column.index_select(0, destination);
  ASSERT_FALSE(has_any(mine.lt(0))) << "a source is not in A";
  ASSERT_FALSE(has_any(chosen.lt(0))) << "a destination is not in B";
  const at::Tensor best = scores.amax(-1), owed = best.index_select(0, theirs);
  EXPECT_LE((best.index_select(0, mine) - owed).abs().max().item<double>(), gap);
  const at::Tensor alone =
      (best.unsqueeze(0) - owed.unsqueeze(1)).abs().le(gap).sum(1).eq(1);  // no edge is as good
  EXPECT_FALSE(has_any(mine.ne(theirs).logical_and(alone))) << "sources";
  const at::Tensor of_mine = scores.index_select(0, mine);
  const at::Tensor left =
      best.index_select(0, mine) - of_mine.gather(1, chosen.unsqueeze(1)).squeeze(1);
  EXPECT_LE(left.max().item<double>(), gap) << "a better destination";
  const at::Tensor clear = (of_mine.amax(-1, true) - of_mine).le(gap).sum(1).eq(1);
  const at::Tensor elsewhere = destination.ne(cpu_destination).logical_and(mine.eq(theirs));
  EXPECT_FALSE(has_any(elsewhere.logical_and(clear))) << "destinations";
}

void expect_the_cpus_choices(const MatchCase& asked, const KernelMatching& got) {
  const auto& [name, metric, options] = asked;
  const int64_t batch = metric.size(0), tokens = metric.size(1);
  const Matching cpu = bipartite_soft_matching(metric, options), &plan = got.matching;
  ASSERT_EQ(plan.tokens_out, cpu.tokens_out);
  Halves halves = split_tokens(batch, tokens, options);
  halves.a = halves.a.expand({batch, -1});
  halves.b = halves.b.expand({batch, -1});
  const at::Tensor scores = exact_scores(metric, halves, options.similarity);
  // Those of a cosine are at most 1; float32 says less of larger ones.
  const at::Tensor numbers = scores.masked_select(scores.gt(-1e9)).abs();
  const double gap = kOwedGap * std::max(1.0, numbers.max().item<double>());
  for (int64_t i = 0; i < batch; ++i) {
    SCOPED_TRACE("sample " + std::to_string(i));
    ASSERT_NO_FATAL_FAILURE(expect_the_cpus_edges(scores[i], halves.a[i], halves.b[i],
                                                  plan.source[i], plan.destination[i],
                                                  cpu.source[i], cpu.destination[i], tokens, gap));
    expect_right_targets(halves, options, got, i);
    expect_members_match(got, i);
  }
}

std::string what(const MatchCase& asked) {
  return asked.name + ": " + std::to_string(asked.metric.size(1)) + " tokens of " +
         std::to_string(asked.metric.size(2)) + " x " + at::toString(asked.metric.scalar_type()) +
         ", r " + std::to_string(asked.options.r);
}

void expect_the_cpus_choices_there(const std::vector<MatchCase>& cases) {
  for (const MatchCase& asked : cases) {
    SCOPED_TRACE(what(asked));
    expect_the_cpus_choices(asked, match_on_device(asked.metric, asked.options, 2).plan);
  }
}

TEST(MatchCasesOnDevice, SizesTypesAndStrides) {
  TOME_NEEDS_DEVICE();
  expect_the_cpus_choices_there(cases_of_sizes());
}

TEST(MatchCasesOnDevice, ChoicesOfEveryKind) {
  TOME_NEEDS_DEVICE();
  expect_the_cpus_choices_there(cases_of_choices());
}

TEST(MatchCasesOnDevice, TiesGoToTheLowerIndex) {
  TOME_NEEDS_DEVICE();
  for (const MatchCase& asked : cases_of_ties()) {
    SCOPED_TRACE(what(asked));
    const Matching cpu = bipartite_soft_matching(asked.metric, asked.options);
    const KernelMatching got = match_on_device(asked.metric, asked.options, 2).plan;
    EXPECT_TRUE(at::equal(got.matching.source, cpu.source));
    EXPECT_TRUE(at::equal(got.matching.destination, cpu.destination));
    EXPECT_TRUE(at::equal(got.matching.target, cpu.target));
    for (int64_t i = 0; i < asked.metric.size(0); ++i) expect_members_match(got, i);
  }
}

/// No kernel may read or write where there is nothing, whatever the keys are.
TEST(MatchCasesOnDevice, InfinityStaysInBounds) {
  TOME_NEEDS_DEVICE();
  for (const auto type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    at::Tensor keys = noise(1, 41, 16, type);
    keys[0][6].fill_(std::numeric_limits<float>::quiet_NaN());
    keys[0][9].fill_(std::numeric_limits<float>::infinity());
    const KernelMatching got = match_on_device(keys, merging(19)).plan;
    expect_members_match(got, 0);
    EXPECT_FALSE(has_any(got.matching.source == 6)) << "a token of NaN is last in line";
  }
}

}  // namespace
}  // namespace tome::testing
