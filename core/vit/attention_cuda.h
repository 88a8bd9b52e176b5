// Proportional attention on a CUDA device: enqueues the kernel of attention_kernel.h.
#pragma once

#include <cstdint>

#include "cuda/types.h"

namespace tome::cuda {

/// softmax(Q K^T scale + log key_weight) V. All pointers are device memory; q, k and v are 16-byte
/// aligned and their strides (elements) multiples of 8, as in the rows of a QKV product.
struct AttentionRequest {
  const void* q = nullptr;  ///< [batch, tokens, heads, dim]
  const void* k = nullptr;
  const void* v = nullptr;
  int64_t sample_stride = 0, token_stride = 0, head_stride = 0;
  ElementType type = ElementType::kBfloat16;  ///< or kFloat16
  const float* key_weight = nullptr;          ///< [batch or 1, tokens], token sizes; null: ones
  int64_t weight_sample_stride = 0;           ///< 0: one row for all samples
  void* out = nullptr;                        ///< [batch, tokens, heads * dim]
  int batch = 0, tokens = 0, heads = 0;
  int dim = 64;
  float scale = 0.125F;
  bool tiles_only = false;  ///< not by warpgroups, where there are any: for tests and measurements
};

/// Whether this type and head dimension have a kernel (16-bit types; 32, 64, 80 and 128).
inline bool has_attention_kernel(ElementType type, int dim) {
  return type != ElementType::kFloat32 && (dim == 32 || dim == 64 || dim == 80 || dim == 128);
}

/// Enqueues one launch. Allocates nothing and waits for nothing.
/// @param order  kBesideLast only right after what attention needs nothing of
/// @throws Error kSettings for sizes, strides or types without a kernel, kDevice if the launch
/// fails
void attend(const AttentionRequest& request, Stream stream,
            LaunchOrder order = LaunchOrder::kInTurn);

}  // namespace tome::cuda
