// Position tables: composed, computed, and brought to another size.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>

namespace tome {

/// [frames, rows, columns] of tokens.
using TokenGrid = std::array<int64_t, 3>;

/// The fixed table of "Attention is all you need" as VideoMAE computes it, in double precision:
/// angle(pos, j) = pos / 10000^(2 (j / 2) / dim); sine at even j, cosine at odd ones.
/// float32 [count, dim].
at::Tensor sinusoid_positions(int64_t count, int64_t dim);

/// mae_st: spatial [1, rows * columns, dim] plus temporal [1, frames, dim] at every (t, y, x).
/// float32 [frames * rows * columns, dim].
at::Tensor separable_positions(const at::Tensor& spatial, const at::Tensor& temporal);

/// `table` [prefix + tokens of `from`, dim] for a grid of another size. Rows of prefix tokens stay.
/// In space as timm's resample_abs_pos_embed (bicubic, antialiased, float32), in time linearly,
/// both with half-pixel centres. The same grid gives the same table.
/// @param antialias  false: in space as transformers' dinov2, which has a bicubic kernel of its own
///   (a = -0.75) that does not widen where the grid becomes smaller
at::Tensor resample_positions(const at::Tensor& table, int64_t prefix, const TokenGrid& from,
                              const TokenGrid& to, bool antialias = true);

}  // namespace tome
