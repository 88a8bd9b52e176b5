// The kernels of AMX, as shipped, on tiles in memory that follow the manual (Intel 64 manual,
// volume 2: LDTILECFG, TILELOADD, TILESTORED, TDPBF16PS, TDPBUSD): shapes are those that were
// configured, rows and bytes beyond them are zeros, and shapes that do not go together end the
// program, as they do in a processor.
#include <array>
#include <cstdlib>
#include <cstring>

#include "cpu_sets.h"

#if defined(__x86_64__)

#include "vit/cpu_avx512_bf16_vnni.h"

namespace tome {
namespace {

struct Tiles {
  static constexpr int kCount = 8;
  static constexpr int kMostRows = 16, kMostBytes = 64;

  struct Shapes {
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
  };

  static void configure(const Shapes& shapes) {
    for (int tile = 0; tile < kCount; ++tile) {
      check(shapes.rows[tile] <= kMostRows && shapes.row_bytes[tile] <= kMostBytes);
      check((shapes.rows[tile] == 0) == (shapes.row_bytes[tile] == 0));
    }
    state() = {shapes, true, {}};
  }
  static void release() { state() = {}; }
  static bool configured() { return state().configured; }

  template <int kTile>
  static void zero() {
    check_used<kTile>();
    state().tiles[kTile] = {};
  }
  template <int kTile>
  static void load(const void* from, int64_t stride) {
    check_used<kTile>();
    state().tiles[kTile] = {};
    for (int row = 0; row < rows<kTile>(); ++row) {
      std::memcpy(state().tiles[kTile][row].data(), static_cast<const char*>(from) + row * stride,
                  state().shapes.row_bytes[kTile]);
    }
  }
  template <int kTile>
  static void store(float* to, int64_t stride) {
    check_used<kTile>();
    for (int row = 0; row < rows<kTile>(); ++row) {
      std::memcpy(reinterpret_cast<char*>(to) + row * stride, state().tiles[kTile][row].data(),
                  state().shapes.row_bytes[kTile]);
    }
  }
  template <int kSum, int kA, int kB>
  static void dot() {
    add_products<float, kSum, kA, kB, 2>(
        [](int row, int i, int k, int j) { return widened<kA>(row, i) * widened<kB>(k, j); });
  }
  template <int kSum, int kA, int kB>
  static void dot_bytes() {
    add_products<int32_t, kSum, kA, kB, 4>([](int row, int i, int k, int j) {
      return int32_t{at<uint8_t, kA>(row, i)} * int32_t{at<int8_t, kB>(k, j)};
    });
  }

 private:
  /// Sums of `product` over the numbers of a's row and b's column, of which kPer are in a step.
  template <typename Sum, int kSum, int kA, int kB, int kPer, class Product>
  static void add_products(Product&& product) {
    static_assert(kSum != kA && kSum != kB && kA != kB);
    const Shapes& shapes = state().shapes;
    check_used<kSum>();
    check(shapes.rows[kSum] == shapes.rows[kA] && shapes.row_bytes[kSum] == shapes.row_bytes[kB] &&
          shapes.row_bytes[kA] == 4 * shapes.rows[kB]);
    for (int row = 0; row < rows<kSum>(); ++row) {
      for (int column = 0; column < shapes.row_bytes[kSum] / 4; ++column) {
        Sum sum = at<Sum, kSum>(row, column);
        for (int k = 0; k < rows<kB>(); ++k) {
          for (int i = 0; i < kPer; ++i) sum += product(row, kPer * k + i, k, kPer * column + i);
        }
        std::memcpy(state().tiles[kSum][row].data() + 4 * column, &sum, 4);
      }
    }
  }

  using Tile = std::array<std::array<char, kMostBytes>, kMostRows>;
  struct State {
    Shapes shapes;
    bool configured = false;
    std::array<Tile, kCount> tiles;
  };
  static State& state() {
    thread_local State state{};
    return state;
  }
  static void check(bool good) {
    if (!good) std::abort();
  }
  template <int kTile>
  static void check_used() {
    check(state().configured && state().shapes.rows[kTile] > 0);
  }
  template <int kTile>
  static int rows() {
    return state().shapes.rows[kTile];
  }
  template <typename T, int kTile>
  static T at(int row, int place) {
    T value;
    std::memcpy(&value, state().tiles[kTile][row].data() + place * sizeof(T), sizeof(T));
    return value;
  }
  template <int kTile>
  static float widened(int row, int place) {
    const uint32_t bits = uint32_t{at<uint16_t, kTile>(row, place)} << 16;
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
  }
};

}  // namespace
}  // namespace tome

// Before what is written with it.
// clang-format off
#include "vit/cpu_tile_bytes_body.h"
#include "vit/cpu_tile_kernels_body.h"
// clang-format on

namespace tome::testing {

const CpuKernels* emulated_tile_kernels() {
  const CpuKernels* vectors = cpu_kernels(CpuSet::kAvx512Bf16);
  if (vectors == nullptr || vectors->bytes == nullptr) return nullptr;
  static const ByteKernels bytes = tile_byte_kernels_of<Bf16Element>();
  static const CpuKernels kernels = tile_kernels_of<Bf16Element>("emulated tiles", &bytes);
  return &kernels;
}

bool holds_emulated_tiles() { return Tiles::configured(); }

}  // namespace tome::testing

#else

namespace tome::testing {
const CpuKernels* emulated_tile_kernels() { return nullptr; }
bool holds_emulated_tiles() { return false; }
}  // namespace tome::testing

#endif
