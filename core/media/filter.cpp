#include "media/filter.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace tome {
namespace {

// Weights in double precision; output i has weights[i] over samples first[i], first[i] + 1, …
struct Weights {
  std::vector<int64_t> first;
  std::vector<std::vector<double>> weights;
};

double triangle(double x) { return std::max(0.0, 1.0 - std::abs(x)); }

// Keys' cubic. PIL has a = -0.5; a resize without antialias is torch's, which has a = -0.75.
template <bool antialias>
double cubic(double x) {
  constexpr double a = antialias ? -0.5 : -0.75;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
  if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
  return 0.0;
}

double sinc(double x) {
  if (x == 0.0) return 1.0;
  x *= std::numbers::pi;
  return std::sin(x) / x;
}

double lanczos(double x) { return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3.0) : 0.0; }

struct Kernel {
  double (*at)(double);
  double support;
};

Kernel kernel_of(Interpolation interpolation, bool antialias) {
  switch (interpolation) {
    case Interpolation::kBicubic:
      return {antialias ? cubic<true> : cubic<false>, 2.0};
    case Interpolation::kLanczos:
      return {lanczos, 3.0};
    default:
      return {triangle, 1.0};
  }
}

void normalise(std::vector<double>& weights) {
  double sum = 0.0;
  for (double w : weights) sum += w;
  if (sum == 0.0) return;
  for (double& w : weights) w /= sum;
}

// PIL's precompute_coeffs (Resample.c), operation by operation: the weights must round alike.
Weights antialiased(const FilterAxis& axis, Kernel kernel) {
  const double scale = axis.extent / static_cast<double>(axis.resized);
  const double filter_scale = std::max(scale, 1.0);
  const double support = kernel.support * filter_scale;
  const double inverse = 1.0 / filter_scale;
  Weights result;
  for (int32_t i = 0; i < axis.count; ++i) {
    const double centre = axis.origin + (static_cast<double>(axis.first + i) + 0.5) * scale;
    const int64_t low = std::max<int64_t>(0, static_cast<int64_t>(centre - support + 0.5));
    const int64_t high = std::min(axis.samples, static_cast<int64_t>(centre + support + 0.5));
    std::vector<double> weights;
    for (int64_t x = 0; x < high - low; ++x) {
      weights.push_back(kernel.at((static_cast<double>(x + low) - centre + 0.5) * inverse));
    }
    normalise(weights);
    result.first.push_back(low);
    result.weights.push_back(std::move(weights));
  }
  return result;
}

// torch.nn.functional.interpolate(align_corners=False, antialias=False): the kernel is not widened,
// and the samples at the border stand for all beyond it.
Weights plain(const FilterAxis& axis, Kernel kernel) {
  const double scale = axis.extent / static_cast<double>(axis.resized);
  const auto reach = static_cast<int64_t>(kernel.support);
  Weights result;
  for (int32_t i = 0; i < axis.count; ++i) {
    const double at = axis.origin + (static_cast<double>(axis.first + i) + 0.5) * scale - 0.5;
    const auto base = static_cast<int64_t>(std::floor(at));
    const auto clamped = [&](int64_t x) { return std::clamp<int64_t>(x, 0, axis.samples - 1); };
    const int64_t low = clamped(base - reach + 1);
    std::vector<double> weights(clamped(base + reach) - low + 1, 0.0);
    for (int64_t x = base - reach + 1; x <= base + reach; ++x) {
      weights[clamped(x) - low] += kernel.at(static_cast<double>(x) - at);
    }
    normalise(weights);
    result.first.push_back(low);
    result.weights.push_back(std::move(weights));
  }
  return result;
}

Weights weights_of(const FilterAxis& axis, Interpolation interpolation, bool antialias) {
  if (interpolation == Interpolation::kNearest) {
    Weights result;
    result.first = nearest_samples(axis);
    result.weights.assign(axis.count, {1.0});
    return result;
  }
  const Kernel kernel = kernel_of(interpolation, antialias);
  return antialias ? antialiased(axis, kernel) : plain(axis, kernel);
}

// PIL's normalize_coeffs_8bpc: halves away from zero.
int32_t to_fixed(double weight, int bits) {
  return static_cast<int32_t>(weight * (1 << bits) + (weight < 0 ? -0.5 : 0.5));
}

// Weights whose sum is exactly one, so that a constant picture stays what it is.
std::vector<int32_t> to_fixed_sum(const std::vector<double>& weights, int bits) {
  std::vector<int32_t> fixed;
  int32_t sum = 0;
  for (double w : weights) {
    fixed.push_back(to_fixed(w, bits));
    sum += fixed.back();
  }
  if (!fixed.empty()) *std::max_element(fixed.begin(), fixed.end()) += (1 << bits) - sum;
  return fixed;
}

// Drops the zeros at both ends: they change nothing and would be multiplied for every row.
void trim(int64_t& first, std::vector<int32_t>& fixed) {
  while (fixed.size() > 1 && fixed.back() == 0) fixed.pop_back();
  size_t zeros = 0;
  while (zeros + 1 < fixed.size() && fixed[zeros] == 0) ++zeros;
  fixed.erase(fixed.begin(), fixed.begin() + static_cast<std::ptrdiff_t>(zeros));
  first += static_cast<int64_t>(zeros);
}

