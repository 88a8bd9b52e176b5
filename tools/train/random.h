// A small seeded generator whose numbers are the same on every platform and standard library.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

namespace tome::train {

/// SplitMix64 (Steele, Lea, Flood 2014). The distributions of <random> differ between standard
/// libraries; these do not, so a seed names the same clip everywhere.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  /// Mixes several numbers into one seed.
  static uint64_t mix(uint64_t a, uint64_t b, uint64_t c = 0) {
    Random random(a);
    random.state_ ^= Random(b + 0x51ed270b).next();
    random.state_ += Random(c + 0x2545f491).next();
    return random.next();
  }

  uint64_t next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
  /// Uniform in [0, 1).
  double unit() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
  double uniform(double low, double high) { return low + (high - low) * unit(); }
  /// Uniform in the logarithm; both bounds > 0.
  double log_uniform(double low, double high) {
    return std::exp(uniform(std::log(low), std::log(high)));
  }
  /// Uniform in 0 .. count - 1; count > 0.
  int64_t index(int64_t count) {
    return static_cast<int64_t>(next() % static_cast<uint64_t>(count));
  }
  bool chance(double probability) { return unit() < probability; }
  double sign() { return chance(0.5) ? 1 : -1; }
  double normal() {
    const double radius = std::sqrt(-2 * std::log(1 - unit()));
    return radius * std::cos(2 * std::numbers::pi * unit());
  }

 private:
  uint64_t state_;
};

}  // namespace tome::train
