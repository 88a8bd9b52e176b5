// The tensor cores' operations on the host, in the lane layouts of the PTX manual.
#include <algorithm>
#include <array>
#include <limits>

#include "cuda/executor/host_block.h"

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
  std::array<const void*, kWarpSize> rows;  // for ThreadSanitizer: of all lanes
};

template <bool kTransposed>
void load_matrices(void* const* lanes) {
  const auto row_of = [&](int matrix, int row) {
    return static_cast<const uint16_t*>(
        static_cast<const MatrixLoad*>(lanes[matrix * 8 + row])->row);
  };
  for (int i = 0; i < kWarpSize; ++i) {
    auto* lane = static_cast<MatrixLoad*>(lanes[i]);
    uint32_t* r = lane->r;
    for (int k = 0; k < kWarpSize; ++k) {
      lane->rows[k] = static_cast<const MatrixLoad*>(lanes[k])->row;
    }
    const int g = i / 4, t = i % 4;
    for (int m = 0; m < 4; ++m) {
      const uint16_t first = kTransposed ? row_of(m, 2 * t)[g] : row_of(m, g)[2 * t];
      const uint16_t second = kTransposed ? row_of(m, 2 * t + 1)[g] : row_of(m, g)[2 * t + 1];
      r[m] = first | (static_cast<uint32_t>(second) << 16);
    }
  }
}

/// A lane has parts of all rows, and is to know that they are there.
void watch_rows(const MatrixLoad& load, void* caller) {
  if constexpr (!races::kWatched) return;
  for (const void* row : load.rows) races::reads(row, sizeof(Bytes16), caller);
}

void check_row(HostBlock& block, const void* row) {
  if (!is_aligned16(row)) throw std::logic_error("load_matrix row is not 16-byte aligned");
  block.check_landed(row);
}

}  // namespace

void HostContext::load_matrix_x4(uint32_t (&r)[4], const void* row) const {
  check_row(*block_, row);
  MatrixLoad mine{r, row, {}};
  warp_operation("load_matrix_x4", &mine, load_matrices<false>);
  watch_rows(mine, TOME_CALLER);
}

void HostContext::load_matrix_x4_transposed(uint32_t (&r)[4], const void* row) const {
  check_row(*block_, row);
  MatrixLoad mine{r, row, {}};
  warp_operation("load_matrix_x4_transposed", &mine, load_matrices<true>);
  watch_rows(mine, TOME_CALLER);
}

