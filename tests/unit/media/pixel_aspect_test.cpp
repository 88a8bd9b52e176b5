// Pixels that are not square: the model sees the picture as it is shown, not as it is stored.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numbers>

#include "media/geometry.h"
#include "media_test_util.h"

namespace tome {
namespace {

using testing::OwnedFrame;
using testing::plain_spec;

PreprocessSpec imagenet() {
  PreprocessSpec spec;  // 224 of 248, the shorter side
  return spec;
}

void expect_axis(const AxisPlacement& found, const AxisPlacement& expected, const char* what) {
  EXPECT_EQ(found.source, expected.source) << what;
  EXPECT_EQ(found.resized, expected.resized) << what;
  EXPECT_EQ(found.first, expected.first) << what;
  EXPECT_EQ(found.count, expected.count) << what;
  EXPECT_EQ(found.target, expected.target) << what;
}

TEST(PixelAspect, TheShorterSideIsThatOfThePictureAsShown) {
  // 1024x576: 248 * 1024 / 576 = 440.9, and (440 - 224) / 2 = 108 columns are cut off.
  const Placement camera = place(704, 576, imagenet(), {16, 11});
  expect_axis(camera.x, {704, 440, 108, 224, 0}, "704x576 of 16:9, x");
  expect_axis(camera.y, {576, 248, 12, 224, 0}, "704x576 of 16:9, y");
  expect_axis(place(720, 576, imagenet(), {64, 45}).x, {720, 440, 108, 224, 0}, "PAL, wide");
  expect_axis(place(1440, 1080, imagenet(), {4, 3}).x, {1440, 440, 108, 224, 0}, "HDV");
  // Stored lying, shown standing: 480x640.
  const Placement standing = place(960, 640, imagenet(), {1, 2});
  expect_axis(standing.x, {960, 248, 12, 224, 0}, "shown standing, x");
  expect_axis(standing.y, {640, 330, 53, 224, 0}, "shown standing, y");
}

TEST(PixelAspect, WhatFitsOrCoversABoxDoesSoAsShown) {
  PreprocessSpec spec = imagenet();
  spec.crop_mode = CropMode::kBorder;
  const Placement fits = place(704, 576, spec, {16, 11});
  expect_axis(fits.x, {704, 224, 0, 224, 0}, "fits, x");
  expect_axis(fits.y, {576, 126, 0, 126, 49}, "fits, y");
  spec.crop_mode = CropMode::kCenter;
  spec.scale_width = spec.scale_height = 256;
  const Placement covers = place(704, 576, spec, {16, 11});
  EXPECT_EQ(covers.x.resized, 455);  // 256 * 1024 / 576 = 455.1
  EXPECT_EQ(covers.y.resized, 256);
}

TEST(PixelAspect, ASquashedPictureIsTheSameWhateverItWasShownAs) {
  PreprocessSpec spec = imagenet();
  spec.crop_mode = CropMode::kSquash;
  const Placement found = place(704, 576, spec, {16, 11});
  expect_axis(found.x, {704, 224, 0, 224, 0}, "x");
  expect_axis(found.y, {576, 224, 0, 224, 0}, "y");
}

TEST(PixelAspect, WhatNoPictureCanHaveStandsForSquare) {
  const Placement square = place(704, 576, imagenet());
  EXPECT_EQ(square.x.resized, 303);
  for (const PixelAspect aspect : {PixelAspect{1, 1},
                                   {16, 16},
                                   {INT32_MAX, INT32_MAX},
                                   {0, 0},
                                   {0, 1},
                                   {1, 0},
                                   {-16, 11},
                                   {16, -11},
                                   {-1, -1},
                                   {101, 1},
                                   {1, 101},
                                   {INT32_MAX, 1},
                                   {INT32_MIN, INT32_MIN}}) {
    const Placement found = place(704, 576, imagenet(), aspect);
    EXPECT_EQ(found.x, square.x) << aspect.n << "/" << aspect.d;
    EXPECT_EQ(found.y, square.y) << aspect.n << "/" << aspect.d;
  }
  EXPECT_EQ(place(10, 1000, imagenet(), {100, 1}).x.resized, 248);
  EXPECT_EQ(place(1000, 10, imagenet(), {1, 100}).x.resized, 248);
}

TEST(PixelAspect, NumbersWithoutAFactorInCommonMayBeLarge) {
  EXPECT_EQ(usable_aspect({1600000, 1100000}).n, 16);
  EXPECT_EQ(usable_aspect({1600000, 1100000}).d, 11);
  for (const PixelAspect aspect :
       {PixelAspect{INT32_MAX, INT32_MAX / 16 * 11}, {2072759, 1425023}}) {
    const PixelAspect found = usable_aspect(aspect);
    EXPECT_LE(found.n, 65535);
    EXPECT_NEAR(double(found.n) / found.d, 16.0 / 11, 2e-4) << aspect.n << "/" << aspect.d;
    EXPECT_EQ(place(704, 576, imagenet(), aspect).x.resized, 440);
  }
  // The widest frame that there can be, and the largest size that checkpoints may ask for.
  PreprocessSpec large = plain_spec(8192, 8192, CropMode::kCenter, Interpolation::kBilinear);
  large.resize_short = 16384;
  const Placement found = place(INT32_MAX, INT32_MAX, large, {65535, 65534});
  EXPECT_EQ(found.y.resized, 16384);
  EXPECT_EQ(found.x.resized, 16384);
}

// ---- pixels ------------------------------------------------------------------------------------

/// Bytes from one sample to the next of the same component, for each plane.
std::vector<int> steps_of(PixelFormat format) {
  switch (format) {
    case PixelFormat::kRgb:
      return {3};
    case PixelFormat::kBgrx:
      return {4};
    case PixelFormat::kNv12:
      return {1, 2};
    case PixelFormat::kI420:
      return {1, 1, 1};
    default:
      return {1};
  }
}

constexpr int kWidth = 400, kHeight = 240;

/// Waves in both directions, others in each component.
OwnedFrame waves(PixelFormat format) {
  OwnedFrame owned = testing::noise_frame(format, kWidth, kHeight, 1);
  owned.frame.range = ColorRange::kFull;
  for (size_t p = 0; p < owned.storage.size(); ++p) {
    const int step = steps_of(format)[p];
    const int64_t stride = owned.frame.planes[p].stride;
    for (size_t i = 0; i < owned.storage[p].size(); ++i) {
      const auto column = static_cast<int64_t>(i) % stride;
      const double x = static_cast<double>(column / step) * step / static_cast<double>(stride);
      const double y =
          static_cast<double>(i) / static_cast<double>(owned.storage[p].size());  // as good as
      const double phase = static_cast<double>(p) + static_cast<double>(column % step);
      owned.storage[p][i] =
          static_cast<uint8_t>(128 + 60 * std::sin(2 * std::numbers::pi * (5 * x + phase / 7)) +
                               50 * std::cos(2 * std::numbers::pi * (2 * y + phase / 5)));
    }
  }
  return owned;
}

/// The same picture of half as many columns, each the mean of two; of chroma, which lies on the
/// left of its pair of columns, three quarters of the one and a quarter of the other.
OwnedFrame halved(const OwnedFrame& whole) {
  OwnedFrame owned =
      testing::noise_frame(whole.frame.format, whole.frame.width / 2, whole.frame.height, 1);
  owned.frame.range = whole.frame.range;
  owned.frame.pixel_aspect = {2, 1};
  for (size_t p = 0; p < owned.storage.size(); ++p) {
    const int step = steps_of(whole.frame.format)[p];
    const int64_t stride = owned.frame.planes[p].stride, from = whole.frame.planes[p].stride;
    for (size_t i = 0; i < owned.storage[p].size(); ++i) {
      const auto row = static_cast<int64_t>(i) / stride, column = static_cast<int64_t>(i) % stride;
      const auto at =
          static_cast<size_t>(row * from + 2 * (column - column % step) + column % step);
      const auto other = at + static_cast<size_t>(step);
      const int left = p > 0 ? 3 : 2;
      const int sum = left * whole.storage[p][at] + (4 - left) * whole.storage[p][other];
      owned.storage[p][i] = static_cast<uint8_t>((sum + 2) / 4);
    }
  }
  return owned;
}

double largest_difference(const Frame& a, const Frame& b, const PreprocessSpec& spec) {
  const std::vector<float> left = testing::planes_of(a, spec), right = testing::planes_of(b, spec);
  double largest = 0;
  for (size_t i = 0; i < left.size(); ++i) {
    largest = std::max(largest, std::abs(double{left[i]} - double{right[i]}));
  }
  return largest;
}

class Halved : public ::testing::TestWithParam<PixelFormat> {};

TEST_P(Halved, WithPixelsTwiceAsWideIsTheSamePicture) {
  OwnedFrame whole = waves(GetParam());
  OwnedFrame half = halved(whole);
  for (const CropMode mode : {CropMode::kCenter, CropMode::kBorder, CropMode::kSquash}) {
    PreprocessSpec spec = plain_spec(48, 48, mode, Interpolation::kBicubic);
    spec.resize_short = 54;
    for (const bool region : {false, true}) {
      whole.frame.region = region ? Region{80, 40, 240, 150} : Region{};
      half.frame.region = region ? Region{40, 40, 120, 150} : Region{};
      half.frame.pixel_aspect = {2, 1};
      EXPECT_LT(largest_difference(whole.frame, half.frame, spec), 3)
          << static_cast<int>(mode) << (region ? ", region" : "");
      if (mode == CropMode::kSquash) continue;
      half.frame.pixel_aspect = {};
      EXPECT_GT(largest_difference(whole.frame, half.frame, spec), 30) << "squeezed";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, Halved,
                         ::testing::Values(PixelFormat::kRgb, PixelFormat::kBgrx,
                                           PixelFormat::kGray8, PixelFormat::kNv12,
                                           PixelFormat::kI420),
                         [](const auto& info) { return testing::name_of(info.param); });

TEST(PixelAspect, SquarePixelsGiveTheSameBitsHoweverTheyAreSaid) {
  for (const PixelFormat format : testing::kAllFormats) {
    OwnedFrame owned = testing::noise_frame(format, 91, 67, 3);
    PreprocessSpec spec = plain_spec(32, 32, CropMode::kCenter, Interpolation::kBicubic);
    spec.resize_short = 36;
    const std::vector<float> expected = testing::planes_of(owned.frame, spec);
    for (const PixelAspect aspect : {PixelAspect{7, 7}, {0, 0}, {-1, 2}, {500, 1}}) {
      owned.frame.pixel_aspect = aspect;
      EXPECT_EQ(testing::planes_of(owned.frame, spec), expected) << testing::name_of(format);
    }
  }
}

TEST(PixelAspect, TheMiddleOfALongStripIsFoundAtOnce) {
  // Of a row of pixels that are a hundred times as wide as high. At 248 rows it is five billion
  // pixels wide, and what is cut out of its middle lies in one of its own.
  constexpr int kLength = 200001, kSide = 224;
  OwnedFrame line = testing::noise_frame(PixelFormat::kGray8, kLength, 1, 1);
  std::fill(line.storage[0].begin(), line.storage[0].end(), uint8_t{0});
  line.storage[0][kLength / 2] = 200;
  line.frame.pixel_aspect = {100, 1};
  PreprocessSpec spec = plain_spec(kSide, kSide, CropMode::kCenter, Interpolation::kNearest);
  spec.resize_short = 248;
  const auto started = std::chrono::steady_clock::now();
  const std::vector<float> planes = testing::planes_of(line.frame, spec);
  EXPECT_LT(std::chrono::steady_clock::now() - started, std::chrono::seconds(2));
  EXPECT_EQ(planes, std::vector<float>(planes.size(), 200.0F));
}

}  // namespace
}  // namespace tome
