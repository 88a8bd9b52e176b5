// The grid of a clip's patches, and the parity by which the partitions that know it tell places
// apart.
#pragma once

#include <cstdint>

#include "cuda/portable.h"

namespace tome {

enum class GridParity { kFrame, kCheckerboard };  ///< of t; of t + y + x

/// Patches in (t, y, x) order. A split needs no more of a token's place than its parity, so that is
/// what travels with the tokens.
struct ClipGrid {
  int rows = 1, cols = 1;
  GridParity kind = GridParity::kCheckerboard;

  /// 0 or 1. @param patch  number of a patch token before block 0, prefix tokens not counted
  TOME_DEVICE uint8_t parity(int patch) const {
    const int t = patch / (rows * cols);
    const int sum = kind == GridParity::kFrame ? t : t + patch / cols % rows + patch % cols;
    return static_cast<uint8_t>(sum & 1);
  }
};

}  // namespace tome
