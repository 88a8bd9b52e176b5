// Bipartite soft matching: which tokens merge into which.
// Source: Bolya et al., "Token Merging: Your ViT But Faster", ICLR 2023 (arXiv 2210.09461), sec. 3.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace tome {

/// How tokens are compared (step 2).
enum class Similarity { kCosine, kDot, kEuclidean };

/// How tokens are split into A (the ones that may be merged away) and B (those they merge into).
enum class Partition {
  kAlternating,   ///< even places against odd ones
  kSequential,    ///< first half against second half
  kRandom,        ///< seeded by MatchOptions::seed
  kByFrame,       ///< clips: even frames (tubelets) against odd ones
  kCheckerboard,  ///< clips: parity of t + y + x
};

/// Whether a partition goes by the tokens' places in the clip's grid.
constexpr bool knows_grid(Partition partition) {
  return partition == Partition::kByFrame || partition == Partition::kCheckerboard;
}

/// Place of each patch token in the clip's grid, for the partitions that know it: int32 [B, N, 3] =
/// (t, y, x); prefix tokens' rows are ignored.
struct TokenPlaces {
  at::Tensor tyx;
};

struct MatchOptions {
  int64_t r = 0;  ///< tokens to merge away; capped at half of those that may merge
  /// Tokens that never merge, ascending. With a class token {0}; with class and distillation {0,
  /// 1}.
  std::vector<int64_t> protected_tokens;
  Similarity similarity = Similarity::kCosine;
  Partition partition = Partition::kAlternating;
  TokenPlaces places;  ///< needed by kByFrame and kCheckerboard
  uint64_t seed = 0;   ///< for kRandom
};

/// A plan of merges for each sample of a batch. The same r for all, so shapes are static.
///
/// Order of the output: protected tokens, then unmerged A, then B, each by ascending place. (This
/// is the reference's order wherever there is a class token.)
struct Matching {
  int64_t tokens_in = 0, tokens_out = 0;
  at::Tensor target;       ///< int64 [B, tokens_in]: output place of each input token
  at::Tensor source;       ///< int64 [B, r]: input tokens merged away, most similar first
  at::Tensor destination;  ///< int64 [B, r]: input token each of them merges into
  int64_t r() const { return tokens_in - tokens_out; }
};

/// A plan to be filled in: on the CPU, its tensors not yet written.
/// @param tokens  of each sample; `r` of them go, 0 <= r <= tokens
Matching new_matching(int64_t batch, int64_t tokens, int64_t r);

/// The same plan with target [B, tokens_in], source and destination [B, r] on `device`.
Matching to_device(Matching matching, at::Device device);

/// Draws one edge from each A token to its most similar B token, keeps the r most similar edges.
///
/// Scores are computed in float32 whatever the metric's type. A key of zero norm has cosine 0 with
/// everything. Equal scores go to the lower index, both for the best B token and for the order of
/// the edges. Bitwise repeatable for one device and batch shape. Not differentiable (nor is the
/// choice of edges in the paper).
///
/// @param metric  [B, N, C], float32, bfloat16 or float16
/// @throws Error kSettings if the partition needs places and has none, or if `protected_tokens` are
///   not ascending places
Matching bipartite_soft_matching(const at::Tensor& metric, const MatchOptions& options);

}  // namespace tome
