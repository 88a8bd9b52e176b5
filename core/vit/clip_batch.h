// Forwards of a batch in which some clips stand still and others do not.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "vit/model.h"

namespace tome {

/// What a batch gave, request by request: one that stands still keeps fewer tokens.
struct ClipBatchOutput {
  at::Tensor logits;  ///< float32 [B, classes], CPU, contiguous
  int64_t tokens_in = 0;
  std::vector<int64_t> tokens_out;      ///< of each request
  std::vector<std::vector<int64_t>> r;  ///< of each request, merged in each block
};

/// Note [A still clip among moving ones]: clips that can merge equally many static patches run
/// together, so that none pays for another's motion and each gives what it gives alone (but for
/// random pruning, whose seed takes in the place in the batch). Without `static_threshold`, and of
/// single frames, that is the whole batch.
/// @param patches  as VisionTransformer::forward takes them, on the CPU
/// @throws as VisionTransformer::forward
ClipBatchOutput forward_clips(const VisionTransformer& model, const at::Tensor& patches,
                              const ForwardOptions& options);

}  // namespace tome
