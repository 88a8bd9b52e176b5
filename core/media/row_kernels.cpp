// The portable inner loops, and the choice between the sets. What they compute is defined here; the
// other sets are checked against these.
#include "media/row_kernels.h"

#include <algorithm>
#include <atomic>
#include <cstring>

namespace tome {
namespace {

constexpr int32_t kBlock = 64;  // outputs summed at a time, in registers or the innermost cache
constexpr int32_t kExactHalf = 1 << (ExactTaps::kFractionBits - 1);

uint8_t to_byte(int32_t sum) {
  return static_cast<uint8_t>(std::clamp(sum >> ExactTaps::kFractionBits, 0, 255));
}

int16_t to_wide(int32_t sum, int shift) {
  return static_cast<int16_t>(
      std::clamp((sum + (1 << (shift - 1))) >> shift, INT16_MIN, INT16_MAX));
}

void resize_rgb(const uint8_t* const* rows, const RgbSource& source, const ExactTaps& taps,
                uint8_t* const* out) {
  for (int row = 0; row < kRgbRows; ++row) {
    for (int32_t i = 0; i < taps.count; ++i) {
      const uint8_t* pixel = rows[row] + int64_t{taps.first[i]} * source.pixel_bytes;
      const int32_t* weight = taps.weights.data() + int64_t{i} * taps.length;
      int32_t r = kExactHalf, g = kExactHalf, b = kExactHalf;
      for (int32_t t = 0; t < taps.used[i]; ++t, pixel += source.pixel_bytes) {
        r += pixel[source.offsets[0]] * weight[t];
        g += pixel[source.offsets[1]] * weight[t];
        b += pixel[source.offsets[2]] * weight[t];
      }
      uint8_t* to = out[row] + i * 4;
      to[0] = to_byte(r), to[1] = to_byte(g), to[2] = to_byte(b), to[3] = 0;
    }
  }
}

void blend_exact(const uint8_t* const* rows, const ExactTaps& taps, int32_t index, int32_t n,
                 uint8_t* out) {
  const int32_t* weight = taps.weights.data() + int64_t{index} * taps.length;
  for (int32_t x = 0; x < n; x += kBlock) {
    const int32_t block = std::min(kBlock, n - x);
    int32_t sum[kBlock];
    std::fill_n(sum, block, kExactHalf);
    for (int32_t t = 0; t < taps.used[index]; ++t) {
      const uint8_t* row = rows[t] + x;
      for (int32_t k = 0; k < block; ++k) sum[k] += row[k] * weight[t];
    }
    for (int32_t k = 0; k < block; ++k) out[x + k] = to_byte(sum[k]);
  }
}

template <typename Load>
void blend_wide(int64_t stride, const WideTaps& taps, int32_t index, int32_t n, int shift,
                int16_t* out, Load load) {
  const int16_t* weight = taps.weights.data() + int64_t{index} * taps.length;
  const int64_t top = taps.first[index] * stride;
  for (int32_t x = 0; x < n; x += kBlock) {
    const int32_t block = std::min(kBlock, n - x);
    int32_t sum[kBlock] = {};
    for (int32_t t = 0; t < taps.used[index]; ++t) {
      for (int32_t k = 0; k < block; ++k) sum[k] += load(top + t * stride, x + k) * weight[t];
    }
    for (int32_t k = 0; k < block; ++k) out[x + k] = to_wide(sum[k], shift);
  }
}

void blend_wide8(const uint8_t* rows, int64_t stride, const WideTaps& taps, int32_t index,
                 int32_t n, int16_t* out) {
  constexpr int shift = WideTaps::kFractionBits - kWideFractionBits;
  blend_wide(stride, taps, index, n, shift, out,
             [rows](int64_t row, int32_t x) -> int32_t { return rows[row + x]; });
}

void blend_wide10(const uint8_t* rows, int64_t stride, const WideTaps& taps, int32_t index,
                  int32_t n, int16_t* out) {
  constexpr int shift = WideTaps::kFractionBits - kWideFractionBits + 2;
  blend_wide(stride, taps, index, n, shift, out, [rows](int64_t row, int32_t x) -> int32_t {
    const uint8_t* at = rows + row + int64_t{x} * 2;
    return (at[0] | at[1] << 8) >> 6;
  });
}

void split_pairs(const int16_t* pairs, int32_t n, int16_t* even, int16_t* odd) {
  for (int32_t i = 0; i < n; ++i) {
    even[i] = pairs[2 * i];
    odd[i] = pairs[2 * i + 1];
  }
}

void resize_wide(const int16_t* row, const WideTaps& taps, int16_t* out) {
  for (int32_t i = 0; i < taps.count; ++i) {
    const int16_t* sample = row + taps.first[i];
    const int16_t* weight = taps.weights.data() + int64_t{i} * taps.length;
    int32_t sum = 0;
    for (int32_t t = 0; t < taps.used[i]; ++t) sum += sample[t] * weight[t];
    out[i] = to_wide(sum, WideTaps::kFractionBits);
  }
}

float normalise(float value, const Normalisation& by, int channel) {
  return (value - by.mean[channel]) * by.scale[channel];
}

void yuv_to_float(const int16_t* y, const int16_t* u, const int16_t* v, int32_t n,
                  const ColourMatrix& matrix, const Normalisation& normalisation,
                  float* const* out) {
  for (int32_t i = 0; i < n; ++i) {
    const float luma = matrix.luma * static_cast<float>(y[i] - matrix.black);
    const auto cb = static_cast<float>(u[i] - matrix.centre);
    const auto cr = static_cast<float>(v[i] - matrix.centre);
    const float rgb[3] = {luma + matrix.red_v * cr,
                          (luma + matrix.green_u * cb) + matrix.green_v * cr,
                          luma + matrix.blue_u * cb};
    for (int c = 0; c < 3; ++c) {
      out[c][i] = normalise(std::clamp(rgb[c], 0.0F, 255.0F), normalisation, c);
    }
  }
}

void rgb_to_float(const uint8_t* pixels, int32_t n, const Normalisation& normalisation,
                  float* const* out) {
  for (int32_t i = 0; i < n; ++i) {
    for (int c = 0; c < 3; ++c) {
      out[c][i] = normalise(static_cast<float>(pixels[4 * i + c]), normalisation, c);
    }
  }
}

constexpr RowKernels kPortable = {"portable",  resize_rgb,  blend_exact,  blend_wide8, blend_wide10,
                                  split_pairs, resize_wide, yuv_to_float, rgb_to_float};

std::atomic<const RowKernels*> chosen{nullptr};

const RowKernels* best_row_kernels() {
  const RowKernels* best = &kPortable;
  for (SimdLevel level : kSimdLevels) {
    if (const RowKernels* kernels = row_kernels(level)) best = kernels;
  }
  return best;
}

}  // namespace

const RowKernels* portable_row_kernels() { return &kPortable; }

const RowKernels* row_kernels(SimdLevel level) {
#if defined(__x86_64__)
  if (level == SimdLevel::kAvx2 && __builtin_cpu_supports("avx2")) return avx2_row_kernels();
  const bool avx512 = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  if (level == SimdLevel::kAvx512 && avx512) return avx512_row_kernels();
  if (level == SimdLevel::kVnni && avx512 && __builtin_cpu_supports("avx512vnni")) {
    return vnni_row_kernels();
  }
#endif
  return level == SimdLevel::kPortable ? &kPortable : nullptr;
}

const RowKernels& row_kernels() {
  if (const RowKernels* kernels = chosen.load(std::memory_order_acquire)) return *kernels;
  static const RowKernels* const best = best_row_kernels();
  return *best;
}

bool use_simd_level(SimdLevel level) {
  const RowKernels* kernels = row_kernels(level);
  if (kernels != nullptr) chosen.store(kernels, std::memory_order_release);
  return kernels != nullptr;
}

}  // namespace tome
