// Bipartite soft matching on a CUDA device: enqueues the kernels of match_kernel.h.
// Source: Bolya et al., "Token Merging: Your ViT But Faster", ICLR 2023 (arXiv 2210.09461), sec. 3.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/types.h"
#include "merging/match_params.h"

namespace tome::cuda {

/// One matching. All pointers are device memory; results are those of bipartite_soft_matching
/// (matching.h), ties included.
struct MatchRequest {
  const void* metric = nullptr;  ///< [batch, tokens, channels], channels contiguous
  ElementType type = ElementType::kBfloat16;
  int64_t sample_stride = 0, token_stride = 0;  ///< elements; multiples of 8 load fastest
  int batch = 0, tokens = 0, channels = 0;
  int r = 0;  ///< 1 .. n_a, already capped (capped_r of schedule.h)
  KeySimilarity similarity = KeySimilarity::kCosine;
  HalvesView halves;
  MatchOutputs out;
  void* workspace = nullptr;  ///< match_workspace_bytes, 256-byte aligned
};

/// Scratch memory for a matching. It must be zeroed once, when it is allocated; after that it may
/// be used again and again, by matchings of the same batch, n_a and r that do not overlap in time.
size_t match_workspace_bytes(int batch, int n_a, int r);

/// Enqueues the matching on `stream`: one launch for up to 2048 A tokens, four beyond. Allocates
/// nothing and waits for nothing, so it can be captured in a CUDA graph.
/// @throws Error kSettings for sizes that make no sense, kDevice if a launch fails
void match_tokens(const MatchRequest& request, Stream stream);

}  // namespace tome::cuda
