#include "media/colour.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "media/row_kernels.h"
#include "tome_error.h"

namespace tome {

ColourMatrix colour_matrix(ColorMatrix matrix, ColorRange range, int bits) {
  double kr = 0.2126, kb = 0.0722;  // BT.709
  if (matrix == ColorMatrix::kBt601) kr = 0.299, kb = 0.114;
  if (matrix == ColorMatrix::kBt2020) kr = 0.2627, kb = 0.0593;
  const double kg = 1.0 - kr - kb;
  const bool limited = range != ColorRange::kFull;
  // Full range means 0..2^bits - 1, which is not 2^(bits - 8) times 0..255; limited range is.
  const double full = 255.0 * (1 << (bits - 8)) / ((1 << bits) - 1);
  const double unit = 1.0 / (1 << kWideFractionBits);
  const double luma = unit * (limited ? 255.0 / 219.0 : full);
  const double chroma = unit * (limited ? 255.0 / 224.0 : full);
  ColourMatrix result;
  result.black = limited ? 16 << kWideFractionBits : 0;
  result.centre = 128 << kWideFractionBits;
  result.luma = static_cast<float>(luma);
  result.red_v = static_cast<float>(chroma * 2.0 * (1.0 - kr));
  result.blue_u = static_cast<float>(chroma * 2.0 * (1.0 - kb));
  result.green_u = static_cast<float>(-chroma * 2.0 * (1.0 - kb) * kb / kg);
  result.green_v = static_cast<float>(-chroma * 2.0 * (1.0 - kr) * kr / kg);
  return result;
}

bool is_limited_grey(const Frame& frame) {
  return frame.format == PixelFormat::kGray8 && frame.range == ColorRange::kLimited;
}

Normalisation normalisation_of(const PreprocessSpec& spec) {
  const auto wrong = [](const std::string& what, float found) {
    throw Error(ErrorKind::kSettings, "pre-processing: " + what + " is " + std::to_string(found) +
                                          ", expected a finite number" +
                                          (what == "mean" ? "" : " other than 0"));
  };
  if (!std::isfinite(spec.rescale) || spec.rescale == 0.0F) wrong("rescale", spec.rescale);
  // The float nearest to 1/255 stands for 1/255: checkpoints divide by 255.
  const double rescale = spec.rescale == 1.0F / 255.0F ? 1.0 / 255.0 : spec.rescale;
  Normalisation result;
  for (int c = 0; c < 3; ++c) {
    if (!std::isfinite(spec.mean[c])) wrong("mean", spec.mean[c]);
    if (!std::isfinite(spec.std[c]) || spec.std[c] == 0.0F) wrong("std", spec.std[c]);
    result.mean[c] = static_cast<float>(spec.mean[c] / rescale);
    result.scale[c] = static_cast<float>(rescale / spec.std[c]);
  }
  return result;
}

std::array<float, 3> fill_of(const PreprocessSpec& spec, const Normalisation& normalisation) {
  std::array<float, 3> fill{};
  for (int c = 0; c < 3; ++c) {
    const float mean = normalisation.mean[c];
    const float value =
        spec.crop_mode == CropMode::kBorder ? std::clamp(std::nearbyint(mean), 0.0F, 255.0F) : 0.0F;
    fill[c] = (value - mean) * normalisation.scale[c];
  }
  return fill;
}

}  // namespace tome
