// Pictures from a seed, frames of every format around them, and shorthands.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "fixtures.h"
#include "media/frame.h"
#include "media/preprocess.h"

namespace tome::testing {

/// The generator of tests/fixtures/make_media_fixtures.py.
class Noise {
 public:
  explicit Noise(uint32_t seed) : state_(seed) {}
  uint8_t operator()() {
    state_ = state_ * 1664525U + 1013904223U;
    return static_cast<uint8_t>(state_ >> 24);
  }

 private:
  uint32_t state_;
};

/// RGB, tightly packed; the same as `picture` in make_media_fixtures.py.
inline std::vector<uint8_t> picture(int width, int height, uint32_t seed) {
  Noise noise(seed);
  std::vector<uint8_t> rgb;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < 3; ++c) {
        const uint8_t value = noise();
        const bool block = (x / 7 + y / 5) % 3 == 0;
        rgb.push_back(!block ? value : value < 128 ? 0 : 255);
      }
    }
  }
  return rgb;
}

/// A frame that owns its planes.
struct OwnedFrame {
  std::vector<std::vector<uint8_t>> storage;
  Frame frame;
};

struct PlaneShape {
  int64_t row_bytes, rows;
};

/// What GStreamer's documentation says each plane of a format holds.
inline std::vector<PlaneShape> plane_shapes(PixelFormat format, int64_t width, int64_t height) {
  const int64_t cw = (width + 1) / 2, ch = (height + 1) / 2;
  switch (format) {
    case PixelFormat::kRgb:
    case PixelFormat::kBgr:
      return {{width * 3, height}};
    case PixelFormat::kRgbx:
    case PixelFormat::kBgrx:
    case PixelFormat::kRgba:
    case PixelFormat::kBgra:
      return {{width * 4, height}};
    case PixelFormat::kGray8:
      return {{width, height}};
    case PixelFormat::kNv12:
      return {{width, height}, {cw * 2, ch}};
    case PixelFormat::kI420:
      return {{width, height}, {cw, ch}, {cw, ch}};
    case PixelFormat::kYuy2:
    case PixelFormat::kUyvy:
      return {{cw * 4, height}};
    case PixelFormat::kP010:
      return {{width * 2, height}, {cw * 4, ch}};
  }
  return {};
}

inline constexpr PixelFormat kAllFormats[] = {
    PixelFormat::kRgb,  PixelFormat::kBgr,  PixelFormat::kRgbx,  PixelFormat::kBgrx,
    PixelFormat::kRgba, PixelFormat::kBgra, PixelFormat::kGray8, PixelFormat::kNv12,
    PixelFormat::kI420, PixelFormat::kYuy2, PixelFormat::kUyvy,  PixelFormat::kP010};

inline constexpr PixelFormat kYuvFormats[] = {PixelFormat::kNv12, PixelFormat::kI420,
                                              PixelFormat::kYuy2, PixelFormat::kUyvy,
                                              PixelFormat::kP010};

/// A frame of noise in any format, rows `padding` bytes apart from one another.
inline OwnedFrame noise_frame(PixelFormat format, int width, int height, uint32_t seed,
                              int64_t padding = 0) {
  OwnedFrame owned;
  Noise noise(seed);
  owned.frame.format = format;
  owned.frame.width = width;
  owned.frame.height = height;
  for (const PlaneShape& shape : plane_shapes(format, width, height)) {
    const int64_t stride = shape.row_bytes + padding;
    owned.storage.emplace_back(stride * (shape.rows - 1) + shape.row_bytes);
    std::generate(owned.storage.back().begin(), owned.storage.back().end(), noise);
    const size_t index = owned.storage.size() - 1;
    owned.frame.planes[index] = {owned.storage.back().data(), stride, owned.storage.back().size()};
  }
  return owned;
}

/// Values 0..255 come out as 0..255.
inline PreprocessSpec plain_spec(int width, int height, CropMode crop,
                                 Interpolation interpolation) {
  PreprocessSpec spec;
  spec.width = width;
  spec.height = height;
  spec.crop_mode = crop;
  spec.interpolation = interpolation;
  spec.mean = {0, 0, 0};
  spec.std = {1, 1, 1};
  spec.rescale = 1.0F;
  return spec;
}

inline std::vector<float> planes_of(const Frame& frame, const PreprocessSpec& spec) {
  std::vector<float> planes(size_t(3) * spec.width * spec.height, -1e9F);
  preprocess_to_planes(frame, spec, planes.data());
  return planes;
}

inline std::string name_of(PixelFormat format) {
  static const char* const names[] = {"RGB",   "BGR",  "RGBx", "BGRx", "RGBA", "BGRA",
                                      "GRAY8", "NV12", "I420", "YUY2", "UYVY", "P010"};
  return names[static_cast<int>(format)];
}

}  // namespace tome::testing
