#include "merging/matching.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "checkpoint/safetensors.h"
#include "merging/merge.h"
#include "merging/schedule.h"
#include "merging_fixtures.h"
#include "shared_data.h"
#include "tome_error.h"

namespace tome {
namespace {

using testing::row;

/// The definition, in float64 and without cleverness: pairs (source, destination).
std::set<std::pair<int64_t, int64_t>> pairs_by_definition(
    const at::Tensor& metric, int64_t r, int64_t protected_count,
    Similarity similarity = Similarity::kCosine) {
  const at::Tensor keys = metric.to(at::kDouble);
  const int64_t n = keys.size(0);
  const auto alike = [&](int64_t i, int64_t j) {
    const double dot = keys[i].dot(keys[j]).item<double>();
    if (similarity == Similarity::kDot) return dot;
    if (similarity == Similarity::kEuclidean) return -(keys[i] - keys[j]).norm().item<double>();
    const double norms = keys[i].norm().item<double>() * keys[j].norm().item<double>();
    return norms == 0 ? 0.0 : dot / norms;
  };
  std::vector<std::tuple<double, int64_t, int64_t>> edges;
  for (int64_t a = 0; a < n; a += 2) {
    if (a < protected_count) continue;
    double best = -std::numeric_limits<double>::infinity();
    int64_t best_b = -1;
    for (int64_t b = 1; b < n; b += 2) {
      if (b < protected_count) continue;
      if (alike(a, b) > best) best = alike(a, best_b = b);
    }
    edges.emplace_back(-best, a, best_b);
  }
  std::stable_sort(edges.begin(), edges.end());
  std::set<std::pair<int64_t, int64_t>> pairs;
  for (int64_t k = 0; k < r; ++k) {
    pairs.insert({std::get<1>(edges[k]), std::get<2>(edges[k])});
  }
  return pairs;
}

std::set<std::pair<int64_t, int64_t>> pairs_of(const Matching& matching, int64_t b) {
  std::set<std::pair<int64_t, int64_t>> pairs;
  const auto source = row(matching.source, b);
  const auto destination = row(matching.destination, b);
  for (size_t k = 0; k < source.size(); ++k) pairs.insert({source[k], destination[k]});
  return pairs;
}

/// What must hold of any plan, ties or not.
void expect_sound(const Matching& matching, const MatchOptions& options) {
  for (int64_t b = 0; b < matching.target.size(0); ++b) {
    const auto target = row(matching.target, b);
    const auto source = row(matching.source, b);
    const auto destination = row(matching.destination, b);
    ASSERT_EQ(static_cast<int64_t>(target.size()), matching.tokens_in);
    const std::set<int64_t> places(target.begin(), target.end());
    EXPECT_EQ(static_cast<int64_t>(places.size()), matching.tokens_out) << "every place is taken";
    EXPECT_EQ(*places.rbegin(), matching.tokens_out - 1);
    const std::set<int64_t> gone(source.begin(), source.end());
    EXPECT_EQ(static_cast<int64_t>(gone.size()), matching.r()) << "a token merges away once";
    for (size_t k = 0; k < source.size(); ++k) {
      EXPECT_EQ(target[source[k]], target[destination[k]]);
      EXPECT_FALSE(gone.contains(destination[k])) << "a destination stays";
    }
    for (size_t i = 0; i < options.protected_tokens.size(); ++i) {
      const int64_t token = options.protected_tokens[i];
      EXPECT_EQ(target[token], static_cast<int64_t>(i)) << "protected tokens come first";
      EXPECT_EQ(std::count(target.begin(), target.end(), static_cast<int64_t>(i)), 1)
          << "nothing merges into a protected token";
    }
  }
}

struct ParityCase {
  nlohmann::json about;
  MatchOptions options;
};

class MatchingParity : public ::testing::Test {
 protected:
  static std::vector<ParityCase> cases() {
    std::ifstream file(testing::shared_data() / "parity/matching.json");
    std::vector<ParityCase> out;
    for (const auto& entry : nlohmann::json::parse(file)) {
      MatchOptions options;
      options.r = entry["r"];
      if (entry["class_token"].get<bool>()) options.protected_tokens.push_back(0);
      if (entry["distill_token"].get<bool>()) options.protected_tokens.push_back(1);
      out.push_back({entry, options});
    }
    return out;
  }
  static SafetensorsFile tensors() {
    return SafetensorsFile::open(testing::shared_data() / "parity/matching.safetensors");
  }
};

TEST_F(MatchingParity, EveryPlanIsSoundAndOfTheRightSize) {
  TOME_NEEDS_SHARED_DATA("parity/matching.json");
  const auto file = tensors();
  for (const auto& c : cases()) {
    const std::string name = c.about["name"];
    SCOPED_TRACE(name);
    const Matching m = bipartite_soft_matching(file.tensor(name + ".metric"), c.options);
    EXPECT_EQ(m.r(), c.about["r_effective"].get<int64_t>());
    EXPECT_EQ(m.tokens_out, c.about["N_out"].get<int64_t>());
    expect_sound(m, c.options);
  }
}

TEST_F(MatchingParity, PairsValuesSizesAndSourcesEqualTheReference) {
  TOME_NEEDS_SHARED_DATA("parity/matching.json");
  const auto file = tensors();
  int compared = 0;
  for (const auto& c : cases()) {
    const std::string name = c.about["name"];
    if (!c.about["exact_order"].get<bool>()) continue;  // ties, NaN, half: undefined there
    SCOPED_TRACE(name);
    const at::Tensor x = file.tensor(name + ".x");
    const Matching m = bipartite_soft_matching(file.tensor(name + ".metric"), c.options);
    const int64_t batch = x.size(0);
    if (!c.about["noop"].get<bool>()) {
      const at::Tensor src = file.tensor(name + ".src_idx");
      const at::Tensor dst = file.tensor(name + ".dst_idx");
      for (int64_t b = 0; b < batch; ++b) {
        std::set<std::pair<int64_t, int64_t>> expected;
        for (int64_t k = 0; k < src.size(1); ++k) {
          expected.insert({2 * src[b][k].item<int64_t>(), 2 * dst[b][k].item<int64_t>() + 1});
        }
        EXPECT_EQ(pairs_of(m, b), expected);
      }
    }
    const at::Tensor size_in = file.has(name + ".size_in")
                                   ? file.tensor(name + ".size_in").squeeze(-1).to(at::kFloat)
                                   : at::Tensor();
    const MergedTokens merged = merge_tokens(x, size_in, m);
    // Compared token by token through an input token that went there, since without a class token
    // the reference orders its output by score.
    const at::Tensor x_out = file.tensor(name + ".x_out");
    const at::Tensor size_out = file.tensor(name + ".size_out").squeeze(-1);
    const bool same_order = c.about["class_token"].get<bool>();
    if (same_order) {
      EXPECT_TRUE(at::allclose(merged.x, x_out, 1e-5, 1e-6));
      EXPECT_TRUE(at::equal(merged.size, size_out.to(at::kFloat)));
    } else {
      const auto sorted_rows = [](const at::Tensor& rows) {
        return rows.gather(1, rows.narrow(2, 0, 1).argsort(int64_t{1}).expand_as(rows));
      };
      EXPECT_TRUE(at::allclose(sorted_rows(merged.x), sorted_rows(x_out), 1e-5, 1e-6));
    }
    if (same_order && file.has(name + ".source_out")) {
      at::Tensor before;
      if (file.has(name + ".source_in")) {
        before = file.tensor(name + ".source_in").argmax(1);  // [B, N0]: where each token is
      }
      const at::Tensor source = merge_source(before, m, batch);
      EXPECT_TRUE(at::equal(source, file.tensor(name + ".source_out").argmax(1)));
    }
    if (!c.about["noop"].get<bool>()) {
      EXPECT_TRUE(at::allclose(merge_tokens(x, {}, m, Combine::kMax).x.sum(1),
                               file.tensor(name + ".merge_amax").sum(1), 1e-4, 1e-5));
      EXPECT_TRUE(at::allclose(merge_tokens(x, {}, m, Combine::kMean).x.sum(1),
                               file.tensor(name + ".merge_mean").sum(1), 1e-4, 1e-5));
      // With a distillation token the reference's unmerge takes its own output in another order
      // than its merge wrote it; what it gives there is not an unmerge.
      if (!c.about["distill_token"].get<bool>()) {
        const at::Tensor restored =
            unmerge(merge_tokens(x, {}, m, Combine::kMean).x, merge_source({}, m, batch));
        EXPECT_TRUE(
            at::allclose(restored, file.tensor(name + ".unmerge_of_merge_mean"), 1e-5, 1e-6));
      }
    }
    ++compared;
  }
  EXPECT_GT(compared, 35);
}

TEST(Matching, FollowsTheDefinition) {
  at::manual_seed(1);
  for (const int64_t n : {2, 3, 5, 8, 17, 64, 99}) {
    for (const int64_t protected_count : {0, 1, 2, 5}) {
      if (protected_count >= n) continue;
      for (const int64_t r : {1, 3, 1000}) {
        const at::Tensor metric = at::randn({2, n, 8});
        MatchOptions options;
        options.r = r;
        options.protected_tokens.resize(static_cast<size_t>(protected_count));
        std::iota(options.protected_tokens.begin(), options.protected_tokens.end(), 0);
        const Matching m = bipartite_soft_matching(metric, options);
        EXPECT_EQ(m.r(), capped_r(r, n, protected_count));
        expect_sound(m, options);
        for (int64_t b = 0; b < 2; ++b) {
          EXPECT_EQ(pairs_of(m, b), pairs_by_definition(metric[b], m.r(), protected_count))
              << "n " << n << " protected " << protected_count << " r " << r;
        }
      }
    }
  }
}

TEST(Matching, OtherSimilaritiesAreTheirDefinitions) {
  at::manual_seed(8);
  const at::Tensor metric = at::randn({2, 33, 8});
  std::set<std::set<std::pair<int64_t, int64_t>>> different;
  for (const auto similarity : {Similarity::kCosine, Similarity::kDot, Similarity::kEuclidean}) {
    MatchOptions options;
    options.r = 7;
    options.protected_tokens = {0};
    options.similarity = similarity;
    const Matching m = bipartite_soft_matching(metric, options);
    for (int64_t b = 0; b < 2; ++b) {
      EXPECT_EQ(pairs_of(m, b), pairs_by_definition(metric[b], 7, 1, similarity));
    }
    different.insert(pairs_of(m, 0));
  }
  EXPECT_EQ(different.size(), 3U) << "no two of them choose alike here";
}

TEST(Matching, EqualScoresGoToTheLowerIndex) {
  // All tokens alike: every A token's best is the first B token, and the first A tokens merge.
  MatchOptions options;
  options.r = 3;
  const Matching m = bipartite_soft_matching(at::ones({1, 12, 4}), options);
  EXPECT_EQ(row(m.source, 0), (std::vector<int64_t>{0, 2, 4}));
  EXPECT_EQ(row(m.destination, 0), (std::vector<int64_t>{1, 1, 1}));
  options.protected_tokens = {0, 1};
  const Matching p = bipartite_soft_matching(at::ones({1, 12, 4}), options);
  EXPECT_EQ(row(p.source, 0), (std::vector<int64_t>{2, 4, 6}));
  EXPECT_EQ(row(p.destination, 0), (std::vector<int64_t>{3, 3, 3}));
}

TEST(Matching, ZeroKeysHaveCosineZeroAndNeverComeFirst) {
  at::manual_seed(2);
  at::Tensor metric = at::rand({1, 16, 8}) + 0.1;  // all cosines positive
  metric[0][4].zero_();                            // in A
  metric[0][7].zero_();                            // in B
  MatchOptions options;
  options.r = 7;
  const Matching m = bipartite_soft_matching(metric, options);
  const auto source = row(m.source, 0);
  const auto destination = row(m.destination, 0);
  EXPECT_EQ(std::count(source.begin(), source.end(), 4), 0) << "least alike of all";
  EXPECT_EQ(std::count(destination.begin(), destination.end(), 7), 0);
  options.r = 8;  // all of A, the zero key too: its scores are all 0, so the first of B
  const Matching all = bipartite_soft_matching(metric, options);
  EXPECT_EQ(row(all.source, 0).back(), 4);
  EXPECT_EQ(row(all.destination, 0).back(), 1);
}

TEST(Matching, NanAndInfinityNeverCrashAndComeLast) {
  at::manual_seed(3);
  at::Tensor metric = at::randn({1, 16, 8});
  metric[0][2].fill_(std::nan(""));
  metric[0][5][0] = INFINITY;
  MatchOptions options;
  options.r = 8;
  const Matching m = bipartite_soft_matching(metric, options);
  expect_sound(m, options);
  EXPECT_EQ(row(m.source, 0).back(), 2);
}

TEST(Matching, HalfTypesAreScoredInFloat) {
  at::manual_seed(4);
  for (const auto type : {at::kBFloat16, at::kHalf}) {
    const at::Tensor metric = at::randn({2, 65, 32}).to(type);
    MatchOptions options;
    options.r = 16;
    options.protected_tokens = {0};
    const Matching half = bipartite_soft_matching(metric, options);
    const Matching single = bipartite_soft_matching(metric.to(at::kFloat), options);
    EXPECT_TRUE(at::equal(half.target, single.target));
  }
}

TEST(Matching, SameEveryTimeWhateverTheThreads) {
  at::manual_seed(5);
  const at::Tensor metric = at::randn({4, 197, 64});
  MatchOptions options;
  options.r = 16;
  options.protected_tokens = {0};
  const Matching first = bipartite_soft_matching(metric, options);
  const int before = at::get_num_threads();
  for (const int threads : {1, 2, 3, 8}) {
    at::set_num_threads(threads);
    EXPECT_TRUE(at::equal(first.target, bipartite_soft_matching(metric, options).target));
  }
  at::set_num_threads(before);
}

/// Places of a full t x y x x grid behind `prefix` tokens.
at::Tensor grid(int64_t prefix, int64_t t, int64_t y, int64_t x) {
  at::Tensor out = at::zeros({1, prefix + t * y * x, 3}, at::kInt);
  int64_t token = prefix;
  for (int64_t i = 0; i < t; ++i) {
    for (int64_t j = 0; j < y; ++j) {
      for (int64_t k = 0; k < x; ++k, ++token) {
        out[0][token][0] = i;
        out[0][token][1] = j;
        out[0][token][2] = k;
      }
    }
  }
  return out;
}

TEST(Partition, OnesThatKnowTheGridLetNeighbouringFramesMeet) {
  // Four frames of 2 x 4 cells; each cell looks the same in every frame and like nothing else. With
  // an even number of columns the alternating split puts a cell's copies into one half, so no copy
  // can meet another; both splits that know the grid merge copies only.
  const int64_t cells = 8;
  const at::Tensor metric = at::eye(cells).repeat({4, 1}).unsqueeze(0);
  MatchOptions options;
  options.r = 16;
  options.places.tyx = grid(0, 4, 2, 4);
  const auto same_cell = [&](Partition partition) {
    options.partition = partition;
    const Matching m = bipartite_soft_matching(metric, options);
    expect_sound(m, options);
    const auto source = row(m.source, 0);
    const auto destination = row(m.destination, 0);
    int64_t same = 0;
    for (size_t k = 0; k < source.size(); ++k) {
      same += source[k] % cells == destination[k] % cells ? 1 : 0;
    }
    return same;
  };
  EXPECT_EQ(same_cell(Partition::kAlternating), 0);
  EXPECT_EQ(same_cell(Partition::kByFrame), 16);
  EXPECT_EQ(same_cell(Partition::kCheckerboard), 16);
}

TEST(Partition, EveryKindIsSound) {
  at::manual_seed(6);
  const at::Tensor metric = at::randn({2, 1 + 27, 8});
  for (const auto partition : {Partition::kSequential, Partition::kRandom, Partition::kByFrame,
                               Partition::kCheckerboard}) {
    MatchOptions options;
    options.protected_tokens = {0};
    options.partition = partition;
    options.seed = 7;
    options.places.tyx = grid(1, 3, 3, 3).repeat({2, 1, 1});
    for (const int64_t r : {1, 5, 13, 100}) {
      options.r = r;
      const Matching m = bipartite_soft_matching(metric, options);
      EXPECT_EQ(m.r(), std::min<int64_t>(r, 13));
      expect_sound(m, options);
    }
  }
}

TEST(Partition, NeedsPlaces) {
  MatchOptions options;
  options.r = 1;
  options.partition = Partition::kByFrame;
  EXPECT_THROW(bipartite_soft_matching(at::randn({1, 8, 4}), options), Error);
}

TEST(Partition, RandomDependsOnTheSeedAlone) {
  at::manual_seed(8);
  const at::Tensor metric = at::randn({1, 64, 8});
  MatchOptions options;
  options.r = 10;
  options.partition = Partition::kRandom;
  options.seed = 1;
  const at::Tensor first = bipartite_soft_matching(metric, options).target;
  EXPECT_TRUE(at::equal(first, bipartite_soft_matching(metric, options).target));
  options.seed = 2;
  EXPECT_FALSE(at::equal(first, bipartite_soft_matching(metric, options).target));
}

}  // namespace
}  // namespace tome
