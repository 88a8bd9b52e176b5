// YUV layouts against the definitions of BT.601, BT.709 and BT.2020, computed here in double.
#include <gtest/gtest.h>

#include <array>

#include "media_test_util.h"

namespace tome {
namespace {

using testing::kYuvFormats;
using testing::name_of;
using testing::noise_frame;

constexpr ColorMatrix kMatrices[] = {ColorMatrix::kBt601, ColorMatrix::kBt709,
                                     ColorMatrix::kBt2020};
constexpr ColorRange kRanges[] = {ColorRange::kLimited, ColorRange::kFull};

using Rgb = std::array<double, 3>;

struct Yuv {
  double y, u, v;  // as stored: 0..255, or 0..1023 for P010
};

// H.273: E'Y = (Y - offset) / excursion and so on, then R = E'Y + 2 (1 - KR) E'PR, with
// E'Y = KR R + KG G + KB B solved for G. In 0..255, before clamping.
Rgb defined_rgb(Yuv yuv, ColorMatrix matrix, ColorRange range, int bits) {
  const double kr = matrix == ColorMatrix::kBt601   ? 0.299
                    : matrix == ColorMatrix::kBt709 ? 0.2126
                                                    : 0.2627;
  const double kb = matrix == ColorMatrix::kBt601   ? 0.114
                    : matrix == ColorMatrix::kBt709 ? 0.0722
                                                    : 0.0593;
  const double unit = 1 << (bits - 8), full = (1 << bits) - 1;
  const bool limited = range == ColorRange::kLimited;
  const double luma = limited ? (yuv.y - 16 * unit) / (219 * unit) : yuv.y / full;
  const double chroma = limited ? 224 * unit : full;
  const double pb = (yuv.u - 128 * unit) / chroma, pr = (yuv.v - 128 * unit) / chroma;
  const double r = luma + 2 * (1 - kr) * pr, b = luma + 2 * (1 - kb) * pb;
  const double g = (luma - kr * r - kb * b) / (1 - kr - kb);
  return {255 * r, 255 * g, 255 * b};
}

Rgb clamped(Rgb rgb) {
  for (double& c : rgb) c = std::clamp(c, 0.0, 255.0);
  return rgb;
}

int bits_of(PixelFormat format) { return format == PixelFormat::kP010 ? 10 : 8; }

double sample16(const Plane& plane, int x, int y) {
  const uint8_t* at = plane.data + y * plane.stride + x * 2;
  return (at[0] + 256 * at[1]) / 64;  // the upper 10 bits
}

// The samples that belong to a pixel, by the layouts' definitions.
Yuv sample(const Frame& frame, int x, int y) {
  const auto& p = frame.planes;
  const auto at = [](const Plane& plane, int column, int row) -> double {
    return plane.data[row * plane.stride + column];
  };
  switch (frame.format) {
    case PixelFormat::kNv12:
      return {at(p[0], x, y), at(p[1], x / 2 * 2, y / 2), at(p[1], x / 2 * 2 + 1, y / 2)};
    case PixelFormat::kI420:
      return {at(p[0], x, y), at(p[1], x / 2, y / 2), at(p[2], x / 2, y / 2)};
    case PixelFormat::kYuy2:
      return {at(p[0], x * 2, y), at(p[0], x / 2 * 4 + 1, y), at(p[0], x / 2 * 4 + 3, y)};
    case PixelFormat::kUyvy:
      return {at(p[0], x * 2 + 1, y), at(p[0], x / 2 * 4, y), at(p[0], x / 2 * 4 + 2, y)};
    default:
      return {sample16(p[0], x, y), sample16(p[1], x / 2 * 2, y / 2),
              sample16(p[1], x / 2 * 2 + 1, y / 2)};
  }
}

void fill(testing::OwnedFrame& owned, Yuv yuv) {
  Frame& frame = owned.frame;
  const bool macropixel = frame.format == PixelFormat::kYuy2 || frame.format == PixelFormat::kUyvy;
  const int shift = frame.format == PixelFormat::kYuy2 ? 1 : 0;
  for (size_t plane = 0; plane < owned.storage.size(); ++plane) {
    auto& bytes = owned.storage[plane];
    const int64_t stride = frame.planes[plane].stride;
    for (size_t i = 0; i < bytes.size(); ++i) {
      const int64_t column = static_cast<int64_t>(i) % stride;
      double value = plane == 0 ? yuv.y : plane == 1 ? yuv.u : yuv.v;
      if (frame.format == PixelFormat::kNv12 && plane == 1) value = column % 2 ? yuv.v : yuv.u;
      if (macropixel) {
        // U Y V Y for UYVY; a byte later for YUY2.
        const int64_t role = (column + shift) % 4;
        value = role % 2 == 1 ? yuv.y : role == 0 ? yuv.u : yuv.v;
        if (shift == 1) value = column % 2 == 0 ? yuv.y : column % 4 == 1 ? yuv.u : yuv.v;
      }
      if (frame.format == PixelFormat::kP010) {
        if (plane == 1) value = column / 2 % 2 ? yuv.v : yuv.u;
        const int word = static_cast<int>(value) << 6;
        bytes[i] = static_cast<uint8_t>(column % 2 ? word >> 8 : word);
      } else {
        bytes[i] = static_cast<uint8_t>(value);
      }
    }
  }
}

void expect_close(const std::vector<float>& planes, const PreprocessSpec& spec, int x, int y,
                  const Rgb& expected, double tolerance, const std::string& where) {
  for (int c = 0; c < 3; ++c) {
    ASSERT_NEAR(planes[(c * spec.height + y) * spec.width + x], expected[c], tolerance)
        << where << " pixel (" << x << ", " << y << ") channel " << c;
  }
}

class Layouts : public ::testing::TestWithParam<PixelFormat> {};

// A frame of one colour is that colour everywhere, whatever the resize, the crop and the padding.
TEST_P(Layouts, OneColourStaysOneColour) {
  const int bits = bits_of(GetParam()), unit = 1 << (bits - 8);
  auto spec = testing::plain_spec(32, 32, CropMode::kCenter, Interpolation::kBicubic);
  spec.resize_short = 37;
  for (const ColorMatrix matrix : kMatrices) {
    for (const ColorRange range : kRanges) {
      for (const Yuv yuv : {Yuv{16., 128., 128.}, Yuv{235., 128., 128.}, Yuv{81., 90., 240.},
                            Yuv{145., 54., 34.}, Yuv{41., 240., 110.}, Yuv{255., 0., 255.}}) {
        const Yuv stored{yuv.y * unit, yuv.u * unit, yuv.v * unit};
        testing::OwnedFrame owned = noise_frame(GetParam(), 75, 53, 1, 4);
        owned.frame.matrix = matrix;
        owned.frame.range = range;
        fill(owned, stored);
        const std::vector<float> planes = testing::planes_of(owned.frame, spec);
        const Rgb expected = clamped(defined_rgb(stored, matrix, range, bits));
        for (const int at : {0, 7, 31}) {
          expect_close(planes, spec, at, 31 - at, expected, 1e-4, "one colour");
        }
      }
    }
  }
}

// Without a resize and with 'nearest' every pixel is its own samples converted: layouts, odd sizes,
// strides and regions.
TEST_P(Layouts, EveryPixelIsItsOwnSamplesConverted) {
  for (const auto& [width, height] : {std::pair{48, 32}, {47, 31}, {9, 5}, {1, 1}, {2, 3}}) {
    for (const int64_t padding : {0, 12}) {
      testing::OwnedFrame owned = noise_frame(GetParam(), width, height, 11, padding);
      owned.frame.matrix = ColorMatrix::kBt601;
      const auto spec =
          testing::plain_spec(width, height, CropMode::kSquash, Interpolation::kNearest);
      const std::vector<float> planes = testing::planes_of(owned.frame, spec);
      for (int y = 0; y < height; ++y) {
        for (int x = 0; x < width; ++x) {
          const Rgb expected = clamped(defined_rgb(sample(owned.frame, x, y), ColorMatrix::kBt601,
                                                   ColorRange::kLimited, bits_of(GetParam())));
          expect_close(planes, spec, x, y, expected, 1e-3, "whole frame");
        }
      }
    }
  }
}

TEST_P(Layouts, RegionsStartAnywhere) {
  testing::OwnedFrame owned = noise_frame(GetParam(), 41, 33, 12, 8);
  for (const Region region : {Region{0, 0, 10, 8},
                              {1, 0, 9, 8},
                              {0, 1, 10, 7},
                              {7, 5, 34, 28},
                              {40, 32, 1, 1},
                              {3, 9, 2, 2},
                              {13, 13, 27, 19}}) {
    owned.frame.region = region;
    const auto spec = testing::plain_spec(region.width, region.height, CropMode::kSquash,
                                          Interpolation::kNearest);
    const std::vector<float> planes = testing::planes_of(owned.frame, spec);
    for (int y = 0; y < region.height; ++y) {
      for (int x = 0; x < region.width; ++x) {
        const Yuv samples = sample(owned.frame, region.x + x, region.y + y);
        expect_close(planes, spec, x, y,
                     clamped(defined_rgb(samples, ColorMatrix::kBt709, ColorRange::kLimited,
                                         bits_of(GetParam()))),
                     1e-3, "region");
      }
    }
  }
}

// PIL's kernel over one axis, from its definition, for samples whose centres are at i + 1/2.
std::vector<double> cubic_weights(int samples, double centre, double scale) {
  const double widen = std::max(scale, 1.0);
  std::vector<double> weights(samples, 0.0);
  double sum = 0;
  for (int i = 0; i < samples; ++i) {
    // PIL takes whole samples: those whose centre is less than the support away, rounded.
    const int low = std::max(0, static_cast<int>(centre - 2 * widen + 0.5));
    const int high = std::min(samples, static_cast<int>(centre + 2 * widen + 0.5));
    if (i < low || i >= high) continue;
    const double x = std::abs(i + 0.5 - centre) / widen;
    weights[i] = x < 1   ? 1.5 * x * x * x - 2.5 * x * x + 1
                 : x < 2 ? -0.5 * (x * x * x - 5 * x * x + 8 * x - 4)
                         : 0;
    sum += weights[i];
  }
  for (double& w : weights) w /= sum;
  return weights;
}

// The whole chain in double: each plane resized with its samples where docs/preprocessing.md says
// they lie, then converted, then clamped once.
TEST_P(Layouts, ResizedPlanesConvertedOnce) {
  const int width = 45, height = 27, out = 16;
  testing::OwnedFrame owned = noise_frame(GetParam(), width, height, 21, 4);
  const Frame& frame = owned.frame;
  const auto spec = testing::plain_spec(out, out, CropMode::kSquash, Interpolation::kBicubic);
  const std::vector<float> planes = testing::planes_of(frame, spec);
  const bool half_height = GetParam() != PixelFormat::kYuy2 && GetParam() != PixelFormat::kUyvy;
  const double sx = double(width) / out, sy = double(height) / out;
  const int cw = (width + 1) / 2, ch = half_height ? (height + 1) / 2 : height;
  const double cy = half_height ? 2.0 : 1.0;
  for (int y = 0; y < out; ++y) {
    for (int x = 0; x < out; ++x) {
      const auto lx = cubic_weights(width, (x + 0.5) * sx, sx);
      const auto ly = cubic_weights(height, (y + 0.5) * sy, sy);
      const auto kx = cubic_weights(cw, (x + 0.5) * sx / 2 + 0.25, sx / 2);
      const auto ky = cubic_weights(ch, (y + 0.5) * sy / cy, sy / cy);
      Yuv mixed{0, 0, 0};
      for (int j = 0; j < height; ++j) {
        for (int i = 0; i < width; ++i) mixed.y += ly[j] * lx[i] * sample(frame, i, j).y;
      }
      for (int j = 0; j < ch; ++j) {
        for (int i = 0; i < cw; ++i) {
          const Yuv s = sample(frame, 2 * i, half_height ? 2 * j : j);
          mixed.u += ky[j] * kx[i] * s.u;
          mixed.v += ky[j] * kx[i] * s.v;
        }
      }
      expect_close(planes, spec, x, y,
                   clamped(defined_rgb(mixed, ColorMatrix::kBt709, ColorRange::kLimited,
                                       bits_of(GetParam()))),
                   0.12, "resized");
    }
  }
}

// A ramp of U in a region at odd places, reduced to half. The middle of output k is at 2 k + 2 of
// the frame; chroma sample i at 2 i + 0.5 across, the middle of its column, and at 2 i + 1 down.
TEST(OddRegions, ChromaStaysWhereItsSamplesLie) {
  for (const bool across : {true, false}) {
    testing::OwnedFrame owned =
        noise_frame(PixelFormat::kNv12, across ? 64 : 16, across ? 16 : 64, 1);
    fill(owned, {128, 128, 128});
    const auto stride = static_cast<size_t>(owned.frame.planes[1].stride);
    for (size_t i = 0; i < owned.storage[1].size(); i += 2) {
      const size_t place = across ? i % stride / 2 : i / stride;
      owned.storage[1][i] = static_cast<uint8_t>(60 + 4 * place);
    }
    owned.frame.region = across ? Region{1, 1, 32, 15} : Region{1, 1, 15, 32};
    const auto spec = testing::plain_spec(across ? 16 : 15, across ? 15 : 16, CropMode::kSquash,
                                          Interpolation::kBilinear);
    const std::vector<float> planes = testing::planes_of(owned.frame, spec);
    for (int k = 0; k < 16; ++k) {
      const Yuv yuv{128, 60 + 4 * (across ? k + 0.75 : k + 0.5), 128};
      expect_close(planes, spec, across ? k : 7, across ? 7 : k,
                   clamped(defined_rgb(yuv, ColorMatrix::kBt709, ColorRange::kLimited, 8)), 0.2,
                   across ? "across" : "down");
    }
  }
}

// Converting the frame first, to 8-bit RGB with bilinear chroma as videoconvert does, and resizing
// that as PIL does gives the same picture but for rounding: here for a picture without hard edges.
TEST_P(Layouts, ConvertingFirstDiffersByRounding) {
  const int width = 320, height = 180;
  testing::OwnedFrame owned = noise_frame(GetParam(), width, height, 1);
  const int bits = bits_of(GetParam()), unit = 1 << (bits - 8);
  testing::OwnedFrame rgb = noise_frame(PixelFormat::kRgb, width, height, 1);
  const auto wave = [](double x, double y, double fx, double fy) {
    return std::sin(x * fx) * std::cos(y * fy);
  };
  // The same smooth functions sampled where luma and chroma samples lie.
  const auto luma = [&](double x, double y) { return 126 + 60 * wave(x, y, 0.11, 0.09); };
  const auto cb = [&](double x, double y) { return 128 + 30 * wave(x, y, 0.05, 0.04); };
  const auto cr = [&](double x, double y) { return 128 - 30 * wave(x, y, 0.03, 0.06); };
  const bool half_height = GetParam() != PixelFormat::kYuy2 && GetParam() != PixelFormat::kUyvy;
  const auto put = [&](size_t plane, int column, int row, double value) {
    auto& bytes = owned.storage[plane];
    const int64_t stride = owned.frame.planes[plane].stride;
    if (bits == 8) {
      bytes[row * stride + column] = static_cast<uint8_t>(std::lround(value));
    } else {
      const long word = std::lround(value * unit) << 6;
      bytes[row * stride + column * 2] = static_cast<uint8_t>(word);
      bytes[row * stride + column * 2 + 1] = static_cast<uint8_t>(word >> 8);
    }
  };
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const double row = half_height ? y / 2 * 2 + 0.5 : y;
      const double u = cb(x / 2 * 2, row), v = cr(x / 2 * 2, row);
      switch (GetParam()) {
        case PixelFormat::kI420:
          put(1, x / 2, y / 2, u), put(2, x / 2, y / 2, v), put(0, x, y, luma(x, y));
          break;
        case PixelFormat::kYuy2:
          put(0, 2 * x, y, luma(x, y)), put(0, x / 2 * 4 + 1, y, u), put(0, x / 2 * 4 + 3, y, v);
          break;
        case PixelFormat::kUyvy:
          put(0, 2 * x + 1, y, luma(x, y)), put(0, x / 2 * 4, y, u), put(0, x / 2 * 4 + 2, y, v);
          break;
        default:
          put(0, x, y, luma(x, y)), put(1, x / 2 * 2, y / 2, u), put(1, x / 2 * 2 + 1, y / 2, v);
      }
      const Rgb converted = clamped(defined_rgb({luma(x, y), cb(x, y), cr(x, y)},
                                                ColorMatrix::kBt709, ColorRange::kLimited, 8));
      for (int c = 0; c < 3; ++c) {
        rgb.storage[0][(y * width + x) * 3 + c] = static_cast<uint8_t>(std::lround(converted[c]));
      }
    }
  }
  auto spec = testing::plain_spec(48, 48, CropMode::kCenter, Interpolation::kBicubic);
  spec.resize_short = 54;
  const std::vector<float> ours = testing::planes_of(owned.frame, spec);
  const std::vector<float> first = testing::planes_of(rgb.frame, spec);
  double worst = 0, sum = 0;
  for (size_t i = 0; i < ours.size(); ++i) {
    const double difference = std::abs(double{ours[i]} - first[i]);
    worst = std::max(worst, difference);
    sum += difference;
  }
  EXPECT_LT(worst, 2.0) << name_of(GetParam());
  EXPECT_LT(sum / static_cast<double>(ours.size()), 0.45) << name_of(GetParam());
}

