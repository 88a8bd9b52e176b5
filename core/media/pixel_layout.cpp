#include "media/pixel_layout.h"

#include <string>

#include "tome_error.h"

namespace tome {
namespace {

constexpr PixelLayout kLayouts[] = {
    {"RGB", LayoutKind::kPacked, 3, {0, 1, 2}},
    {"BGR", LayoutKind::kPacked, 3, {2, 1, 0}},
    {"RGBx", LayoutKind::kPacked, 4, {0, 1, 2}},
    {"BGRx", LayoutKind::kPacked, 4, {2, 1, 0}},
    {"RGBA", LayoutKind::kPacked, 4, {0, 1, 2}},
    {"BGRA", LayoutKind::kPacked, 4, {2, 1, 0}},
    {"GRAY8", LayoutKind::kPacked, 1, {0, 0, 0}},
    {"NV12", LayoutKind::kSemiPlanar, 1, {}},
    {"I420", LayoutKind::kPlanar, 1, {}},
    {"YUY2", LayoutKind::kMacropixel, 1, {0, 1, 3}},
    {"UYVY", LayoutKind::kMacropixel, 1, {1, 0, 2}},
    {"P010_10LE", LayoutKind::kSemiPlanar, 2, {}},
};

std::string size_text(int64_t width, int64_t height) {
  return std::to_string(width) + "x" + std::to_string(height);
}

[[noreturn]] void bad_plane(const Frame& frame, int index, const std::string& found,
                            const std::string& expected) {
  throw Error(ErrorKind::kFormat, std::string("frame ") + layout_of(frame.format).name + " " +
                                      size_text(frame.width, frame.height) + ": plane " +
                                      std::to_string(index) + " " + found + ", expected " +
                                      expected);
}

void check_plane(const Frame& frame, int index, int64_t row_bytes, int64_t rows) {
  const Plane& plane = frame.planes[index];
  if (rows > 1 && plane.stride < row_bytes) {
    bad_plane(frame, index, "has a stride of " + std::to_string(plane.stride) + " bytes",
              "at least " + std::to_string(row_bytes));
  }
  // Divided rather than multiplied: a stride from a damaged stream may be close to 2^63.
  const uint64_t size = plane.size;
  const auto bytes = static_cast<uint64_t>(row_bytes);
  const bool fits =
      size >= bytes && (rows == 1 || (size - bytes) / static_cast<uint64_t>(plane.stride) >=
                                         static_cast<uint64_t>(rows - 1));
  if (!fits) {
    bad_plane(frame, index, "has " + std::to_string(plane.size) + " bytes",
              "at least " + std::to_string(rows - 1) + " strides of " +
                  std::to_string(plane.stride) + " bytes and a row of " +
                  std::to_string(row_bytes));
  }
}

void check_planes(const Frame& frame) {
  const PixelLayout& layout = layout_of(frame.format);
  for (int i = 0; i < plane_count(layout.kind); ++i) {
    const int64_t rows = plane_samples(layout.kind, i, frame.width, frame.height).rows;
    check_plane(frame, i, plane_row_bytes(frame, i), rows);
  }
}

}  // namespace

const PixelLayout& layout_of(PixelFormat format) {
  const auto index = static_cast<size_t>(format);
  if (index >= std::size(kLayouts)) {
    throw Error(ErrorKind::kFormat, "pixel format " + std::to_string(index) +
                                        " is unknown, expected 0 to " +
                                        std::to_string(std::size(kLayouts) - 1));
  }
  return kLayouts[index];
}

int64_t plane_row_bytes(const Frame& frame, int plane) {
  const PixelLayout& layout = layout_of(frame.format);
  const bool pair = layout.kind == LayoutKind::kSemiPlanar && plane > 0;
  const int64_t sample =
      layout.kind == LayoutKind::kMacropixel ? 4 : int64_t{layout.bytes} * (pair ? 2 : 1);
  return plane_samples(layout.kind, plane, frame.width, frame.height).columns * sample;
}

int plane_count(LayoutKind kind) {
  if (kind == LayoutKind::kPlanar) return 3;
  return kind == LayoutKind::kSemiPlanar ? 2 : 1;
}

void check_not_empty(const Frame& frame) {
  if (frame.width <= 0 || frame.height <= 0) {
    throw Error(ErrorKind::kSettings, "frame is empty: " + size_text(frame.width, frame.height) +
                                          ", expected at least 1x1");
  }
  const int planes = plane_count(layout_of(frame.format).kind);
  for (int i = 0; i < planes; ++i) {
    if (frame.planes[i].data == nullptr) {
      bad_plane(frame, i, "is missing", "pixels in each of " + std::to_string(planes));
    }
  }
}

Region checked_region(const Frame& frame) {
  check_not_empty(frame);
  if (frame.memory != MemoryKind::kHost) {
    throw Error(ErrorKind::kDevice,
                "frame lies in CUDA memory, expected host memory: this build's pre-processing "
                "reads pixels on the CPU");
  }
  check_planes(frame);
  const Region& region = frame.region;
  if (region.width == 0) return {0, 0, frame.width, frame.height};
  // In 64 bits, so that no sum of a hostile region wraps around into the frame.
  const bool inside = region.x >= 0 && region.y >= 0 && region.width > 0 && region.height > 0 &&
                      int64_t{region.x} + region.width <= frame.width &&
                      int64_t{region.y} + region.height <= frame.height;
  if (!inside) {
    throw Error(ErrorKind::kSettings, "region " + size_text(region.width, region.height) + " at (" +
                                          std::to_string(region.x) + ", " +
                                          std::to_string(region.y) +
                                          ") is empty or not inside the frame of " +
                                          size_text(frame.width, frame.height));
  }
  return region;
}

}  // namespace tome
