// The merge on a CUDA device: enqueues the kernels of merge_kernel.h.
#pragma once

#include <cstdint>

#include "cuda/types.h"
#include "merging/merge_params.h"

namespace tome::cuda {

/// One pass between attention and MLP: x_out = merge(x), then its LayerNorm. All pointers are
/// device memory; null where there is no such thing. See MergeParams for shapes, Note [The merge
/// rides on a pass that exists anyway] for why.
struct MergeRequest {
  ElementType type = ElementType::kBfloat16;  ///< of x, x_out and norm_out
  const void* x = nullptr;
  const float* size = nullptr;
  const int32_t* member_begin = nullptr;  ///< of MatchOutputs; null: nothing merges
  const int32_t* members = nullptr;
  void* x_out = nullptr;  ///< not x, unless nothing merges
  float* size_out = nullptr;
  const uint8_t* parity = nullptr;  ///< given together with parity_out
  uint8_t* parity_out = nullptr;
  const float* norm_weight = nullptr;
  const float* norm_bias = nullptr;
  void* norm_out = nullptr;
  float norm_eps = 1e-6F;
  int batch = 0, tokens_in = 0, tokens_out = 0, channels = 0;
  MergeCombine combine = MergeCombine::kWeightedMean;
  bool split_follows = false;  ///< what is enqueued next is a split, with kBesideLast
};

/// Enqueues one launch. Allocates nothing and waits for nothing.
/// @throws Error kSettings for sizes and types that make no sense, more than 2048 channels or more
///   than 65535 samples that merge, kDevice if the launch fails
void merge_tokens(const MergeRequest& request, Stream stream);

/// Enqueues merge_source (merge.h), for callers that want sources.
/// @throws Error as merge_tokens
void merge_sources(const SourceParams& params, Stream stream);

}  // namespace tome::cuda
