// The tensor cores' operations on the host, in the lane layouts of the PTX manual.
#include <algorithm>
#include <limits>

#include "cuda/host_block.h"

namespace tome::cuda {

template <class T>
void HostContext::tile_mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) const {
  struct Fragments {
    float* d;
    const uint32_t* a;
    const uint32_t* b;
  } mine{d, a, b};
  warp_operation("tile_mma", &mine, [](void* const* lanes) {
    float left[16][16], right[16][8], sum[8];
    for (int i = 0; i < kWarpSize; ++i) {
      const auto* lane = static_cast<const Fragments*>(lanes[i]);
      const int g = i / 4, t = i % 4;
      for (int part = 0; part < 4; ++part) {
        float* out = &left[g + part % 2 * 8][2 * t + part / 2 * 8];
        out[0] = unpack_low<T>(lane->a[part]);
        out[1] = unpack_high<T>(lane->a[part]);
      }
      for (int part = 0; part < 2; ++part) {
        right[2 * t + 8 * part][g] = unpack_low<T>(lane->b[part]);
        right[2 * t + 8 * part + 1][g] = unpack_high<T>(lane->b[part]);
      }
    }
    for (int row = 0; row < 16; ++row) {
      for (float& s : sum) s = 0;
      for (int k = 0; k < 16; ++k) {
        for (int column = 0; column < 8; ++column) sum[column] += left[row][k] * right[k][column];
      }
      for (int column = 0; column < 8; ++column) {
        const auto* lane = static_cast<const Fragments*>(lanes[row % 8 * 4 + column / 2]);
        lane->d[row / 8 * 2 + column % 2] += sum[column];
      }
    }
  });
}

template void HostContext::tile_mma<Bf16>(float (&)[4], const uint32_t (&)[4],
                                          const uint32_t (&)[2]) const;
template void HostContext::tile_mma<Half>(float (&)[4], const uint32_t (&)[4],
                                          const uint32_t (&)[2]) const;

namespace {

struct MatrixLoad {
  uint32_t* r;
  const void* row;
};

template <bool kTransposed>
void load_matrices(void* const* lanes) {
  const auto row_of = [&](int matrix, int row) {
    return static_cast<const uint16_t*>(
        static_cast<const MatrixLoad*>(lanes[matrix * 8 + row])->row);
  };
  for (int i = 0; i < kWarpSize; ++i) {
    uint32_t* r = static_cast<const MatrixLoad*>(lanes[i])->r;
    const int g = i / 4, t = i % 4;
    for (int m = 0; m < 4; ++m) {
      const uint16_t first = kTransposed ? row_of(m, 2 * t)[g] : row_of(m, g)[2 * t];
      const uint16_t second = kTransposed ? row_of(m, 2 * t + 1)[g] : row_of(m, g)[2 * t + 1];
      r[m] = first | (static_cast<uint32_t>(second) << 16);
    }
  }
}

void check_row(const void* row) {
  if (!is_aligned16(row)) throw std::logic_error("load_matrix row is not 16-byte aligned");
}

}  // namespace

void HostContext::load_matrix_x4(uint32_t (&r)[4], const void* row) const {
  check_row(row);
  MatrixLoad mine{r, row};
  warp_operation("load_matrix_x4", &mine, load_matrices<false>);
}

void HostContext::load_matrix_x4_transposed(uint32_t (&r)[4], const void* row) const {
  check_row(row);
  MatrixLoad mine{r, row};
  warp_operation("load_matrix_x4_transposed", &mine, load_matrices<true>);
}

namespace {

struct GroupFragments {
  float* sum;
  const uint32_t* a;
  const void* b;
};

/// Element (k, n) of a swizzled tile's 16 x 64 part that begins at `b`.
template <class T, bool kColumns>
float tile_element(const void* b, int k, int n) {
  const auto address = reinterpret_cast<uintptr_t>(b);
  const uintptr_t base = address / 1024 * 1024;
  const uintptr_t at =
      address - base + static_cast<uintptr_t>(kColumns ? k * 128 + n * 2 : n * 128 + k * 2);
  return to_float(*reinterpret_cast<const T*>(base + (at ^ ((at >> 7) % 8 << 4))));
}

template <class T, bool kColumns>
void multiply_group(void* const* lanes) {
  const void* b = static_cast<const GroupFragments*>(lanes[0])->b;
  float left[16][16], right[16][64];
  for (int k = 0; k < 16; ++k) {
    for (int n = 0; n < 64; ++n) right[k][n] = tile_element<T, kColumns>(b, k, n);
  }
  for (int i = 0; i < kWarpSize; ++i) {
    const auto* lane = static_cast<const GroupFragments*>(lanes[i]);
    if (lane->b != b) throw std::logic_error("group_mma with different tiles in one warp");
    for (int part = 0; part < 4; ++part) {
      float* out = &left[i / 4 + part % 2 * 8][i % 4 * 2 + part / 2 * 8];
      out[0] = unpack_low<T>(lane->a[part]);
      out[1] = unpack_high<T>(lane->a[part]);
    }
  }
  for (int i = 0; i < kWarpSize; ++i) {
    float* sum = static_cast<const GroupFragments*>(lanes[i])->sum;
    for (int e = 0; e < 32; ++e) {
      const int row = i / 4 + e / 2 % 2 * 8, column = e / 4 * 8 + i % 4 * 2 + e % 2;
      for (int k = 0; k < 16; ++k) sum[e] += left[row][k] * right[k][column];
    }
  }
}

}  // namespace

template <class T, bool kColumns>
void HostContext::group_mma(float (&d)[32], const uint32_t (&a)[4], const T* tile, int offset,
                            bool add) const {
  if (threads() % 128 != 0) throw std::logic_error("group_mma in a block without whole warpgroups");
  Fiber& fiber = block_->fiber(thread_);
  auto [found, fresh] = fiber.products.try_emplace(d);
  std::array<float, 32>& sum = found->second.sum;
  found->second.group = fiber.product_groups;
  if (!add) {
    sum.fill(0);
  } else if (fresh) {
    std::copy_n(d, 32, sum.begin());
  }
  std::fill_n(d, 32, std::numeric_limits<float>::quiet_NaN());  // until it is waited for
  GroupFragments mine{sum.data(), a, tile + offset};
  warp_operation("group_mma", &mine, multiply_group<T, kColumns>);
}

void HostContext::group_commit() const { ++block_->fiber(thread_).product_groups; }

void HostContext::group_wait(int pending) const {
  Fiber& fiber = block_->fiber(thread_);
  for (auto it = fiber.products.begin(); it != fiber.products.end();) {
    if (it->second.group >= fiber.product_groups - pending) {
      ++it;
      continue;
    }
    std::copy_n(it->second.sum.begin(), 32, it->first);
    it = fiber.products.erase(it);
  }
}

template void HostContext::group_mma<Bf16, false>(float (&)[32], const uint32_t (&)[4], const Bf16*,
                                                  int, bool) const;
template void HostContext::group_mma<Bf16, true>(float (&)[32], const uint32_t (&)[4], const Bf16*,
                                                 int, bool) const;
template void HostContext::group_mma<Half, false>(float (&)[32], const uint32_t (&)[4], const Half*,
                                                  int, bool) const;
template void HostContext::group_mma<Half, true>(float (&)[32], const uint32_t (&)[4], const Half*,
                                                 int, bool) const;

}  // namespace tome::cuda
