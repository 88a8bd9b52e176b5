// Products by tiles, of rows of elements with panels as the other sets pack them. Included after
// cpu_product_body.h and a definition of Tiles.
//
// Note [Products by tiles]: a panel's step is what a row of a tile is: 16 columns of pairs. Four
// tiles of sums (32 rows times one panel), two of rows and two of a panel are all there are, so
// each tile that is fetched is used twice, and the tile unit waits for the second-level cache at
// times; it is busy for 60 to 90 % of a product. Sums leave the tiles only by way of memory, and
// what happens to them there (bias, activation, rounding) is vector work, done for one block while
// the tile unit sums the next.
#pragma once

#include <algorithm>
#include <cstdint>

#include "vit/cpu_product_body.h"

namespace tome {
namespace {

constexpr int kTileRows = 16;
constexpr int kTileSteps = 16;
constexpr int kTileBytes = 64;
constexpr int kTileBlockRows = 2 * kTileRows;
constexpr int64_t kPanelBytes = kPanel * 4;

/// How tiles are multiplied: pairs of bfloat16, or fours of bytes.
struct PairTiles {
  template <int kSum, int kA, int kB>
  static inline void dot() {
    Tiles::dot<kSum, kA, kB>();
  }
};

struct ByteTiles {
  template <int kSum, int kA, int kB>
  static inline void dot() {
    Tiles::dot_bytes<kSum, kA, kB>();
  }
};

/// The calling thread's tiles, while this lives.
template <class Multiplied>
class TileUnit {
 public:
  TileUnit() = default;
  TileUnit(const TileUnit&) = delete;
  TileUnit& operator=(const TileUnit&) = delete;
  ~TileUnit() { Tiles::release(); }

  /// Up to kTileBlockRows rows `a` times a panel, to `sums` [rows, kPanel]: float32, or int32 of
  /// bytes.
  /// @param strides  in bytes
  /// @param meanwhile  called once a tile of steps: work for the vector units
  template <class Meanwhile>
  TOME_SIMD inline void sum(const char* a, int64_t a_stride, int64_t rows, const char* b,
                            int64_t steps, float* sums, int64_t stride, Meanwhile&& meanwhile) {
    const int64_t tiles = steps / kTileSteps;
    const int64_t rest = steps % kTileSteps;
    if (rest == 0 && rows > kTileRows) {
      shape(kTileRows, rows - kTileRows, 0);
      sum_two(a, a_stride, b, tiles, sums, stride, meanwhile);
      return;
    }
    for (int64_t row = 0; row < rows; row += kTileRows) {
      shape(std::min<int64_t>(kTileRows, rows - row), 0, rest);
      sum_one(a + row * a_stride, a_stride, b, tiles, rest, sums + row * stride / 4, stride,
              meanwhile);
    }
  }

 private:
  // Sums of the first and the second rows, by columns; rows; columns of the panel.
  enum { kSum00, kSum01, kSum10, kSum11, kA0, kA1, kB0, kB1 };
  // Where steps do not fill a tile, there are no second rows, and these hold the rest.
  enum { kARest = kA1, kB0Rest = kSum10, kB1Rest = kSum11 };

  /// @param rows0, rows1  of the first and the second rows
  /// @param rest  steps that do not fill a tile
  TOME_SIMD inline void shape(int64_t rows0, int64_t rows1, int64_t rest) {
    if (rows0 == rows0_ && rows1 == rows1_ && rest == rest_) return;
    rows0_ = rows0;
    rows1_ = rows1;
    rest_ = rest;
    Tiles::Shapes shapes;
    const auto set = [&shapes](int tile, int64_t rows, int64_t bytes) {
      shapes.rows[tile] = static_cast<uint8_t>(rows);
      shapes.row_bytes[tile] = static_cast<uint16_t>(bytes);
    };
    for (const int tile : {kSum00, kSum01, kA0}) set(tile, rows0, kTileBytes);
    for (const int tile : {kB0, kB1}) set(tile, kTileSteps, kTileBytes);
    if (rest > 0) {
      set(kARest, rows0, rest * 4);
      for (const int tile : {kB0Rest, kB1Rest}) set(tile, rest, kTileBytes);
    } else if (rows1 > 0) {
      for (const int tile : {kSum10, kSum11, kA1}) set(tile, rows1, kTileBytes);
    }
    Tiles::configure(shapes);
  }

