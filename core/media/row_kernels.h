// The inner loops of pre-processing, one set for each instruction set, all with the same results.
#pragma once

#include <array>
#include <cstdint>

#include "media/colour.h"
#include "media/filter.h"

namespace tome {

/// Where R, G and B are in a packed pixel.
struct RgbSource {
  int pixel_bytes = 3;
  std::array<int, 3> offsets{};
};

/// Samples that have no PIL original are kept in 16 bits with 6 fractional bits between the passes.
constexpr int kWideFractionBits = 6;
/// Bytes that resize_rgb may read from the first pixel of a group of four taps on.
constexpr int kRgbGroupBytes = 16;
constexpr int kRgbRows = 4;

struct RowKernels {
  const char* name;

  /// PIL's horizontal pass over kRgbRows rows. rows[k] points at pixel taps.begin; out[k] gets
  /// taps.count pixels of four bytes R, G, B, 0. Reads kRgbGroupBytes from the first pixel of each
  /// group of four taps on, which may be past the row's last pixel.
  void (*resize_rgb)(const uint8_t* const* rows, const RgbSource& source, const ExactTaps& taps,
                     uint8_t* const* out);
  /// PIL's vertical pass: out[x] from rows[t][x], x < n, with the weights of output `index`.
  void (*blend_exact)(const uint8_t* const* rows, const ExactTaps& taps, int32_t index, int32_t n,
                      uint8_t* out);
  /// Vertical pass over n samples of 8 bits; `rows` points at the first sample of the first row.
  void (*blend_wide8)(const uint8_t* rows, int64_t stride, const WideTaps& taps, int32_t index,
                      int32_t n, int16_t* out);
  /// The same over samples of 16 bits, little-endian, whose upper 10 count.
  void (*blend_wide10)(const uint8_t* rows, int64_t stride, const WideTaps& taps, int32_t index,
                       int32_t n, int16_t* out);
  /// n pairs to two rows.
  void (*split_pairs)(const int16_t* pairs, int32_t n, int16_t* even, int16_t* odd);
  /// Horizontal pass; row[0] is sample taps.begin. taps.length samples more than taps.span may be
  /// read, whatever they hold.
  void (*resize_wide)(const int16_t* row, const WideTaps& taps, int16_t* out);
  /// Wide samples to normalised R, G, B.
  void (*yuv_to_float)(const int16_t* y, const int16_t* u, const int16_t* v, int32_t n,
                       const ColourMatrix& matrix, const Normalisation& normalisation,
                       float* const* out);
  /// Pixels of four bytes to normalised R, G, B.
  void (*rgb_to_float)(const uint8_t* pixels, int32_t n, const Normalisation& normalisation,
                       float* const* out);
};

enum class SimdLevel { kPortable, kAvx2, kAvx512, kVnni };
/// From the simplest to the best.
inline constexpr std::array kSimdLevels = {SimdLevel::kPortable, SimdLevel::kAvx2,
                                           SimdLevel::kAvx512, SimdLevel::kVnni};

/// Null where the processor or the build lacks it.
const RowKernels* row_kernels(SimdLevel level);

/// The best set that this processor has, or what use_simd_level chose.
const RowKernels& row_kernels();

/// Makes all later pre-processing use one set; for tests and measurements.
/// @return false, and changes nothing, where the processor lacks it
bool use_simd_level(SimdLevel level);

const RowKernels* portable_row_kernels();
const RowKernels* avx2_row_kernels();    ///< null where the build cannot have it
const RowKernels* avx512_row_kernels();  ///< null where the build cannot have it
const RowKernels* vnni_row_kernels();    ///< null where the build cannot have it

}  // namespace tome
