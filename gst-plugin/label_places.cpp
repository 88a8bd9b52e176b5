#include "label_places.h"

#include <algorithm>
#include <cstdint>
#include <limits>

namespace tome::gst {
namespace {

int64_t common_pixels(const Area& a, const Area& b) {
  const auto shared = [](int64_t a, int64_t a_length, int64_t b, int64_t b_length) {
    return std::max<int64_t>(std::min(a + a_length, b + b_length) - std::max(a, b), 0);
  };
  return shared(a.x, a.width, b.x, b.width) * shared(a.y, a.height, b.y, b.height);
}

}  // namespace

Area LabelPlaces::beside(const Area& box, int width, int height) {
  // 64 bits: x + width of a hostile meta wraps around in 32.
  const int64_t right = int64_t{box.x} + box.width, bottom = int64_t{box.y} + box.height;
  const int64_t below = bottom, inside = bottom - height, above = int64_t{box.y} - height;
  // Where a box without a height leaves none of these places.
  Area best{std::clamp(box.x, 0, width_ - width), std::clamp(box.y, 0, height_ - height), width,
            height};
  int64_t least = std::numeric_limits<int64_t>::max();
  for (const int64_t y : {above, int64_t{box.y}, below, inside}) {
    if ((y == above && y < 0) || (y == below && y + height > height_)) continue;  // no room
    for (const int64_t x : {int64_t{box.x}, right - width}) {
      const Area place{static_cast<int>(std::clamp<int64_t>(x, 0, width_ - width)),
                       static_cast<int>(std::clamp<int64_t>(y, 0, height_ - height)), width,
                       height};
      int64_t covered = 0;
      for (const Area& other : taken_) covered += common_pixels(place, other);
      if (covered < least) {
        best = place;
        least = covered;
      }
    }
  }
  take(best);
  return best;
}

}  // namespace tome::gst