  template <class Meanwhile>
  TOME_SIMD static inline void sum_two(const char* a, int64_t a_stride, const char* b,
                                       int64_t tiles, float* sums, int64_t stride,
                                       Meanwhile&& meanwhile) {
    Tiles::zero<kSum00>();
    Tiles::zero<kSum01>();
    Tiles::zero<kSum10>();
    Tiles::zero<kSum11>();
    const char* second = a + kTileRows * a_stride;
    for (int64_t tile = 0; tile < tiles; ++tile, b += kTileSteps * kPanelBytes) {
      add_pair<kA0, kB0, kB1>(a + tile * kTileBytes, a_stride, b);
      Tiles::load<kA1>(second + tile * kTileBytes, a_stride);
      Multiplied::template dot<kSum10, kA1, kB0>();
      Multiplied::template dot<kSum11, kA1, kB1>();
      meanwhile();
    }
    store_pair<kSum00, kSum01>(sums, stride);
    store_pair<kSum10, kSum11>(sums + kTileRows * stride / 4, stride);
  }

  template <class Meanwhile>
  TOME_SIMD static inline void sum_one(const char* a, int64_t a_stride, const char* b,
                                       int64_t tiles, int64_t rest, float* sums, int64_t stride,
                                       Meanwhile&& meanwhile) {
    Tiles::zero<kSum00>();
    Tiles::zero<kSum01>();
    for (int64_t tile = 0; tile < tiles; ++tile, b += kTileSteps * kPanelBytes) {
      add_pair<kA0, kB0, kB1>(a + tile * kTileBytes, a_stride, b);
      meanwhile();
    }
    if (rest > 0) {
      add_pair<kARest, kB0Rest, kB1Rest>(a + tiles * kTileBytes, a_stride, b);
    }
    store_pair<kSum00, kSum01>(sums, stride);
  }

  /// The first rows times both columns of one tile of steps.
  template <int kA, int kFirst, int kSecond>
  TOME_SIMD static inline void add_pair(const char* a, int64_t a_stride, const char* b) {
    Tiles::load<kA>(a, a_stride);
    Tiles::load<kFirst>(b, kPanelBytes);
    Multiplied::template dot<kSum00, kA, kFirst>();
    Tiles::load<kSecond>(b + kTileBytes, kPanelBytes);
    Multiplied::template dot<kSum01, kA, kSecond>();
  }

  template <int kFirst, int kSecond>
  TOME_SIMD static inline void store_pair(float* sums, int64_t stride) {
    Tiles::store<kFirst>(sums, stride);
    Tiles::store<kSecond>(sums + kWidth, stride);
  }

  int64_t rows0_ = 0, rows1_ = 0, rest_ = 0;
};

/// Sums that have left the tiles, on their way to where they go.
template <class P, Epilogue kEpilogue>
class LeavingSums {
 public:
  TOME_SIMD inline void begin(const float* sums, int64_t rows, int64_t tiles, const BlockOut& to) {
    sums_ = sums;
    rows_ = rows;
    row_ = 0;
    // Activations take as long as a tile's products; others are done before their sums leave the
    // first-level cache.
    const int64_t even = (rows + tiles - 1) / std::max<int64_t>(tiles, 1);
    at_once_ = kEpilogue == Epilogue::kAct ? even : std::max<int64_t>(even, 4);
    to_ = to;
  }
  /// A tile's share of them.
  TOME_SIMD inline void some() { until(std::min(rows_, row_ + at_once_)); }
  TOME_SIMD inline void rest() { until(rows_); }

 private:
  TOME_SIMD inline void until(int64_t end) {
    for (; row_ < end; ++row_) {
      const float* sums = sums_ + row_ * kPanel;
      finish_row<P, kEpilogue>(P::load(sums), P::load(sums + kWidth), to_, row_);
    }
  }

