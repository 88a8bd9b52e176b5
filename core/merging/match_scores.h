// Scores of 32 A tokens with 8 B tokens at a time, in the registers of one warp.
#pragma once

#include "merging/match_params.h"

namespace tome::cuda {

/// Scores of a warp's 32 rows with 8 columns, laid out as two tile_mma results: dot[m][2 h + e] is
/// row 16 m + 8 h + g, column 2 t + e (g = lane / 4, t = lane % 4). `square[e]` is |b|^2 of column
/// 2 t + e.
struct ScoreTile {
  float dot[2][4];
  float square[2];
};

/// 8 channels of a key, from `channel` on; zeros past the end and for no key.
template <class T>
TOME_DEVICE Bytes16 load_slice(const T* key, int channel, int channels) {
  Bytes16 slice{{0, 0, 0, 0}};
  if (key == nullptr || channel >= channels) return slice;
  const T* from = key + channel;
  if (channel + 8 <= channels && is_aligned16(from)) {
    return *reinterpret_cast<const Bytes16*>(from);
  }
  T value[8];
  for (int i = 0; i < 8; ++i) value[i] = channel + i < channels ? from[i] : T{0};
  memcpy(&slice, value, sizeof(slice));
  return slice;
}

/// Note [Fragments without shared memory]
/// A dot product does not care in which order its channels come, so each lane of a quad takes 8
/// contiguous channels of every 32 (one 16-byte load) and hands them to two 16-channel products as
/// if they were the ones that tile_mma's layout names; A and B agree on the permutation. Keys go
/// from the cache straight to registers, without shared memory and its barriers. The products of
/// bf16 and fp16 keys are exact in float32; normalising the scores instead of the keys keeps the
/// cosine from being rounded to 16 bits.
///
/// kHeld chunks of 32 channels of the A rows stay in registers; 0: rows are read again for each
/// column group, for keys of more than 128 channels.
template <class T, int kHeld>
class ScoreRows {
 public:
  TOME_DEVICE ScoreRows(const MatchParams<T>& p, int sample, int first_row, int lane)
      : p_(p), sample_(sample), lane_(lane) {
    for (int i = 0; i < 4; ++i) {
      const int row = first_row + 8 * i + lane / 4;
      row_[i] = row < p.halves.n_a ? p.row(sample, p.halves.a_token(sample, row)) : nullptr;
    }
    TOME_UNROLL
    for (int chunk = 0; chunk < kHeld; ++chunk) {
      TOME_UNROLL
      for (int i = 0; i < 4; ++i) held_[chunk][i] = load_slice(row_[i], channel(chunk), p.channels);
    }
  }

  template <class Ctx>
  TOME_KERNEL void score(const Ctx& ctx, int first_column, ScoreTile& tile) const {
    const int column = first_column + lane_ / 4;
    const T* key =
        column < p_.halves.n_b ? p_.row(sample_, p_.halves.b_token(sample_, column)) : nullptr;
    TOME_UNROLL
    for (int i = 0; i < 8; ++i) tile.dot[i / 4][i % 4] = 0;
    float square = 0;
    if constexpr (kHeld > 0) {
      Bytes16 b[kHeld];  // all loads first, so that they are in flight together
      TOME_UNROLL
      for (int chunk = 0; chunk < kHeld; ++chunk) {
        b[chunk] = load_slice(key, channel(chunk), p_.channels);
      }
      TOME_UNROLL
      for (int chunk = 0; chunk < kHeld; ++chunk) {
        multiply(ctx, held_[chunk], b[chunk], tile, square);
      }
    } else {
      for (int chunk = 0; chunk * 32 < p_.channels; ++chunk) {
        Bytes16 a[4];
        for (int i = 0; i < 4; ++i) a[i] = load_slice(row_[i], channel(chunk), p_.channels);
        multiply(ctx, a, load_slice(key, channel(chunk), p_.channels), tile, square);
      }
    }
    square += ctx.shuffle_xor(square, 1);
    square += ctx.shuffle_xor(square, 2);
    tile.square[0] = ctx.shuffle(square, lane_ % 4 * 8);
    tile.square[1] = ctx.shuffle(square, lane_ % 4 * 8 + 4);
  }

