// What the matching kernels are told: keys, the two halves, outputs and scratch memory. Plain data,
// passed by value to every launch.
#pragma once

#include <cstdint>

#include "cuda/portable.h"

namespace tome::cuda {

/// Similarity of matching.h, which cannot be included here: it brings ATen.
enum class KeySimilarity { kCosine, kDot, kEuclidean };

/// Which tokens are in A, in B, or protected. A null list is arithmetic: a_first + i * a_step, the
/// alternating and sequential partitions behind a protected prefix, without memory reads.
struct HalvesView {
  const int64_t* a = nullptr;                        ///< [batch or 1, n_a], ascending
  const int64_t* b = nullptr;                        ///< [batch or 1, n_b], ascending
  int64_t a_sample_stride = 0, b_sample_stride = 0;  ///< elements; 0: one list for all samples
  int a_first = 0, a_step = 2, b_first = 1, b_step = 2;
  int n_a = 0, n_b = 0;
  const int64_t* fixed = nullptr;  ///< protected tokens [n_fixed], ascending; null: 0, 1, ...
  int n_fixed = 0;

  TOME_DEVICE int64_t a_token(int sample, int i) const {
    return a == nullptr ? a_first + static_cast<int64_t>(i) * a_step
                        : a[sample * a_sample_stride + i];
  }
  TOME_DEVICE int64_t b_token(int sample, int j) const {
    return b == nullptr ? b_first + static_cast<int64_t>(j) * b_step
                        : b[sample * b_sample_stride + j];
  }
  TOME_DEVICE int64_t fixed_token(int i) const { return fixed == nullptr ? i : fixed[i]; }
};

/// Matching's arrays (matching.h), and the same plan turned round for the merge kernel: output
/// place o of a sample is made of members[member_begin[o] .. member_begin[o + 1]), the kept token
/// first, then those merged into it by ascending place.
struct MatchOutputs {
  int64_t* target = nullptr;        ///< [batch, tokens]
  int64_t* source = nullptr;        ///< [batch, r]
  int64_t* destination = nullptr;   ///< [batch, r]
  int32_t* member_begin = nullptr;  ///< [batch, tokens - r + 1]
  int32_t* members = nullptr;       ///< [batch, tokens]
};

/// Scratch memory in global memory; see match_workspace in match_cuda.h.
struct MatchScratch {
  unsigned* arrived = nullptr;  ///< [batch], zero before the first launch
  uint64_t* best = nullptr;     ///< [splits, batch, n_a], packed Best of the split's columns
  float* row_scale = nullptr;   ///< [batch, n_a]
  int32_t* rank = nullptr;      ///< [batch, n_a]; this and the rest only where many launches match
  uint64_t* edges = nullptr;    ///< [batch, r]
  uint64_t* by_destination = nullptr;  ///< [batch, r]
};

/// T is float, Bf16 or Half.
template <class T>
struct MatchParams {
  const T* metric = nullptr;                    ///< [batch, tokens, channels], channels contiguous
  int64_t sample_stride = 0, token_stride = 0;  ///< elements
  int batch = 0, tokens = 0, channels = 0, r = 0;
  KeySimilarity similarity = KeySimilarity::kCosine;
  HalvesView halves;
  MatchOutputs out;
  MatchScratch scratch;
  bool one_launch = true;
  int tile_bits = 0;   ///< one block has 2^tile_bits tiles of 32 rows
  int order_size = 1;  ///< edges that the ordering block has room for
  int splits = 1;      ///< blocks that share a block's rows, each with columns of its own

  TOME_DEVICE const T* row(int sample, int64_t token) const {
    return metric + sample * sample_stride + token * token_stride;
  }
};

constexpr int kNoColumn = 0x7fffffff;

/// A score and where it came from; better is higher, then lower index. NaN is never better.
struct Best {
  float score;
  int column;
};

TOME_DEVICE Best worst() { return {-INFINITY, kNoColumn}; }

TOME_DEVICE Best better_of(const Best& a, const Best& b) {
  return b.score > a.score || (b.score == a.score && b.column < a.column) ? b : a;
}

/// Integers that are ordered as the numbers are. -0 and 0 are equal; not for NaN.
TOME_DEVICE uint32_t ascending_bits(float score) {
  const uint32_t bits = bits_as<uint32_t>(score + 0.0F);
  return (bits >> 31) != 0 ? ~bits : bits | 0x80000000U;
}

/// A Best as one integer; the better one is larger.
TOME_DEVICE uint64_t pack_best(const Best& best) {
  return (static_cast<uint64_t>(ascending_bits(best.score)) << 32) |
         ~static_cast<uint32_t>(best.column);
}
TOME_DEVICE Best unpack_best(uint64_t packed) {
  const auto bits = static_cast<uint32_t>(packed >> 32);
  return {bits_as<float>((bits >> 31) != 0 ? bits & 0x7fffffffU : ~bits),
          static_cast<int>(~static_cast<uint32_t>(packed))};
}

/// An edge's place in the order "most similar first, lower A index among equals" as one ascending
/// integer.
TOME_DEVICE uint64_t order_key(float score, int a_index) {
  return (static_cast<uint64_t>(~ascending_bits(score)) << 32) | static_cast<uint32_t>(a_index);
}

/// Edges grouped by destination, by ascending A index within one.
TOME_DEVICE uint64_t destination_key(int b_index, int a_index) {
  return (static_cast<uint64_t>(b_index) << 32) | static_cast<uint32_t>(a_index);
}
TOME_DEVICE int key_high(uint64_t key) { return static_cast<int>(key >> 32); }
TOME_DEVICE int key_low(uint64_t key) { return static_cast<int>(key & 0xffffffffU); }

constexpr int kMatchRows = 32;         ///< A tokens of one warp
constexpr int kMatchColumns = 8;       ///< B tokens that a warp scores at a time
constexpr int kMatchThreads = 512;     ///< of a matching block, at most
constexpr int kCountThreads = 256;     ///< of the many launches' blocks
constexpr int kMatchOneLaunch = 2048;  ///< A tokens that one block can order in shared memory
constexpr int kMatchSplits = 5;        ///< at most
/// Multiprocessors that the grid is cut for: an H100's. On other devices some idle or wait a turn;
/// scratch memory is laid out for the same grid, on the host, where no device need be.
constexpr int kMatchProcessors = 132;

/// How many blocks share the columns: at small batches rows alone would leave processors idle.
TOME_DEVICE constexpr int match_splits(int batch, int n_a) {
  const int blocks = kMatchProcessors / batch / ceil_div(n_a, kMatchRows);
  return blocks < 1 ? 1 : (blocks > kMatchSplits ? kMatchSplits : blocks);
}

}  // namespace tome::cuda
