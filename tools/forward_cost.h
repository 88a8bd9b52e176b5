// What a forward costs, in multiply-accumulates.
#pragma once

#include <cstdint>
#include <vector>

#include "vit/config.h"
#include "vit/token_geometry.h"

namespace tome::cli {

/// 2 x multiply-accumulates of one forward: patch embedding, blocks and head, in units of 1e9.
/// Norms, activations, matching and merging are not counted, as usual.
/// @param r  merged in each block
/// @param frames  of one input, see token_geometry()
/// @param merged_before  static patches, merged before the first block
double forward_gflops(const ViTConfig& config, const std::vector<int64_t>& r, int64_t frames,
                      int64_t merged_before = 0);

}  // namespace tome::cli
