// The part of a rectangle that lies in a frame. Standard library alone: the plugin cuts regions
// with it, too.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

namespace tome {

/// In stored pixels of a frame; x + width and y + height fit, too.
struct PixelRect {
  int64_t x = 0, y = 0, width = 0, height = 0;
};

/// Note [One rule for regions]
/// The core gives a result for each region of a frame that this leaves something of, and none for
/// the others; the plugin tells the results apart by their order, so it must know which those are.
/// 64 bits: a region near the end of the 32-bit range must not wrap around into the frame.
/// Nothing where the part is empty, as it is for sides that are not positive.
inline std::optional<PixelRect> clip_to_frame(const PixelRect& rect, int32_t frame_width,
                                              int32_t frame_height) {
  const int64_t left = std::max<int64_t>(rect.x, 0);
  const int64_t top = std::max<int64_t>(rect.y, 0);
  const int64_t right = std::min<int64_t>(rect.x + rect.width, frame_width);
  const int64_t bottom = std::min<int64_t>(rect.y + rect.height, frame_height);
  if (right <= left || bottom <= top) return std::nullopt;
  return PixelRect{left, top, right - left, bottom - top};
}

}  // namespace tome
