// From YUV to RGB (ITU-R BT.601, BT.709, BT.2020) and from 0..255 to what the model was trained on.
#pragma once

#include <array>

#include "media/frame.h"
#include "media/preprocess.h"

namespace tome {

/// R = luma * (Y - black) + red_v * (V - centre), and so on, for samples with 6 fractional bits
/// (see kWideFractionBits), where 8 bits of depth stand for 0..255 whatever the depth was. R, G, B
/// come out in 0..255.
struct ColourMatrix {
  int32_t black = 0, centre = 0;
  float luma = 0, red_v = 0, green_u = 0, green_v = 0, blue_u = 0;
};

/// (value - mean) * scale, for values in 0..255. Never a product and then a sum: a compiler might
/// fuse those on one instruction set and not on another.
struct Normalisation {
  std::array<float, 3> mean{}, scale{};
};

/// @param bits  depth of the samples, 8 or 10
ColourMatrix colour_matrix(ColorMatrix matrix, ColorRange range, int bits);

/// Whether grey levels are to be spread from 16..235 to 0..255: full_range_grey of
/// preprocess_kernel.h, after the resize.
bool is_limited_grey(const Frame& frame);

/// @throws Error kSettings where the spec's mean, std or rescale is zero or not a number
Normalisation normalisation_of(const PreprocessSpec& spec);

/// What a pixel that no picture covers becomes, normalised: black (torchvision's CenterCrop), or
/// for kBorder the mean rounded to 8 bits (timm's CenterCropOrPad).
std::array<float, 3> fill_of(const PreprocessSpec& spec, const Normalisation& normalisation);

}  // namespace tome
