// The two ends of the forward on a CUDA device: enqueues embed_kernel.h and pool_kernel.h.
#pragma once

#include <cstdint>

#include "cuda/types.h"
#include "merging/clip_grid.h"

namespace tome::cuda {

/// Embedded patches to tokens and their LayerNorm; see EmbedParams. All pointers are device memory.
struct EmbedRequest {
  ElementType type = ElementType::kBfloat16;  ///< of patches, x_out and norm_out
  const void* patches = nullptr;
  const float* first = nullptr;
  const float* position = nullptr;
  void* x_out = nullptr;
  float* size_out = nullptr;
  float prefix_size = 1;
  uint8_t* parity_out = nullptr;
  ClipGrid grid;
  const float* norm_weight = nullptr;
  const float* norm_bias = nullptr;
  void* norm_out = nullptr;
  float norm_eps = 1e-6F;
  int batch = 0, tokens = 0, prefix = 0, cells = 0, channels = 0;
};

/// Mean of tokens first .. first + count - 1; see PoolParams. All pointers are device memory.
struct PoolRequest {
  ElementType type = ElementType::kBfloat16;  ///< of x and out
  const void* x = nullptr;
  const float* size = nullptr;
  void* out = nullptr;
  int batch = 0, tokens = 0, channels = 0, out_stride = 0, first = 0, count = 1;
};

/// Each enqueues one launch. Allocates nothing and waits for nothing.
/// @throws Error kSettings for sizes that make no sense or more than 2048 channels, kDevice if the
///   launch fails
void embed_tokens(const EmbedRequest& request, Stream stream);
void pool_tokens(const PoolRequest& request, Stream stream);

}  // namespace tome::cuda
