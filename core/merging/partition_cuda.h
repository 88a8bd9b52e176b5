// Clip partitions on a CUDA device: enqueues the kernel of partition_kernel.h.
#pragma once

#include "cuda/types.h"
#include "merging/partition_kernel.h"

namespace tome::cuda {

/// Enqueues the split; its lists are what HalvesView takes, with sample strides of their lengths.
/// All pointers are device memory.
/// @param order  kBesideLast only right after what the split needs nothing of
/// @throws Error kSettings for sizes that make no sense, kDevice if the launch fails
void split_by_parity(const PartitionParams& params, Stream stream,
                     LaunchOrder order = LaunchOrder::kInTurn);

}  // namespace tome::cuda
