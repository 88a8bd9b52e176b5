// Where a fused forward keeps what it works on: one piece of memory, laid out beforehand.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "merging/matching.h"
#include "vit/fused_weights.h"

namespace tome {

/// What decides the sequence: requests with equal shapes share a plan, and on a GPU its graph.
struct FusedShape {
  int64_t batch = 1;
  int64_t joint_frames = 1;  ///< T of an image model run on a clip, else 1
  std::vector<int64_t> r;    ///< asked of each block; short lists end in zeros
  bool proportional = false;
  Partition partition = Partition::kAlternating;  ///< any but kRandom

  auto operator<=>(const FusedShape&) const = default;
};

/// Places in that memory, in bytes from its start, 256-byte aligned. What is not taken stays zero.
struct FusedLayout {
  /// A row of keys' weights where sizes do not count: Note [Image models on clips].
  struct KeyWeights {
    float prefix = 1;  // 1: there is no row
    size_t at = 0;
  };

  size_t x[2] = {}, norm = 0, qkv = 0, attention = 0, hidden = 0, embedded = 0;
  size_t first_size = 0, size[2] = {}, parity[2] = {}, a = 0, b = 0, target = 0, from = 0, to = 0,
         member_begin = 0, members = 0, match = 0;
  size_t pooled = 0, pooled_norm = 0;
  std::vector<KeyWeights> key_weights;  ///< of each block
  size_t bytes = 0;                     ///< of all
};

/// @param tokens  before each block, and after the last
/// @param r       merged in each block
FusedLayout lay_out(const FusedWeights& weights, const FusedShape& shape,
                    std::span<const int64_t> tokens, std::span<const int64_t> r);

}  // namespace tome
