// Step 1 of bipartite soft matching: which tokens are in A and which in B.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "merging/clip_grid.h"
#include "merging/match_params.h"
#include "merging/matching.h"

namespace tome {

/// The two halves of each sample's tokens, ascending by place. A has as many rows for every sample
/// of the batch, so shapes stay static.
struct Halves {
  at::Tensor a;  ///< int64 [B or 1, Na]
  at::Tensor b;  ///< int64 [B or 1, Nb]; one row if all samples share the split
};

/// The places of the tokens that may merge, ascending.
/// @throws Error kSettings if `protected_tokens` are not ascending places
std::vector<int64_t> unprotected_tokens(int64_t tokens,
                                        const std::vector<int64_t>& protected_tokens);

/// Puts the places in an order that `seed` draws: Fisher-Yates with a generator whose output the
/// standard fixes, so that a seed means the same everywhere.
void shuffle(std::vector<int64_t>& places, uint64_t seed);

/// Splits `tokens` tokens but the protected ones.
///
/// kAlternating is by absolute place, so with one class token A is 2, 4, ... and B is 1, 3, ...
/// For kByFrame and kCheckerboard the tokens are ordered by the parity of t (of t + y + x), then by
/// place, and cut in the middle: an exact split by parity on a full grid, and still two halves once
/// merging has left more tokens of one parity than of the other.
/// @throws Error kSettings if the partition needs places and has none
Halves split_tokens(int64_t batch, int64_t tokens, const MatchOptions& options);

/// The same halves behind `prefix` protected tokens, as far as they are arithmetic: all of them for
/// kAlternating and kSequential; for the partitions that know the grid their sizes, to which the
/// caller adds the lists (partition_cuda.h).
/// @throws Error kSettings for kRandom
cuda::HalvesView halves_view(Partition partition, int64_t prefix, int64_t tokens);

/// @param partition  one that knows the grid
constexpr GridParity grid_parity(Partition partition) {
  return partition == Partition::kByFrame ? GridParity::kFrame : GridParity::kCheckerboard;
}

}  // namespace tome
