#include "cuda/matching_oracle.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

namespace tome::testing {

double MatchProblem::cosine(int64_t first, int64_t second) const {
  double dot = 0, square_1 = 0, square_2 = 0;
  for (int c = 0; c < channels; ++c) {
    dot += key(first)[c] * key(second)[c];
    square_1 += key(first)[c] * key(first)[c];
    square_2 += key(second)[c] * key(second)[c];
  }
  return square_1 == 0 || square_2 == 0 ? 0 : dot / std::sqrt(square_1 * square_2);
}

namespace {

struct Edge {
  double best, second;  // score of the best B token and of the runner-up
  int64_t to;
};

std::map<int64_t, Edge> best_edges(const MatchProblem& problem) {
  std::map<int64_t, Edge> edges;
  constexpr double kNone = -std::numeric_limits<double>::infinity();
  for (const int64_t a : problem.a) {
    Edge edge{kNone, kNone, problem.b.front()};
    for (const int64_t b : problem.b) {
      const double score = problem.cosine(a, b);
      if (score > edge.best) {
        edge.second = edge.best;
        edge.best = score;
        edge.to = b;
      } else {
        edge.second = std::max(edge.second, score);
      }
    }
    edges[a] = edge;
  }
  return edges;
}

}  // namespace

void expect_right_places(const MatchProblem& problem, const std::vector<int64_t>& fixed,
                         const MatchAnswer& answer) {
  std::vector<int64_t> expected(answer.target.size(), -1);
  int64_t place = 0;
  for (const int64_t token : fixed) expected[token] = place++;
  for (const int64_t token : problem.a) {
    if (std::count(answer.source.begin(), answer.source.end(), token) == 0) {
      expected[token] = place++;
    }
  }
  for (const int64_t token : problem.b) expected[token] = place++;
  for (size_t k = 0; k < answer.source.size(); ++k) {
    expected[answer.source[k]] = expected[answer.destination[k]];
  }
  EXPECT_EQ(answer.target, expected);
}

void expect_right_matching(const MatchProblem& problem, const std::vector<int64_t>& fixed,
                           const MatchAnswer& answer, double tolerance) {
  const auto edges = best_edges(problem);
  std::vector<double> scores;
  for (const auto& [token, edge] : edges) scores.push_back(edge.best);
  std::sort(scores.rbegin(), scores.rend());
  const size_t r = answer.source.size();
  ASSERT_LE(r, scores.size());
  for (size_t k = 0; k < r; ++k) {
    const int64_t source = answer.source[k];
    ASSERT_EQ(edges.count(source), 1U) << "source " << source << " is not in A";
    const Edge& edge = edges.at(source);
    EXPECT_NEAR(edge.best, scores[k], tolerance) << "edge " << k << " is out of order";
    if (edge.best - edge.second > tolerance) {
      EXPECT_EQ(answer.destination[k], edge.to) << "destination of token " << source;
    } else {
      EXPECT_NEAR(problem.cosine(source, answer.destination[k]), edge.best, tolerance);
    }
  }
  auto sorted = answer.source;
  std::sort(sorted.begin(), sorted.end());
  EXPECT_EQ(std::adjacent_find(sorted.begin(), sorted.end()), sorted.end()) << "a source twice";
  expect_right_places(problem, fixed, answer);
}

}  // namespace tome::testing