// Where a picture is enlarged, an output that lies on a sample has nothing but zeros beside it, and
// would begin behind the output after it. Gives back as many as it takes for `first` never to fall.
void keep_in_order(std::vector<int64_t>& first, std::vector<std::vector<int32_t>>& fixed) {
  for (size_t i = fixed.size(); i-- > 1;) {
    const int64_t early = first[i - 1] - first[i];
    if (early <= 0) continue;
    fixed[i - 1].insert(fixed[i - 1].begin(), static_cast<size_t>(early), 0);
    first[i - 1] = first[i];
  }
}

// Fills everything but the weights.
void lay_out(Taps& taps, std::vector<int64_t>& first, std::vector<std::vector<int32_t>>& fixed,
             int group) {
  taps.count = static_cast<int32_t>(fixed.size());
  int64_t begin = INT64_MAX, end = 0;
  for (size_t i = 0; i < fixed.size(); ++i) trim(first[i], fixed[i]);
  keep_in_order(first, fixed);
  for (size_t i = 0; i < fixed.size(); ++i) {
    const auto used = static_cast<int32_t>(fixed[i].size());
    taps.used.push_back(used);
    taps.length = std::max(taps.length, (used + group - 1) / group * group);
    begin = std::min(begin, first[i]);
    end = std::max(end, first[i] + used);
  }
  taps.begin = begin;
  taps.span = static_cast<int32_t>(end - begin);
  for (int64_t f : first) taps.first.push_back(static_cast<int32_t>(f - begin));
}

WideTaps wide_from(std::vector<int64_t> first, std::vector<std::vector<int32_t>> fixed) {
  WideTaps taps;
  lay_out(taps, first, fixed, WideTaps::kGroup);
  taps.weights.assign(static_cast<size_t>(taps.count) * taps.length, 0);
  for (size_t i = 0; i < fixed.size(); ++i) {
    std::transform(fixed[i].begin(), fixed[i].end(), taps.weights.begin() + i * taps.length,
                   [](int32_t w) { return static_cast<int16_t>(std::clamp(w, -32768, 32767)); });
  }
  return taps;
}

}  // namespace

ExactTaps exact_taps(const FilterAxis& axis, Interpolation interpolation, bool antialias) {
  Weights weights = weights_of(axis, interpolation, antialias);
  std::vector<std::vector<int32_t>> fixed;
  for (const auto& w : weights.weights) {
    fixed.emplace_back();
    for (double v : w) fixed.back().push_back(to_fixed(v, ExactTaps::kFractionBits));
  }
  ExactTaps taps;
  lay_out(taps, weights.first, fixed, ExactTaps::kGroup);
  const auto length = static_cast<size_t>(taps.length);
  taps.weights.assign(taps.count * length, 0);
  taps.halves.assign(taps.count * length * 2, 0);
  taps.digits.assign(taps.count * length * ExactTaps::kDigits, 0);
  for (size_t i = 0; i < fixed.size(); ++i) {
    for (size_t t = 0; t < fixed[i].size(); ++t) {
      const int32_t w = fixed[i][t];
      int16_t* group = taps.halves.data() + (i * length + t / 4 * 4) * 2;
      taps.weights[i * length + t] = w;
      group[t % 4] = static_cast<int16_t>(w >> 8);
      group[4 + t % 4] = static_cast<int16_t>(w & 255);
      int8_t* digits = taps.digits.data() + (i * length + t / 4 * 4) * ExactTaps::kDigits + t % 4;
      int32_t rest = w;
      for (int d = ExactTaps::kDigits - 1; d >= 0; --d) {
        const auto digit = static_cast<int8_t>(rest & 255);
        digits[4 * d] = digit;
        rest = (rest - digit) / 256;
      }
    }
  }
  return taps;
}

WideTaps wide_taps(const FilterAxis& axis, Interpolation interpolation, bool antialias) {
  Weights weights = weights_of(axis, interpolation, antialias);
  std::vector<std::vector<int32_t>> fixed;
  for (const auto& w : weights.weights) {
    fixed.push_back(to_fixed_sum(w, WideTaps::kFractionBits));
  }
  return wide_from(std::move(weights.first), std::move(fixed));
}

WideTaps picking_taps(const std::vector<int64_t>& indices) {
  return wide_from(
      indices, std::vector<std::vector<int32_t>>(indices.size(), {1 << WideTaps::kFractionBits}));
}

std::vector<int64_t> nearest_samples(const FilterAxis& axis) {
  // PIL steps from pixel to pixel, so rounding errors add up; a product would pick other pixels. A
  // line shown as a long strip would be minutes of steps to its middle, though, so there it does.
  constexpr int64_t kMostSteps = 1 << 20;
  const double scale = axis.extent / static_cast<double>(axis.resized);
  const int64_t begin = axis.first > kMostSteps ? axis.first : 0;
  double at = axis.origin + scale * (static_cast<double>(begin) + 0.5);
  std::vector<int64_t> samples;
  for (int64_t i = begin; i < axis.first + axis.count; ++i, at += scale) {
    if (i < axis.first) continue;
    samples.push_back(std::clamp<int64_t>(static_cast<int64_t>(at), 0, axis.samples - 1));
  }
  return samples;
}

}  // namespace tome
