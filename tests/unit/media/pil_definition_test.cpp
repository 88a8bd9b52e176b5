// Resizing and cropping of RGB against Pillow's arithmetic, written down once more without any of
// what makes ours fast (ImagingResample: coefficients in 22 bits, a pass along rows and one along
// columns, each rounded and clipped to 8 bits). Geometries are drawn at random.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <numbers>
#include <random>
#include <vector>

#include "media/geometry.h"
#include "media/preprocess.h"
#include "media/row_kernels.h"
#include "media_test_util.h"

namespace tome::testing {
namespace {

constexpr int kBits = 32 - 8 - 2;

double triangle(double x) { return std::max(0.0, 1 - std::abs(x)); }
double cubic(double x) {
  constexpr double kA = -0.5;
  x = std::abs(x);
  if (x < 1) return ((kA + 2) * x - (kA + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * kA : 0;
}
double sinc(double x) {
  return x == 0 ? 1 : std::sin(x * std::numbers::pi) / (x * std::numbers::pi);
}
double lanczos(double x) { return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0; }

struct Filter {
  std::function<double(double)> at;
  double support;
};
Filter filter_of(Interpolation interpolation) {
  if (interpolation == Interpolation::kBilinear) return {triangle, 1};
  if (interpolation == Interpolation::kBicubic) return {cubic, 2};
  return {lanczos, 3};
}

struct Picture {
  int width, height;
  std::vector<uint8_t> rgb;
  uint8_t& at(int x, int y, int c) { return rgb[(size_t{3} * y * width) + 3 * x + c]; }
};

/// One pass along x, every output pixel of it.
Picture pass(Picture from, int width, const Filter& filter) {
  Picture to{width, from.height, std::vector<uint8_t>(size_t{3} * width * from.height)};
  const double scale = static_cast<double>(from.width) / width, wide = std::max(scale, 1.0);
  for (int x = 0; x < width; ++x) {
    const double centre = (x + 0.5) * scale, support = filter.support * wide;
    const int low = std::max(0, static_cast<int>(centre - support + 0.5));
    const int high = std::min(from.width, static_cast<int>(centre + support + 0.5));
    std::vector<double> weights;
    double sum = 0;
    for (int i = low; i < high; ++i) {
      weights.push_back(filter.at((i - centre + 0.5) / wide));
      sum += weights.back();
    }
    std::vector<int> fixed;
    for (const double w : weights) {
      const double whole = (sum != 0 ? w / sum : w) * (1 << kBits);
      fixed.push_back(static_cast<int>(whole < 0 ? whole - 0.5 : whole + 0.5));
    }
    for (int y = 0; y < from.height; ++y) {
      for (int c = 0; c < 3; ++c) {
        int value = 1 << (kBits - 1);
        for (int i = low; i < high; ++i) value += from.at(i, y, c) * fixed[i - low];
        to.at(x, y, c) = static_cast<uint8_t>(std::clamp(value >> kBits, 0, 255));
      }
    }
  }
  return to;
}

Picture transposed(Picture from) {
  Picture to{from.height, from.width, std::vector<uint8_t>(from.rgb.size())};
  for (int y = 0; y < from.height; ++y) {
    for (int x = 0; x < from.width; ++x) {
      for (int c = 0; c < 3; ++c) to.at(y, x, c) = from.at(x, y, c);
    }
  }
  return to;
}

Picture resized(const Picture& from, int width, int height, const Filter& filter) {
  // As of Pillow 13: see Note [PIL's order of passes].
  if (from.height - height > 2 * std::max(0, from.width - width)) {
    return pass(transposed(pass(transposed(from), height, filter)), width, filter);
  }
  return transposed(pass(transposed(pass(from, width, filter)), height, filter));
}

class PilDefinition : public ::testing::TestWithParam<SimdLevel> {
 protected:
  void SetUp() override {
    if (!use_simd_level(GetParam())) GTEST_SKIP() << "this processor lacks it";
  }
  void TearDown() override {
    for (const auto level : kSimdLevels) use_simd_level(level);  // the last that there is: the best
  }

  int draw(int from, int to) { return std::uniform_int_distribution<int>(from, to)(random_); }
  Picture draw_picture() {
    Picture picture{draw(0, 9) == 0 ? draw(1, 3) : draw(1, 120),
                    draw(0, 9) == 0 ? draw(1, 3) : draw(1, 120),
                    {}};
    picture.rgb.resize(size_t{3} * picture.width * picture.height);
    const bool hard = draw(0, 3) == 0;  // black and white: what is clipped shows
    for (uint8_t& v : picture.rgb) v = static_cast<uint8_t>(hard ? 255 * draw(0, 1) : draw(0, 255));
    return picture;
  }
  PreprocessSpec draw_spec() {
    constexpr std::array kFilters = {Interpolation::kBilinear, Interpolation::kBicubic,
                                     Interpolation::kLanczos};
    const int side = 8 * draw(1, 6);
    const CropMode crop = draw(0, 2) == 0 ? CropMode::kSquash : CropMode::kCenter;
    PreprocessSpec spec = plain_spec(side, side, crop, kFilters[static_cast<size_t>(draw(0, 2))]);
    spec.resize_short = draw(side / 2 + 1, 2 * side);
    return spec;
  }

 private:
  std::mt19937 random_{7};
};

/// How many of the model's input values differ.
int differing(Picture picture, const PreprocessSpec& spec, const Placement& place) {
  Picture whole = resized(picture, static_cast<int>(place.x.resized),
                          static_cast<int>(place.y.resized), filter_of(spec.interpolation));
  Frame frame;
  frame.format = PixelFormat::kRgb;
  frame.width = picture.width;
  frame.height = picture.height;
  frame.planes[0] = {picture.rgb.data(), int64_t{3} * picture.width, picture.rgb.size()};
  const std::vector<float> planes = planes_of(frame, spec);
  int count = 0;
  for (int c = 0; c < 3; ++c) {
    for (int y = 0; y < place.y.count; ++y) {
      for (int x = 0; x < place.x.count; ++x) {
        const float found =
            planes[(static_cast<size_t>(c) * spec.height + y + place.y.target) * spec.width + x +
                   place.x.target];
        const uint8_t expected =
            whole.at(x + static_cast<int>(place.x.first), y + static_cast<int>(place.y.first), c);
        count += found == static_cast<float>(expected) ? 0 : 1;
      }
    }
  }
  return count;
}

TEST_P(PilDefinition, AnyGeometry) {
  for (int i = 0; i < 4000; ++i) {
    const Picture picture = draw_picture();
    const PreprocessSpec spec = draw_spec();
    const Placement placement = place(picture.width, picture.height, spec);
    if (std::max(placement.x.resized, placement.y.resized) > 1000) continue;
    ASSERT_EQ(differing(picture, spec, placement), 0)
        << picture.width << "x" << picture.height << " -> " << placement.x.resized << "x"
        << placement.y.resized << " from row " << placement.y.first << ", filter "
        << static_cast<int>(spec.interpolation);
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, PilDefinition, ::testing::ValuesIn(kSimdLevels));

}  // namespace
}  // namespace tome::testing
