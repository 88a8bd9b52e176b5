#include "media/geometry.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <utility>

#include "tome_error.h"

namespace tome {
namespace {

using Size = std::pair<int64_t, int64_t>;  // width, height

// torchvision.transforms.Resize(int): the long side is truncated, not rounded.
Size resize_shorter_side(int64_t width, int64_t height, int64_t side) {
  return width <= height ? Size{side, side * height / width} : Size{side * width / height, side};
}

// timm's ResizeKeepRatio; Python rounds halves to even, as nearbyint does.
Size keep_ratio(int64_t width, int64_t height, Size box, bool inside) {
  const double ratio_x = static_cast<double>(width) / static_cast<double>(box.first);
  const double ratio_y = static_cast<double>(height) / static_cast<double>(box.second);
  const double ratio = inside ? std::max(ratio_x, ratio_y) : std::min(ratio_x, ratio_y);
  const auto scaled = [ratio](int64_t side) {
    // timm fails on a picture so narrow that a side rounds to nothing; one pixel shows it.
    return std::max<int64_t>(1, std::llrint(std::nearbyint(static_cast<double>(side) / ratio)));
  };
  return {scaled(width), scaled(height)};
}

// torchvision's CenterCrop: pads first (the odd pixel goes right and below), then cuts from
// int(round(x / 2)) on.
AxisPlacement centre(int64_t source, int64_t resized, int32_t input, bool rounds_down) {
  if (resized < input) {
    const auto count = static_cast<int32_t>(resized);
    return {source, resized, 0, count, (input - count) / 2};
  }
  const auto half = static_cast<double>(resized - input) / 2.0;
  const auto first = static_cast<int64_t>(rounds_down ? std::floor(half) : std::nearbyint(half));
  return {source, resized, first, input, 0};
}

void check(const PreprocessSpec& spec) {
  const auto wrong = [](const std::string& what, const std::string& found) {
    throw Error(ErrorKind::kSettings, "pre-processing: " + what + " is " + found);
  };
  if (spec.width <= 0 || spec.height <= 0) {
    wrong("input size", std::to_string(spec.width) + "x" + std::to_string(spec.height) +
                            ", expected at least 1x1");
  }
  if (spec.scale_width < 0 || spec.scale_height < 0 ||
      (spec.scale_width == 0) != (spec.scale_height == 0)) {
    wrong("scale size", std::to_string(spec.scale_width) + "x" + std::to_string(spec.scale_height) +
                            ", expected two positive numbers or two zeros");
  }
  if (spec.crop_mode == CropMode::kCenter && spec.scale_width == 0 && spec.resize_short <= 0) {
    wrong("resize_short", std::to_string(spec.resize_short) + ", expected at least 1");
  }
}

}  // namespace

PixelAspect usable_aspect(PixelAspect aspect) {
  constexpr int64_t kMostRatio = 100, kMost = 65535;
  const int64_t n = aspect.n, d = aspect.d;
  if (n <= 0 || d <= 0 || n > kMostRatio * d || d > kMostRatio * n) return {};
  const int64_t divisor = std::gcd(n, d), larger = std::max(n, d) / divisor;
  // Containers derive it from sizes that have no factor in common; products of it must fit.
  const auto reduced = [&](int64_t number) {
    number /= divisor;
    return static_cast<int32_t>(larger > kMost ? (number * kMost + larger / 2) / larger : number);
  };
  return {reduced(n), reduced(d)};
}

Placement place(int64_t width, int64_t height, const PreprocessSpec& spec, PixelAspect aspect) {
  check(spec);
  const PixelAspect usable = usable_aspect(aspect);
  // The size as shown, times d: only the ratio of its sides counts.
  const int64_t shown_width = width * usable.n, shown_height = height * usable.d;
  const Size box = spec.scale_width > 0 ? Size{spec.scale_width, spec.scale_height}
                                        : Size{spec.width, spec.height};
  Size resized;
  switch (spec.crop_mode) {
    case CropMode::kSquash:
      resized = box;
      break;
    case CropMode::kBorder:
      resized = keep_ratio(shown_width, shown_height, box, true);
      break;
    case CropMode::kCenter:
      resized = spec.scale_width > 0
                    ? keep_ratio(shown_width, shown_height, box, false)
                    : resize_shorter_side(shown_width, shown_height, spec.resize_short);
      break;
  }
  return {centre(width, resized.first, spec.width, spec.crop_rounds_down),
          centre(height, resized.second, spec.height, spec.crop_rounds_down)};
}

}  // namespace tome
