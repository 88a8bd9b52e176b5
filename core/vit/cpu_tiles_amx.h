// The tile registers of AMX (Intel 64 manual, volume 1, chapter 18): eight, each of up to sixteen
// rows of 64 bytes. In instructions rather than intrinsics, whose macros want the registers'
// numbers as literals.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tome {
namespace {

struct Tiles {
  /// What LDTILECFG reads.
  struct alignas(64) Shapes {
    uint8_t palette = 1, start_row = 0;
    uint8_t reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
  };
  static_assert(sizeof(Shapes) == 64 && offsetof(Shapes, row_bytes) == 16 &&
                offsetof(Shapes, rows) == 48);

  /// Sets all tiles to zero.
  static inline void configure(const Shapes& shapes) { asm volatile("ldtilecfg %0" ::"m"(shapes)); }
  /// The thread's tiles are no state to be saved any more.
  static inline void release() { asm volatile("tilerelease"); }

  template <int kTile>
  static inline void zero() {
    asm volatile("tilezero %%tmm%c0" ::"i"(kTile));
  }
  template <int kTile>
  static inline void load(const void* from, int64_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(kTile) : "memory");
  }
  template <int kTile>
  static inline void store(float* to, int64_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(kTile) : "memory");
  }
  /// sum[i][j] += a[i][2k] b[k][2j] + a[i][2k + 1] b[k][2j + 1], over k
  template <int kSum, int kA, int kB>
  static inline void dot() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSum), "i"(kA), "i"(kB));
  }
  /// sum[i][j] += a[i][4k + l] b[k][4j + l], over k and l, of a's unsigned and b's signed bytes
  template <int kSum, int kA, int kB>
  static inline void dot_bytes() {
    asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSum), "i"(kA), "i"(kB));
  }
};

}  // namespace
}  // namespace tome
