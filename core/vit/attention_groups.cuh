// Attention by warpgroups, compiled apart: its code is for compute capability 9.0 alone.
#pragma once

#include "vit/attention_cuda.h"

namespace tome::cuda {

/// As attend; heads of 64 channels, on a device of compute capability 9.0.
void attend_by_groups(const AttentionRequest& request, Stream stream, LaunchOrder order);

}  // namespace tome::cuda
