// Bipartite soft matching by its definition, in double precision: what the kernels are held
// against.
#pragma once

#include <cstdint>
#include <vector>

namespace tome::testing {

/// Keys of one sample and who is in A and B.
struct MatchProblem {
  std::vector<double> keys;  // [tokens, channels]
  int channels = 0;
  std::vector<int64_t> a, b;

  const double* key(int64_t token) const { return keys.data() + token * channels; }
  double cosine(int64_t first, int64_t second) const;  // 0 where a norm is 0
};

/// One kernel's or the CPU's answer for one sample.
struct MatchAnswer {
  std::vector<int64_t> source, destination, target;
};

/// Fails the current test unless `target` puts protected tokens first, then A tokens that stay,
/// then B, by ascending place, and sources where their destination is. Keys are not looked at.
void expect_right_places(const MatchProblem& problem, const std::vector<int64_t>& fixed,
                         const MatchAnswer& answer);

/// Fails the current test unless `answer` is a right one: each source's destination is its most
/// similar B token (up to `tolerance` in score, and exactly it where the gap is larger), the
/// sources are the r most similar edges in falling order (same rule), and places are right.
void expect_right_matching(const MatchProblem& problem, const std::vector<int64_t>& fixed,
                           const MatchAnswer& answer, double tolerance);

}  // namespace tome::testing
