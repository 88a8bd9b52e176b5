// Steps 3 and 5 of bipartite soft matching for one sample: which edges are kept, and where every
// token goes.
#pragma once

#include <cstdint>
#include <span>

namespace tome {

/// `a` and `b` hold the places of either half's tokens, ascending. score[i] is the similarity of A
/// token i with its best partner, b[best[i]].
struct PlanView {
  const float* score = nullptr;
  const int32_t* best = nullptr;
  const int64_t *a = nullptr, *b = nullptr;
  int64_t na = 0, nb = 0, r = 0, tokens = 0;
  std::span<const int64_t> protected_tokens;
  int32_t* order = nullptr;                           ///< room for na
  int64_t* target = nullptr;                          ///< out [tokens], as Matching::target
  int64_t *source = nullptr, *destination = nullptr;  ///< out [r], or null
};

/// Keeps the r most similar edges, of equal ones the lower A token's. Allocates nothing.
void plan_merges(const PlanView& view);

}  // namespace tome
