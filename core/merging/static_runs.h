// Patches of a clip that do not change, merged before the first block.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "merging/matching.h"

namespace tome {

/// Token counts after merging static patches come in steps of this, so that a clip's content does
/// not give every forward shapes of its own.
inline constexpr int64_t kStaticBucket = 16;

/// Run-length tokenization (Choudhury et al., NeurIPS 2024, arXiv 2411.05222, is the idea): a
/// tubelet that looks like the one its run began with, at the same place, merges into it.
///
/// Each tubelet is compared with the first of its run, not with its neighbour, so that slow change
/// does not pile up; the difference is the mean over its pixels of |a - b|, which must be at most
/// `threshold`. All samples of a batch merge the same number of tokens, the most alike first: the
/// least that any of them can, rounded down to kStaticBucket. Where nothing repeats nothing merges.
///
/// @param tubelets   float32 [B, T, n, k]: T tubelets of n places
/// @param threshold  in units of `tubelets`; 0 merges exact repeats only
/// @param prefix     tokens before the first patch token; they stay
Matching match_static_runs(const at::Tensor& tubelets, double threshold, int64_t prefix);

/// How many tokens each sample alone could merge, in steps of kStaticBucket: samples of equal
/// counts make a batch in which none keeps a token for another's sake. Arguments as above.
std::vector<int64_t> count_static_runs(const at::Tensor& tubelets, double threshold);

}  // namespace tome
