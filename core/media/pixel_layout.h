// What each pixel format looks like in memory, and whether a frame's planes really hold that much.
#pragma once

#include <array>
#include <cstdint>

#include "media/frame.h"

namespace tome {

/// Where the samples of a format lie.
enum class LayoutKind {
  kPacked,      ///< one plane of pixels, channels at fixed byte offsets (RGB family, GRAY8)
  kSemiPlanar,  ///< luma plane and a plane of interleaved chroma, 4:2:0 (NV12, P010)
  kPlanar,      ///< three planes, 4:2:0 (I420)
  kMacropixel,  ///< two pixels in four bytes, 4:2:2 (YUY2, UYVY)
};

struct PixelLayout {
  const char* name;  ///< GStreamer's
  LayoutKind kind;
  int bytes;                   ///< of one pixel (kPacked) or one sample (the others)
  std::array<int, 3> offsets;  ///< kPacked: bytes of R, G, B; kMacropixel: of Y, U, V
};

/// @throws Error kFormat for a value that is no PixelFormat
const PixelLayout& layout_of(PixelFormat format);

/// 1 to 3. Planes after the first hold the chroma of 4:2:0, half as many rows.
int plane_count(LayoutKind kind);

struct PlaneSize {
  int64_t columns = 0, rows = 0;
};

/// What a plane of a `width` x `height` frame holds: pixels (kPacked), macropixels (kMacropixel),
/// samples of luma or of one chroma channel, pairs of chroma samples (kSemiPlanar). Of 4:2:0 and
/// 4:2:2 an odd side has a sample of chroma for its last pixel.
constexpr PlaneSize plane_samples(LayoutKind kind, int plane, int64_t width, int64_t height) {
  const int64_t half_width = (width + 1) / 2;
  if (kind == LayoutKind::kMacropixel) return {half_width, height};
  return plane == 0 ? PlaneSize{width, height} : PlaneSize{half_width, (height + 1) / 2};
}

/// What a row of a plane of the frame takes, without what its stride adds.
/// @throws Error kFormat for an unknown format
int64_t plane_row_bytes(const Frame& frame, int plane);

/// Whether there is anything to look at; not how much, nor where.
/// @throws Error kSettings for an empty frame, kFormat for one of an unknown format or without the
///   planes of its format
void check_not_empty(const Frame& frame);

/// The part of the frame to look at, in pixels, never empty.
/// @throws Error kSettings for an empty frame or a region that is not inside it, kFormat for planes
///   that are missing or too small, kDevice for pixels outside host memory
Region checked_region(const Frame& frame);

}  // namespace tome
