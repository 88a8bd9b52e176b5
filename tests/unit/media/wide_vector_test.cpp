// The vertical passes with vectors of 64 bytes, on any processor: the source that AVX-512 uses,
// over a model of its instructions (four lanes of 16 bytes, as Intel's manual defines them).
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <limits>

#include "media/row_kernels.h"
#include "media_test_util.h"

#define TOME_SIMD

namespace tome {
namespace {

struct Vec {
  struct Int {
    std::array<uint8_t, 64> bytes;
  };
  static constexpr int32_t kBytes = 64;

  template <typename T>
  static T get(const Int& v, int index) {
    T value;
    std::memcpy(&value, v.bytes.data() + index * sizeof(T), sizeof(T));
    return value;
  }
  template <typename T>
  static void put(Int& v, int index, T value) {
    std::memcpy(v.bytes.data() + index * sizeof(T), &value, sizeof(T));
  }
  template <typename F>
  static Int each32(F f) {
    Int out;
    for (int i = 0; i < 16; ++i) put<int32_t>(out, i, f(i));
    return out;
  }

  static Int load(const void* at) {
    Int out;
    std::memcpy(out.bytes.data(), at, kBytes);
    return out;
  }
  static void store(void* at, const Int& v) { std::memcpy(at, v.bytes.data(), kBytes); }
  static Int set(int32_t v) {
    return each32([v](int) { return v; });
  }
  static Int add32(const Int& a, const Int& b) {
    return each32([&](int i) { return get<int32_t>(a, i) + get<int32_t>(b, i); });
  }
  static Int multiply_add(const Int& a, const Int& b) {
    return each32([&](int i) {
      return get<int16_t>(a, 2 * i) * get<int16_t>(b, 2 * i) +
             get<int16_t>(a, 2 * i + 1) * get<int16_t>(b, 2 * i + 1);
    });
  }
  // Half (0: low, 1: high) of each lane of a and b, alternately.
  template <typename T>
  static Int unpack(const Int& a, const Int& b, int half) {
    constexpr int kLane = 16 / sizeof(T);
    Int out;
    for (int i = 0; i < 4 * kLane; ++i) {
      const int from = i / kLane * kLane + half * kLane / 2 + i % kLane / 2;
      put<T>(out, i, get<T>(i % 2 == 0 ? a : b, from));
    }
    return out;
  }
  static Int unpack_low8(const Int& a, const Int& b) { return unpack<uint8_t>(a, b, 0); }
  static Int unpack_high8(const Int& a, const Int& b) { return unpack<uint8_t>(a, b, 1); }
  static Int unpack_low16(const Int& a, const Int& b) { return unpack<int16_t>(a, b, 0); }
  static Int unpack_high16(const Int& a, const Int& b) { return unpack<int16_t>(a, b, 1); }
  // Each lane: a's numbers of that lane, then b's, saturated to the narrower type.
  template <typename From, typename To>
  static Int pack(const Int& a, const Int& b) {
    constexpr int kLane = 16 / sizeof(To);
    Int out;
    for (int i = 0; i < 4 * kLane; ++i) {
      const int place = i % kLane;
      const From value =
          get<From>(place < kLane / 2 ? a : b, i / kLane * kLane / 2 + place % (kLane / 2));
      put<To>(out, i,
              static_cast<To>(std::clamp<int32_t>(value, std::numeric_limits<To>::min(),
                                                  std::numeric_limits<To>::max())));
    }
    return out;
  }
  static Int pack32(const Int& a, const Int& b) { return pack<int32_t, int16_t>(a, b); }
  static Int pack_unsigned16(const Int& a, const Int& b) { return pack<int16_t, uint8_t>(a, b); }
  template <int kBits>
  static Int shift_left32(const Int& v) {
    return each32([&](int i) { return static_cast<int32_t>(get<uint32_t>(v, i) << kBits); });
  }
  template <int kBits>
  static Int shift_right32(const Int& v) {
    return each32([&](int i) { return get<int32_t>(v, i) >> kBits; });
  }
  template <int kBits>
  static Int shift_right16(const Int& v) {
    Int out;
    for (int i = 0; i < 32; ++i) {
      put<uint16_t>(out, i, static_cast<uint16_t>(get<uint16_t>(v, i) >> kBits));
    }
    return out;
  }
  static void store_lanes_interleaved(int16_t* at, const Int& a, const Int& b) {
    for (int lane = 0; lane < 4; ++lane) {
      std::memcpy(at + lane * 16, a.bytes.data() + lane * 16, 16);
      std::memcpy(at + lane * 16 + 8, b.bytes.data() + lane * 16, 16);
    }
  }
};

}  // namespace
}  // namespace tome

#include "media/row_kernels_blend.h"

namespace tome {
namespace {

constexpr int kRows = 40, kStride = 700;

std::vector<uint8_t> noise_rows() {
  std::vector<uint8_t> rows(kRows * kStride);
  testing::Noise noise(5);
  std::generate(rows.begin(), rows.end(), noise);
  return rows;
}

FilterAxis axis(int outputs) { return {kRows, 0.0, double{kRows}, outputs, 0, outputs}; }

TEST(WideVectors, VerticalPassesEqualThePortableOnes) {
  const std::vector<uint8_t> rows = noise_rows();
  const RowKernels& portable = *portable_row_kernels();
  for (const int outputs : {7, 40, 61}) {
    const WideTaps wide = wide_taps(axis(outputs), Interpolation::kBicubic, true);
    const ExactTaps exact = exact_taps(axis(outputs), Interpolation::kLanczos, true);
    for (const int n : {1, 31, 32, 63, 64, 65, 200, 350}) {
      for (int i = 0; i < outputs; ++i) {
        std::vector<int16_t> expected(n), found(n);
        portable.blend_wide8(rows.data(), kStride, wide, i, n, expected.data());
        blend_wide8(rows.data(), kStride, wide, i, n, found.data());
        ASSERT_EQ(found, expected) << "8 bits, output " << i << " of " << outputs << ", n " << n;
        portable.blend_wide10(rows.data(), kStride, wide, i, n, expected.data());
        blend_wide10(rows.data(), kStride, wide, i, n, found.data());
        ASSERT_EQ(found, expected) << "10 bits, output " << i << " of " << outputs << ", n " << n;

        std::vector<const uint8_t*> pointers;
        for (int t = 0; t < exact.used[i]; ++t) {
          pointers.push_back(rows.data() + (exact.first[i] + t) * kStride);
        }
        std::vector<uint8_t> expected_bytes(n), found_bytes(n);
        portable.blend_exact(pointers.data(), exact, i, n, expected_bytes.data());
        blend_exact(pointers.data(), exact, i, n, found_bytes.data());
        ASSERT_EQ(found_bytes, expected_bytes) << "output " << i << " of " << outputs;
      }
    }
  }
}

}  // namespace
}  // namespace tome
