// What can be asked of a forward.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "merging/matching.h"
#include "merging/merge.h"
#include "vit/config.h"

namespace tome {

/// What tokens are compared by.
enum class Metric {
  kKeys,          ///< mean of the heads' keys, as in the paper
  kKeysConcat,    ///< the keys of all heads, one behind the other
  kQueries,       ///< mean of the heads' queries
  kValues,        ///< mean of the heads' values
  kTokensBefore,  ///< the tokens that enter the block
  kTokensAfter,   ///< the tokens behind its attention
};

enum class PropAttn { kAuto, kOn, kOff };

/// Ways to reduce tokens; the others exist to be compared with.
enum class MergeMethod {
  kBipartite,       ///< bipartite_soft_matching, as in the paper
  kRandomPrune,     ///< drops tokens at random
  kAttentionPrune,  ///< drops those that the first token attends to least
  kKMeans,          ///< clusters by k-means, as many as tokens remain
  kGreedy,          ///< merges the most similar pair of all, r times over
};

struct ForwardOptions {
  std::vector<int64_t> r;  ///< asked of each block; empty: no merging
  PropAttn prop_attn = PropAttn::kAuto;
  Metric metric = Metric::kKeys;
  Similarity similarity = Similarity::kCosine;
  std::optional<Partition> partition;  ///< unset: default_partition()
  MergeMethod method = MergeMethod::kBipartite;
  Combine combine = Combine::kWeightedMean;
  bool track_source = false;
  bool trace = false;    ///< keep every block's output, metric and sizes (tests, pictures)
  double drop_path = 0;  ///< stochastic depth rate of the last block, training only
  /// Merge tubelets that do not change from the first of their run, by more than so much in units
  /// of normalised input (match_static_runs); < 0: off. `r` then holds for clips in which nothing
  /// repeats, and shrinks with what is left.
  double static_threshold = -1;
  uint64_t seed = 0;   ///< of all that is random: a partition, pruning, and what drop_path drops
  bool plain = false;  ///< LibTorch's operators even where there are kernels of ours
};

/// How tokens are split where nobody says: kAlternating for single frames, as in the paper, and for
/// clips kCheckerboard, which lets one place of two neighbouring frames meet. docs/clips.md has the
/// measurements.
/// @param frames  of one input, whether the model is one for clips or for images
Partition default_partition(int64_t frames);

/// Whether token sizes weigh keys (proportional attention): `auto` goes by the model's family.
bool is_proportional(PropAttn wish, const ViTConfig& config);

/// Note [r after static patches]
/// r is asked for all tokens of a clip. A still scene that has come down to an eighth of them
/// before block 0 would be left with next to nothing by as many merges again; so r shrinks in
/// proportion, and stays what it is where nothing repeats.
/// @param left  the patch tokens before block 0, of `all`
/// @return asked of the block, not yet capped
int64_t asked_of_block(const ForwardOptions& options, size_t block, int64_t left, int64_t all);

}  // namespace tome
