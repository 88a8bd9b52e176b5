#include "checkpoint/positions.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

namespace tome {
namespace {

// Numbers, of what resizing holds besides its input and its result.
constexpr int64_t kMaxBetween = 1 << 22;

at::Tensor resize(const at::Tensor& planes, const std::array<int64_t, 2>& size, bool antialias) {
  return antialias ? at::_upsample_bicubic2d_aa(planes, size, /*align_corners=*/false)
                   : at::upsample_bicubic2d(planes, size, /*align_corners=*/false);
}

// [frames, dim, rows, columns] to `size`. The antialiased kernel goes along x first, and as many
// rows as of old with as many columns as of new may be far more than both tables: so some channels
// at a time, none of whose results stays, for between them no block of that size would be reused.
at::Tensor resize_planes(const at::Tensor& planes, const std::array<int64_t, 2>& size,
                         bool antialias) {
  const int64_t dim = planes.size(1);
  const int64_t of_channel = planes.size(0) * planes.size(2) * size[1];
  const int64_t count = std::max<int64_t>(1, kMaxBetween / of_channel);
  if (count >= dim) return resize(planes.contiguous(), size, antialias);
  at::Tensor out = at::empty({planes.size(0), dim, size[0], size[1]}, at::kFloat);
  for (int64_t begin = 0; begin < dim; begin += count) {
    const at::Tensor some = planes.slice(1, begin, begin + count).contiguous();
    out.slice(1, begin, begin + count).copy_(resize(some, size, antialias));
  }
  return out;
}

}  // namespace

at::Tensor sinusoid_positions(int64_t count, int64_t dim) {
  at::Tensor table = at::empty({count, dim}, at::kFloat);
  auto rows = table.accessor<float, 2>();
  for (int64_t j = 0; j < dim; ++j) {
    const double scale =
        std::pow(10000.0, static_cast<double>(2 * (j / 2)) / static_cast<double>(dim));
    for (int64_t pos = 0; pos < count; ++pos) {
      const double angle = static_cast<double>(pos) / scale;
      rows[pos][j] = static_cast<float>(j % 2 == 0 ? std::sin(angle) : std::cos(angle));
    }
  }
  return table;
}

at::Tensor separable_positions(const at::Tensor& spatial, const at::Tensor& temporal) {
  const int64_t dim = spatial.size(2);
  return (temporal.reshape({-1, 1, dim}) + spatial.reshape({1, -1, dim})).reshape({-1, dim});
}

at::Tensor resample_positions(const at::Tensor& table, int64_t prefix, const TokenGrid& from,
                              const TokenGrid& to, bool antialias) {
  if (from == to) return table;
  const int64_t dim = table.size(1);
  const int64_t frame_patches = to[1] * to[2];
  at::Tensor grid = table.slice(0, prefix).reshape({from[0], from[1], from[2], dim});
  if (from[1] != to[1] || from[2] != to[2]) {
    grid =
        resize_planes(grid.permute({0, 3, 1, 2}), {to[1], to[2]}, antialias).permute({0, 2, 3, 1});
  }
  if (from[0] != to[0]) {
    // One line in time for each patch of a frame and channel.
    grid = grid.reshape({1, from[0], frame_patches * dim}).transpose(1, 2).contiguous();
    grid = at::upsample_linear1d(grid, {to[0]}, /*align_corners=*/false).transpose(1, 2);
  }
  grid = grid.reshape({to[0] * frame_patches, dim});
  return prefix > 0 ? at::cat({table.slice(0, 0, prefix), grid}) : grid.contiguous();
}

}  // namespace tome