namespace {

struct GroupFragments {
  HostBlock* block;
  int warp, group;
  void* caller;
  float* sum;
  const uint32_t* a;
  const void* b;
};

/// Where the 16 x 64 part of a swizzled tile that begins at `b` lies: 16 rows of 8 vectors, or the
/// same 2 vectors of 64 rows.
template <bool kColumns>
TileRead tile_at(const void* b, int group) {
  if (!is_aligned16(b)) throw std::logic_error("group_mma of a tile that is not 16-byte aligned");
  constexpr int kOfRow = kColumns ? 8 : 2;
  const auto address = reinterpret_cast<uintptr_t>(b);
  const uintptr_t base = address / 1024 * 1024;
  TileRead tile;
  for (int i = 0; i < kTileVectors; ++i) {
    const uintptr_t at =
        address - base + static_cast<uintptr_t>(i / kOfRow * 128 + i % kOfRow * 16);
    tile.place[i] = reinterpret_cast<const Bytes16*>(base + (at ^ ((at >> 7) % 8 << 4)));
  }
  tile.group = group;
  return tile;
}

/// Element (k, n) of what was read.
template <class T, bool kColumns>
float tile_element(const TileRead& tile, int k, int n) {
  const Bytes16& vector = tile.seen[kColumns ? k * 8 + n / 8 : n * 2 + k / 8];
  T element;
  memcpy(&element, reinterpret_cast<const T*>(&vector) + (kColumns ? n : k) % 8, sizeof(T));
  return to_float(element);
}

/// What a product reads from now on until it is waited for.
void watch_product(const GroupFragments& q, const TileRead& tile) {
  ProductLine& products = q.block->products_of(q.warp);
  races::take_at(products.begun.at(), HostBlock::begun(products.line));
  for (const Bytes16* at : tile.place) races::reads(at, sizeof(*at), q.caller, products.line);
  races::leave_at(products.read[q.group].at(), products.line);
}

template <class T, bool kColumns>
void multiply_group(void* const* lanes) {
  const auto* first = static_cast<const GroupFragments*>(lanes[0]);
  float left[16][16], right[16][64];
  const TileRead& tile =
      first->block->read_tile(first->warp, tile_at<kColumns>(first->b, first->group));
  if constexpr (races::kWatched) watch_product(*first, tile);
  for (int k = 0; k < 16; ++k) {
    for (int n = 0; n < 64; ++n) right[k][n] = tile_element<T, kColumns>(tile, k, n);
  }
  for (int i = 0; i < kWarpSize; ++i) {
    const auto* lane = static_cast<const GroupFragments*>(lanes[i]);
    if (lane->b != first->b) throw std::logic_error("group_mma with different tiles in one warp");
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

/// What d holds while a product runs.
constexpr float kNotYet = std::numeric_limits<float>::quiet_NaN();

void check_untouched(const float* d) {
  for (int i = 0; i < 32; ++i) {
    if (memcmp(&d[i], &kNotYet, sizeof(float)) != 0) {
      throw std::logic_error("group_mma: d was written before group_wait");
    }
  }
}

/// The product that goes to d, begun if none is under way.
PendingProduct& product_into(Fiber& fiber, const float (&d)[32], bool add) {
  auto [found, fresh] = fiber.products.try_emplace(d);
  PendingProduct& product = found->second;
  if (fresh) {
    const auto fence = fiber.fenced.find(d);
    if (fence == fiber.fenced.end() || fence->second.size() != 32 ||
        memcmp(fence->second.data(), d, sizeof(d)) != 0) {
      throw std::logic_error("group_mma without a group_fence between other use of d and it");
    }
    std::copy_n(d, 32, product.sum.begin());
  } else {
    check_untouched(d);
  }
  if (!add) product.sum.fill(0);
  product.group = fiber.product_groups;
  return product;
}

/// Ends what products of the groups before `running` read of registers.
void finish_fragments(PendingProduct& product, int running) {
  std::erase_if(product.left, [running](const FragmentRead& read) {
    if (read.group >= running) return false;
    if (memcmp(read.place, read.seen.data(), sizeof(read.seen)) != 0) {
      throw std::logic_error("group_mma: a was written before group_wait");
    }
    return true;
  });
}

}  // namespace

void HostBlock::fence_shared(int thread) {
  const races::Unwatched unwatched;
  Fiber& fiber = fibers_[thread];
  for (const void* at : fiber.unfenced) {
    VectorState& state = state_of(at);
    if (state.kind == VectorState::kUnfenced && state.writer == thread) {
      state.kind = VectorState::kSettled;
    }
  }
  fiber.unfenced.clear();
  fenced_.assign(shared(), shared() + shape_.shared_bytes);
}

const TileRead& HostBlock::read_tile(int warp, const TileRead& asked) {
  if (fenced_.empty()) fenced_.assign(static_cast<size_t>(shape_.shared_bytes), 0xff);
  TileRead& tile = reads_[warp].emplace_back(asked);
  for (int i = 0; i < kTileVectors; ++i) {
    const auto* at = reinterpret_cast<const unsigned char*>(tile.place[i]);
    const auto state = state_of(at).kind;
    if (state == VectorState::kInFlight) {
      throw std::logic_error("group_mma of what a copy is still to write");
    }
    if (state == VectorState::kUnfenced ||
        memcmp(at, fenced_.data() + (at - shared()), sizeof(Bytes16)) != 0) {
      throw std::logic_error("group_mma of what was written without a fence_shared after it");
    }
    tile.seen[i] = *tile.place[i];
  }
  ++group_products_[warp];
  return tile;
}

void HostBlock::finish_reads(int warp, int running) {
  std::erase_if(reads_[warp], [&](const TileRead& tile) {
    if (tile.group >= running) return false;
    for (int i = 0; i < kTileVectors; ++i) {
      if (state_of(tile.place[i]).kind != VectorState::kSettled ||
          memcmp(tile.place[i], &tile.seen[i], sizeof(Bytes16)) != 0) {
        throw std::logic_error("shared memory was written while group_mma may read it");
      }
    }
    return true;
  });
}

void HostBlock::check_warpgroups() const {
  for (size_t warp = 0; warp < group_products_.size(); ++warp) {
    if (group_products_[warp] != group_products_[warp / 4 * 4]) {
      throw std::logic_error("group_mma by some warps of a warpgroup, not by all");
    }
  }
}

template <class T, bool kColumns>
void HostContext::group_mma(float (&d)[32], const uint32_t (&a)[4], const T* tile, int offset,
                            bool add) const {
  if (threads() % 128 != 0) throw std::logic_error("group_mma in a block without whole warpgroups");
  if constexpr (races::kWatched) {  // as this thread sees the tile
    for (const Bytes16* at : tile_at<kColumns>(tile + offset, 0).place) {
      races::reads(at, sizeof(*at), TOME_CALLER);
    }
    races::leave_at(block_->products_of(warp()).begun.at());
  }
  PendingProduct& product = product_into(block_->fiber(thread_), d, add);
  product.left.push_back({a, std::to_array(a), product.group});
  std::fill_n(d, 32, kNotYet);
  GroupFragments mine{block_, warp(),       product.group, TOME_CALLER, product.sum.data(),
                      a,      tile + offset};
  warp_operation("group_mma", &mine, multiply_group<T, kColumns>);
}

void HostContext::group_commit() const {
  const races::Unwatched unwatched;
  ++block_->fiber(thread_).product_groups;
}

void HostContext::group_fence(const float* d, int count) const {
  const races::Unwatched unwatched;
  block_->fiber(thread_).fenced[d].assign(d, d + count);
}

void HostContext::fence_shared() const { block_->fence_shared(thread_); }

void HostContext::group_wait(int pending, float* d) const {
  struct Wait {
    HostBlock* block;
    int warp, running;
  };
  Fiber& fiber = block_->fiber(thread_);
  Wait mine{block_, warp(), fiber.product_groups - pending};
  warp_operation("group_wait", &mine, [](void* const* lanes) {
    const auto* first = static_cast<const Wait*>(lanes[0]);
    first->block->finish_reads(first->warp, first->running);
  });
  const races::Unwatched unwatched;
  for (const auto& [group, read] : block_->products_of(warp()).read) {
    if (group < mine.running) races::take_at(read.at());
  }
  for (auto& [at, product] : fiber.products) finish_fragments(product, mine.running);
  const auto found = fiber.products.find(d);
  if (found == fiber.products.end() || found->second.group >= mine.running) return;
  check_untouched(d);
  std::copy_n(found->second.sum.begin(), 32, d);
  fiber.products.erase(found);
  fiber.fenced.erase(d);
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
