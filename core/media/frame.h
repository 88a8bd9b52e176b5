// A picture as it arrives: planes, strides, colorimetry, kind of memory, and who keeps it alive.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace tome {

/// Pixel layouts, with GStreamer's names and byte orders. P010 is little-endian P010_10LE.
enum class PixelFormat {
  kRgb,
  kBgr,
  kRgbx,
  kBgrx,
  kRgba,
  kBgra,
  kGray8,
  kNv12,
  kI420,
  kYuy2,
  kUyvy,
  kP010
};

enum class ColorMatrix { kBt601, kBt709, kBt2020 };

/// kLimited: luma 16..235, chroma 16..240 (at 8 bits); kFull: 0..255. Unspecified is what is usual:
/// limited for YUV, full for grey.
enum class ColorRange { kUnspecified, kLimited, kFull };

enum class MemoryKind { kHost, kCuda };

/// One plane: `data` points at its first row; row y starts at data + y * stride (bytes). Nothing at
/// or beyond data + size is read.
struct Plane {
  const uint8_t* data = nullptr;
  int64_t stride = 0;
  size_t size = 0;
};

/// A rectangle in stored pixels of the frame; width 0 stands for the full frame.
struct Region {
  int32_t x = 0, y = 0, width = 0, height = 0;
};

/// How wide a pixel is to be shown against its height: n / d. Broadcast and camera pictures often
/// have other pixels than square ones: 16/11 shows 704x576 as 1024x576. What no picture can have (a
/// number that is not positive, 0/0 of a frame that says nothing among them, or one more than a
/// hundred times the other) stands for square, as a damaged header is no reason to fail.
struct PixelAspect {
  int32_t n = 1, d = 1;
};

/// A frame of any supported layout. Chroma of a 4:2:0 layout with odd sizes covers (w+1)/2 x
/// (h+1)/2 samples. `keep_alive` is dropped as soon as the pixels have been read.
struct Frame {
  PixelFormat format = PixelFormat::kRgb;
  int32_t width = 0, height = 0;
  PixelAspect pixel_aspect{};
  std::array<Plane, 3> planes{};
  ColorMatrix matrix = ColorMatrix::kBt709;
  ColorRange range = ColorRange::kUnspecified;  ///< ignored for RGB layouts, which are full
  MemoryKind memory = MemoryKind::kHost;
  int device = 0;                   ///< CUDA device index, for kCuda
  void* producer_stream = nullptr;  ///< CUstream that wrote the pixels, for kCuda; may be null
  Region region{};                  ///< the part to look at; width 0: all of it
  std::shared_ptr<const void> keep_alive;
};

}  // namespace tome
