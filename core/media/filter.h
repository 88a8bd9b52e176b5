// Resampling coefficients of one axis: PIL's, in fixed point.
#pragma once

#include <cstdint>
#include <vector>

#include "media/preprocess.h"

namespace tome {

/// One axis to resample. Samples 0..samples-1 are there; the picture spans `extent` of them from
/// `origin` (both may be fractions: chroma samples do not lie where luma samples do) and becomes
/// `resized` pixels, of which `count` from `first` are wanted.
struct FilterAxis {
  int64_t samples = 0;
  double origin = 0.0, extent = 0.0;
  int64_t resized = 0, first = 0;
  int32_t count = 0;
};

/// For each wanted output, which samples it is made of. Tap t of output i weighs sample
/// begin + first[i] + t, for t < used[i]. `first` never falls.
struct Taps {
  int32_t count = 0;
  int32_t length = 0;  ///< weights stored for each output; those from used[i] on are zero
  int64_t begin = 0;   ///< the lowest sample that any output reads
  int32_t span = 0;    ///< samples from begin to the highest one read
  std::vector<int32_t> first, used;
};

/// Weights with 22 fractional bits, PIL's PRECISION_BITS: results equal PIL's to the bit.
struct ExactTaps : Taps {
  static constexpr int kFractionBits = 32 - 8 - 2;
  static constexpr int kGroup = 4;  ///< length is a multiple of it
  std::vector<int32_t> weights;     ///< [count, length]
  /// The same in 16-bit halves, weight = 256 * high + low, for multipliers of 16 bits:
  /// [count, length / 4, {high, low}, 4].
  std::vector<int16_t> halves;
  /// The same in bytes, weight = 65536 * d0 + 256 * d1 + d2, each -128..127, for multipliers of 8
  /// bits: [count, length / 4, {d0, d1, d2}, 4].
  static constexpr int kDigits = 3;
  std::vector<int8_t> digits;
  const int8_t* digits_of(int32_t output) const {
    return digits.data() + int64_t{output} * length * kDigits;
  }
};

/// Weights with 14 fractional bits whose sum is exactly one, for pictures that have no PIL
/// original.
struct WideTaps : Taps {
  static constexpr int kFractionBits = 14;
  static constexpr int kGroup = 16;
  std::vector<int16_t> weights;  ///< [count, length]
};

/// Which samples each of the axis's wanted outputs is made of, and by which weights.
///
/// With `antialias` those of PIL (a kernel as wide as the reduction; bicubic a = -0.5; weights of
/// samples beyond the border left out), without it those of torch's interpolate() (a kernel of its
/// own width; a = -0.75; the samples at the border stand for all beyond). kNearest picks the
/// samples of nearest_samples(), whatever `antialias` says.
/// @param axis  of one sample and one wanted output at least, `first` + `count` within `resized`
ExactTaps exact_taps(const FilterAxis& axis, Interpolation interpolation, bool antialias);
/// The same in WideTaps' precision; each output's weights sum to exactly one.
WideTaps wide_taps(const FilterAxis& axis, Interpolation interpolation, bool antialias);

/// One tap for each output, all of its weight on the sample indices[i].
WideTaps picking_taps(const std::vector<int64_t>& indices);

/// The samples that PIL's nearest-neighbour resize picks.
std::vector<int64_t> nearest_samples(const FilterAxis& axis);

}  // namespace tome