INSTANTIATE_TEST_SUITE_P(Yuv, Layouts, ::testing::ValuesIn(kYuvFormats),
                         [](const auto& info) { return name_of(info.param); });

TEST(Rgb, OneColourStaysOneColour) {
  for (const PixelFormat format : {PixelFormat::kRgb, PixelFormat::kBgra, PixelFormat::kGray8}) {
    for (const int value : {0, 1, 127, 254, 255}) {
      testing::OwnedFrame owned = noise_frame(format, 61, 47, 1, 3);
      owned.frame.range = ColorRange::kFull;
      for (auto& byte : owned.storage[0]) byte = static_cast<uint8_t>(value);
      for (const auto interpolation : {Interpolation::kNearest, Interpolation::kBilinear,
                                       Interpolation::kBicubic, Interpolation::kLanczos}) {
        const auto spec = testing::plain_spec(24, 40, CropMode::kSquash, interpolation);
        for (const float out : testing::planes_of(owned.frame, spec)) {
          ASSERT_EQ(out, static_cast<float>(value)) << name_of(format);
        }
      }
    }
  }
}

TEST(Grey, OfLimitedRangeIsThePictureOfFullRange) {
  // The second is so tall that it is resized vertically first.
  for (const auto& [width, height] : {std::pair{90, 70}, {20, 300}}) {
    // Which is what grey is unless somebody says otherwise.
    const testing::OwnedFrame full = noise_frame(PixelFormat::kGray8, width, height, 4, 2);
    testing::OwnedFrame limited = noise_frame(PixelFormat::kGray8, width, height, 4, 2);
    limited.frame.range = ColorRange::kLimited;
    for (auto& value : limited.storage[0]) {
      value = static_cast<uint8_t>(std::lround(16 + value * 219.0 / 255));
    }
    for (const auto interpolation : {Interpolation::kNearest, Interpolation::kBicubic}) {
      const auto spec = testing::plain_spec(32, 32, CropMode::kSquash, interpolation);
      const std::vector<float> expected = testing::planes_of(full.frame, spec);
      const std::vector<float> found = testing::planes_of(limited.frame, spec);
      double sum = 0;
      for (size_t i = 0; i < found.size(); ++i) {
        ASSERT_NEAR(found[i], expected[i], 2) << i;
        sum += found[i] - expected[i];
      }
      EXPECT_NEAR(sum / static_cast<double>(found.size()), 0, 0.1);
    }
  }
}

TEST(Grey, OfLimitedRangeIsBlackUpTo16AndWhiteFrom235) {
  const auto spec = testing::plain_spec(8, 8, CropMode::kSquash, Interpolation::kBilinear);
  for (const auto& [stored, seen] :
       {std::pair{0, 0}, {16, 0}, {17, 1}, {126, 128}, {234, 254}, {235, 255}, {255, 255}}) {
    testing::OwnedFrame owned = noise_frame(PixelFormat::kGray8, 30, 20, 1);
    owned.frame.range = ColorRange::kLimited;
    for (auto& value : owned.storage[0]) value = static_cast<uint8_t>(stored);
    for (const float value : testing::planes_of(owned.frame, spec)) {
      ASSERT_EQ(value, static_cast<float>(seen)) << stored;
    }
  }
}

}  // namespace
}  // namespace tome
