// From pixels to the numbers a Vision Transformer was trained on.
#pragma once

#include <array>
#include <cstdint>

#include "media/frame.h"

namespace tome {

enum class Interpolation { kNearest, kBilinear, kBicubic, kLanczos };

/// How the resized picture meets the model's input size.
enum class CropMode {
  kCenter,  ///< resize so that the shorter side is `resize_short`, then cut the centre (timm, HF)
  kSquash,  ///< resize both sides to the input size, whatever the aspect ratio (timm 'squash', ViT
            ///< HF)
  kBorder,  ///< fit inside, pad the rest with the mean (timm 'border')
};

/// Pre-processing of one checkpoint; timm's and Hugging Face's configurations both map to it.
struct PreprocessSpec {
  int32_t width = 224, height = 224;  ///< the model's input, pixels
  /// Shorter side after resizing, pixels (kCenter only): timm's floor(size / crop_pct), HF's
  /// size.shortest_edge.
  int32_t resize_short = 248;
  /// The size that timm calls scale_size, floor(input / crop_pct) for each side, where one number
  /// cannot say it: kSquash resizes to it, kBorder fits the picture inside it, kCenter covers it
  /// (in place of resize_short). 0: the input size (kSquash, kBorder), resize_short (kCenter).
  int32_t scale_width = 0, scale_height = 0;
  CropMode crop_mode = CropMode::kCenter;
  /// Where an odd number of pixels is cut off: transformers rounds the crop's first pixel down,
  /// torchvision (and timm) a half to even.
  bool crop_rounds_down = false;
  Interpolation interpolation = Interpolation::kBicubic;
  bool antialias = true;
  std::array<float, 3> mean{0.5F, 0.5F, 0.5F};  ///< RGB, in units of [0, 1]
  std::array<float, 3> std{0.5F, 0.5F, 0.5F};
  float rescale = 1.0F / 255.0F;  ///< applied to 0..255 before mean and std
};

/// Grey levels (of 255) in units of the normalised input, by the deviation of the first channel:
/// the threshold is one number for the mean over all three, whose deviations are alike (ImageNet's
/// within 3 %).
double normalised_levels(double grey_levels, const PreprocessSpec& spec);

/// Writes one frame as patch rows, the layout in which the model embeds: row (y / p) * (width / p)
/// + x / p, column (c * p + y % p) * p + x % p, for input pixel (x, y) and channel c = R, G, B.
///
/// Resizing is antialiased with PIL's kernels (support scaled by the ratio; bicubic a = -0.5) and,
/// as PIL does, rounds to 8 bits after each pass, so that logits agree with the Python original.
///
/// YUV layouts have no original to agree with to the bit: see Note [YUV is resized before it is
/// converted] in resample_yuv.cpp. Alpha is ignored. Thread-safe; each thread keeps its own working
/// rows and allocates nothing once it has seen the largest of its frames.
///
/// @param patches  out, float32 [(height / p) * (width / p), 3 * p * p], normalised
/// @throws Error kSettings for an empty frame, a region outside it or a spec that makes no sense,
///   kFormat for planes too small for the layout, kDevice for pixels that are not in host memory
void preprocess_to_patches(const Frame& frame, const PreprocessSpec& spec, int32_t patch,
                           float* patches);

/// The same as planes: float32 [3, height, width].
void preprocess_to_planes(const Frame& frame, const PreprocessSpec& spec, float* planes);

}  // namespace tome