 private:
  TOME_DEVICE int channel(int chunk) const { return chunk * 32 + lane_ % 4 * 8; }

  template <class Ctx>
  TOME_KERNEL void multiply(const Ctx& ctx, const Bytes16 (&a)[4], const Bytes16& b,
                            ScoreTile& tile, float& square) const {
    TOME_UNROLL
    for (int word = 0; word < 4; ++word) {
      const float low = unpack_low<T>(b.word[word]);
      const float high = unpack_high<T>(b.word[word]);
      square += low * low + high * high;
    }
    TOME_UNROLL
    for (int step = 0; step < 2; ++step) {
      const uint32_t right[2] = {b.word[2 * step], b.word[2 * step + 1]};
      TOME_UNROLL
      for (int m = 0; m < 2; ++m) {
        const uint32_t left[4] = {a[2 * m].word[2 * step], a[2 * m + 1].word[2 * step],
                                  a[2 * m].word[2 * step + 1], a[2 * m + 1].word[2 * step + 1]};
        ctx.template tile_mma<T>(tile.dot[m], left, right);
      }
    }
  }

  const MatchParams<T>& p_;
  int sample_, lane_;
  const T* row_[4];
  Bytes16 held_[kHeld > 0 ? kHeld : 1][4];
};

/// float32 keys: plain fused multiply-adds. Tensor cores would round the keys (TF32) or, with keys
/// split into bf16 parts, truncate sums at about the 1e-6 to which choices must be right.
template <int kHeld>
class ScoreRows<float, kHeld> {
 public:
  TOME_DEVICE ScoreRows(const MatchParams<float>& p, int sample, int first_row, int lane)
      : p_(p), sample_(sample), lane_(lane) {
    for (int i = 0; i < 4; ++i) {
      const int row = min_of(first_row + 8 * i + lane / 4, p.halves.n_a - 1);
      row_[i] = p.row(sample, p.halves.a_token(sample, row));
    }
  }

  template <class Ctx>
  TOME_KERNEL void score(const Ctx&, int first_column, ScoreTile& tile) const {
    const float* key[2];
    for (int e = 0; e < 2; ++e) {
      const int column = min_of(first_column + lane_ % 4 * 2 + e, p_.halves.n_b - 1);
      key[e] = p_.row(sample_, p_.halves.b_token(sample_, column));
      tile.square[e] = 0;
    }
    TOME_UNROLL
    for (int i = 0; i < 8; ++i) tile.dot[i / 4][i % 4] = 0;
    for (int c = 0; c < p_.channels; ++c) {
      TOME_UNROLL
      for (int e = 0; e < 2; ++e) {
        const float b = key[e][c];
        tile.square[e] = fmaf(b, b, tile.square[e]);
        TOME_UNROLL
        for (int i = 0; i < 4; ++i) {
          float& dot = tile.dot[i / 2][i % 2 * 2 + e];
          dot = fmaf(row_[i][c], b, dot);
        }
      }
    }
  }

 private:
  const MatchParams<float>& p_;
  int sample_, lane_;
  const float* row_[4];
};

/// What A rows compare columns by: the score up to what only depends on the row.
TOME_DEVICE float column_score(KeySimilarity similarity, float dot, float square) {
  switch (similarity) {
    case KeySimilarity::kCosine:
      return square > 0 ? dot * (1.0F / sqrtf(square)) : (square == 0 ? 0.0F : dot * square);
    case KeySimilarity::kDot:
      return dot;
    default:
      return 2 * dot - square;
  }
}

/// The rest: what edges are ordered by.
TOME_DEVICE float edge_score(KeySimilarity similarity, float best, float square) {
  switch (similarity) {
    case KeySimilarity::kCosine:
      return square > 0 ? best * (1.0F / sqrtf(square)) : (square == 0 ? 0.0F : best);
    case KeySimilarity::kDot:
      return best;
    default:
      return best - square;
  }
}

}  // namespace tome::cuda
