// All that can be computed before the pixels are there, kept for the next frame of the same shape.
#pragma once

#include <cstdint>
#include <memory>

#include "media/filter.h"
#include "media/geometry.h"
#include "media/pixel_layout.h"

namespace tome {

struct Plan {
  Placement placement;
  ExactTaps exact_x, exact_y;   ///< RGB and GRAY layouts
  bool vertical_first = false;  ///< the order of their two passes: Note [PIL's order of passes]
  WideTaps luma_x, luma_y;      ///< YUV layouts; samples counted from the region's first
  WideTaps chroma_x, chroma_y;  ///< chroma samples counted from the one of the region's first pixel
};

/// The plan for a region of a frame of this layout; from a bounded cache where it has been made
/// before. Thread-safe. Depends on the region's place only through its being odd or even, and on
/// the pixels' aspect only through the placement.
/// @throws Error kSettings for a spec that makes no sense
std::shared_ptr<const Plan> plan_for(LayoutKind kind, const Region& region, PixelAspect aspect,
                                     const PreprocessSpec& spec);

}  // namespace tome
