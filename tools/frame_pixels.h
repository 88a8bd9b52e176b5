// Frames as the RGB pictures that OpenCV works on.
#pragma once

#include <opencv2/core.hpp>

#include "media/frame.h"

namespace tome::cli {

/// The size of the picture as it is shown, of square pixels, with the shorter side reduced to
/// `short_side` pixels; it grows none. A pixel aspect beyond 4:1 counts as square.
cv::Size reduced_size(const Frame& frame, int short_side);

/// RGB of 8 bits, by the frame's own matrix and range; by area where it shrinks, linearly where it
/// grows. For what media_reader.h gives: BGR, GRAY8, I420, NV12 and P010 in host memory.
/// @throws Error kFormat for other layouts
cv::Mat rgb_pixels(const Frame& frame, cv::Size size);

}  // namespace tome::cli