  const float* sums_ = nullptr;
  int64_t rows_ = 0, row_ = 0, at_once_ = 0;
  BlockOut to_{};
};

/// A panel on its way to the second-level cache, which has to come from memory while others are
/// multiplied: without it, cold weights hold up a product of 197 rows by a fifth.
class ComingPanel {
 public:
  /// @param panel  its tiles of steps that are wanted, or null
  /// @param blocks  of rows, in whose time they have to come
  void begin(const char* panel, int64_t tiles, int64_t blocks) {
    at_ = panel;
    end_ = panel == nullptr ? nullptr : panel + tiles * kTileSteps * kPanelBytes;
    at_once_ = (kTileSteps * kPanelBytes + blocks - 1) / blocks;
  }
  /// A tile's share of them.
  void some() {
    for (const char* end = at_ + std::min(end_ - at_, at_once_); at_ < end; at_ += kLine) {
      __builtin_prefetch(at_, 0, 2);
    }
  }

 private:
  static constexpr int64_t kLine = 64;
  const char *at_ = nullptr, *end_ = nullptr;
  int64_t at_once_ = 0;  ///< bytes
};

/// As `product` in cpu_product_body.h.
template <class P, class Multiplied, Epilogue kEpilogue>
TOME_SIMD void tile_product_as(const ProductArgs& args, int64_t first, int64_t last) {
  constexpr bool kParts = kEpilogue == Epilogue::kAdd;
  constexpr int64_t kColumnBytes = kPanel * out_bytes<typename P::Element>(kEpilogue);
  const int64_t parts = kParts ? (args.steps + kMostPartSteps - 1) / kMostPartSteps : 1;
  alignas(64) float sums[2][kTileBlockRows * kPanel];
  int turn = 0;
  TileUnit<Multiplied> unit;
  LeavingSums<P, kEpilogue> leaving;
  ComingPanel coming;
  const int64_t panels = (args.columns + kPanel - 1) / kPanel;
  const int64_t blocks = (args.rows + kTileBlockRows - 1) / kTileBlockRows;
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t step0 = args.steps * part / parts / kTileSteps * kTileSteps;
    const int64_t step1 =
        part + 1 < parts ? args.steps * (part + 1) / parts / kTileSteps * kTileSteps : args.steps;
    for (int64_t panel = first; panel < last; ++panel) {
      const char* b = static_cast<const char*>(args.b) + (panel * args.steps + step0) * kPanelBytes;
      BlockOut to = panel_out(args, panel, part == 0);
      const bool more = panel + 1 < panels && !args.resident;
      coming.begin(more ? b + args.steps * kPanelBytes : nullptr, (step1 - step0) / kTileSteps,
                   blocks);
      for (int64_t row = 0; row < args.rows; row += kTileBlockRows) {
        const int64_t rows = std::min<int64_t>(kTileBlockRows, args.rows - row);
        const char* a = static_cast<const char*>(args.a) + row * args.a_stride + step0 * 4;
        unit.sum(a, args.a_stride, rows, b, step1 - step0, sums[turn], kPanelBytes,
                 [&]() TOME_SIMD {
                   coming.some();
                   leaving.some();
                 });
        leaving.rest();
        to.out = static_cast<char*>(args.out) + row * args.out_stride + panel * kColumnBytes;
        to.byte_rows = byte_rows_from(args, row);
        leaving.begin(sums[turn], rows, (step1 - step0) / kTileSteps, to);
        turn ^= 1;
      }
    }
  }
  leaving.rest();
}

template <class P, class Multiplied>
void tile_product(const ProductArgs& args, int64_t first, int64_t last) {
  switch (args.epilogue) {
    case Epilogue::kStore:
      return tile_product_as<P, Multiplied, Epilogue::kStore>(args, first, last);
    case Epilogue::kAct:
      return tile_product_as<P, Multiplied, Epilogue::kAct>(args, first, last);
    case Epilogue::kAdd:
      return tile_product_as<P, Multiplied, Epilogue::kAdd>(args, first, last);
    case Epilogue::kFloat:
      return tile_product_as<P, Multiplied, Epilogue::kFloat>(args, first, last);
  }
}

}  // namespace
}  // namespace tome
