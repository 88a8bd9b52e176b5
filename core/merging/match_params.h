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
  float* edge_score = nullptr;  ///< [batch, n_a]
  int32_t* edge_to = nullptr;   ///< [batch, n_a], index into B
  int32_t* rank = nullptr;      ///< [batch, n_a]; this and the rest only where many launches match
  int32_t* order = nullptr;     ///< [batch, r]
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

  TOME_DEVICE const T* row(int sample, int64_t token) const {
    return metric + sample * sample_stride + token * token_stride;
  }
};

/// An edge's place in the order "most similar first, lower A index among equals" as one ascending
/// integer. -0 and 0 are equal.
TOME_DEVICE uint64_t order_key(float score, int a_index) {
  const uint32_t bits = bits_as<uint32_t>(score + 0.0F);
  const uint32_t ascending = (bits >> 31) != 0 ? ~bits : bits | 0x80000000U;
  return (static_cast<uint64_t>(~ascending) << 32) | static_cast<uint32_t>(a_index);
}

/// Edges grouped by destination, by ascending A index within one.
TOME_DEVICE uint64_t destination_key(int b_index, int a_index) {
  return (static_cast<uint64_t>(b_index) << 32) | static_cast<uint32_t>(a_index);
}
TOME_DEVICE int key_high(uint64_t key) { return static_cast<int>(key >> 32); }
TOME_DEVICE int key_low(uint64_t key) { return static_cast<int>(key & 0xffffffffU); }

constexpr int kMatchThreads = 256;
constexpr int kMatchRows = 32;         ///< A tokens of one block
constexpr int kMatchOneLaunch = 2048;  ///< A tokens that one block can order in shared memory

/// Shared memory of the block that orders n_a edges: keys, rank, order.
TOME_DEVICE constexpr int order_shared_bytes(int n_a) { return 16 * power_of_two_from(n_a) + 256; }

}  // namespace tome::cuda
