// Which part of the picture lands where in the model's input: the arithmetic of torchvision and
// timm.
#pragma once

#include <cstdint>

#include "media/preprocess.h"

namespace tome {

/// One axis of the way from a picture to the model's input. The picture has `source` pixels and is
/// resized to `resized`; of these, `count` starting at `first` land in the input at `target`. The
/// rest of the input is filled.
struct AxisPlacement {
  int64_t source = 0;
  int64_t resized = 0;
  int64_t first = 0;
  int32_t count = 0;
  int32_t target = 0;

  bool operator==(const AxisPlacement&) const = default;
};

struct Placement {
  AxisPlacement x, y;
};

/// The aspect in lowest terms, of numbers below 65536 (rounded to them where it must be); square
/// where it makes no sense.
PixelAspect usable_aspect(PixelAspect aspect);

/// Placement of a picture of `width` x `height` pixels. Sizes follow torchvision's Resize(int) and
/// CenterCrop, timm's ResizeKeepRatio and CenterCropOrPad, down to their rounding: those of the
/// picture as it is shown, width * n / d wide, while `source` counts the pixels that there are. So
/// what lands in the input has square pixels, but for kSquash, which stretches whatever comes.
/// @throws Error kSettings for sizes that make no sense
Placement place(int64_t width, int64_t height, const PreprocessSpec& spec, PixelAspect aspect = {});

}  // namespace tome
