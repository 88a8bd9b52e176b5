// Attention by warpgroups, compiled apart: its code is for compute capability 9.0 alone.
#pragma once

#include "vit/attention_cuda.h"

namespace tome::cuda {

/// Whether its code runs on the current device, of compute capability 9.0. It has no PTX, so that
/// CUDA_FORCE_PTX_JIT=1 leaves nothing of it.
/// @throws Error kOutOfMemory where it may, but cannot be loaded now
bool can_attend_by_groups();

/// As attend; heads of 64 channels, where can_attend_by_groups.
void attend_by_groups(const AttentionRequest& request, Stream stream, LaunchOrder order);

}  // namespace tome::cuda
