// Scores of 32 A tokens with 8 B tokens at a time, in the registers of one warp.
#pragma once

#include "merging/match_params.h"

namespace tome::cuda {

/// Scores of a warp's 32 rows with 8 columns, laid out as two tile_mma results: dot[m][2 h + e] is
/// row 16 m + 8 h + g, column 2 t + e (g = lane / 4, t = lane % 4). `scale[e]` is column_scale of
/// column 2 t + e.
struct ScoreTile {
  float dot[2][4];
  float scale[2];
};

/// What a column's own norm does to its scores: the cosine's factor (-1 for a key without a norm,
/// whose cosine is 0), or |b|^2.
TOME_DEVICE float column_scale(KeySimilarity similarity, float square) {
  if (similarity != KeySimilarity::kCosine) return square;
  return square > 0 ? 1.0F / sqrtf(square) : (square == 0 ? -1.0F : square);
}

/// What A rows compare columns by: the score up to what only depends on the row. The same few
/// instructions for each similarity, without branches.
class ColumnScore {
 public:
  TOME_DEVICE ColumnScore(KeySimilarity similarity, float scale, bool exists) {
    const bool cosine = similarity == KeySimilarity::kCosine;
    const bool euclidean = similarity == KeySimilarity::kEuclidean;
    factor_ = cosine ? scale : (euclidean ? 2.0F : 1.0F);
    offset_ = euclidean ? -scale : 0.0F;
    if (exists) return;
    factor_ = 1;
    offset_ = NAN;  // never better
  }
  TOME_DEVICE float of(float dot) const { return factor_ < 0 ? 0.0F : fmaf(dot, factor_, offset_); }

 private:
  float factor_, offset_;
};

/// What a row's own norm does to the score of its best column: as column_scale, but 1 for a key of
/// NaN, whose scores it leaves as they are.
TOME_DEVICE float row_scale(KeySimilarity similarity, float square) {
  if (similarity != KeySimilarity::kCosine) return square;
  return square > 0 ? 1.0F / sqrtf(square) : (square == 0 ? -1.0F : 1.0F);
}

/// Whether keys can be read 16 bytes at a time throughout.
template <class T>
TOME_DEVICE bool keys_are_vectors(const MatchParams<T>& p) {
  const int64_t sizes = p.sample_stride | p.token_stride | p.channels;
  return is_aligned16(p.metric) && sizes % static_cast<int64_t>(16 / sizeof(T)) == 0;
}

/// 16 bytes of a key, from `channel` on. For keys_are_vectors. Past the end come other channels of
/// the key, for zeroed_past_end: to choose here would be to wait for the load.
template <class T>
TOME_DEVICE Bytes16 load_vector(const T* key, int channel, int channels) {
  return *reinterpret_cast<const Bytes16*>(key + (channel < channels ? channel : 0));
}

TOME_DEVICE Bytes16 zeroed_past_end(Bytes16 slice, int channel, int channels) {
  TOME_UNROLL
  for (uint32_t& word : slice.word) word = channel < channels ? word : 0;
  return slice;
}

/// The same for any keys, with zeros past the end.
template <class T>
TOME_DEVICE Bytes16 load_elements(const T* key, int channel, int channels) {
  Bytes16 slice{{0, 0, 0, 0}};
  uint32_t(&word)[4] = slice.word;
  TOME_ROLLED
  for (int i = min_of(static_cast<int>(16 / sizeof(T)), channels - channel) - 1; i >= 0; --i) {
    // Each is shifted in from the low end.
    if constexpr (sizeof(T) == 2) {
      for (int w = 3; w > 0; --w) word[w] = (word[w] << 16) | (word[w - 1] >> 16);
      word[0] = (word[0] << 16) | key[channel + i].bits;
    } else {
      for (int w = 3; w > 0; --w) word[w] = word[w - 1];
      word[0] = bits_as<uint32_t>(key[channel + i]);
    }
  }
  return slice;
}

template <class T>
TOME_DEVICE Bytes16 load_slice(const T* key, int channel, int channels, bool vectors) {
  if (!vectors) return load_elements(key, channel, channels);
  return zeroed_past_end(load_vector(key, channel, channels), channel, channels);
}

/// Where a lane's 4 rows lie; those past the end are the last one.
template <class T>
TOME_DEVICE void find_rows(const MatchParams<T>& p, int sample, int first_row, int lane,
                           const T* (&row)[4]) {
  int64_t token[4];  // all lists first
  TOME_UNROLL
  for (int i = 0; i < 4; ++i) {
    token[i] = p.halves.a_token(sample, min_of(first_row + 8 * i + lane / 4, p.halves.n_a - 1));
  }
  TOME_UNROLL
  for (int i = 0; i < 4; ++i) row[i] = p.row(sample, token[i]);
}

/// Which token a column is; one past the end is the last one.
template <class T>
TOME_DEVICE int64_t find_column(const MatchParams<T>& p, int sample, int column) {
  return p.halves.b_token(sample, min_of(column, p.halves.n_b - 1));
}

/// Adds the squares of 8 16-bit channels.
template <class T>
TOME_DEVICE void add_squares(const Bytes16& slice, float& square) {
  TOME_UNROLL
  for (int word = 0; word < 4; ++word) {
    const float low = unpack_low<T>(slice.word[word]);
    const float high = unpack_high<T>(slice.word[word]);
    square += low * low + high * high;
  }
}

template <class Ctx>
TOME_KERNEL float sum_of_quad(const Ctx& ctx, float value) {
  value += ctx.shuffle_xor(value, 1);
  return value + ctx.shuffle_xor(value, 2);
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
///
/// find() and load() are apart from score() so that the keys of the next columns, and where those
/// after them lie, are on their way while a group is scored.
template <class T, int kHeld>
class ScoreRows {
 public:
  using Place = int64_t;  ///< token of column lane / 4
  struct Columns {
    const T* key;
    Bytes16 slice[kHeld > 0 ? kHeld : 1];
  };

  TOME_DEVICE ScoreRows(const MatchParams<T>& p, int sample, int first_row, int lane)
      : p_(p), sample_(sample), lane_(lane), vectors_(keys_are_vectors(p)) {
    find_rows(p, sample, first_row, lane, row_);
  }

  /// Once before anything but find.
  TOME_DEVICE void hold() {
    if (vectors_) {
      TOME_UNROLL
      for (int at = 0; at < 4 * kHeld; ++at) {
        held_[at / 4][at % 4] = load_vector(row_[at % 4], channel(at / 4), p_.channels);
      }
    } else {
      TOME_UNROLL
      for (int at = 0; at < 4 * kHeld; ++at) {
        held_[at / 4][at % 4] = load_elements(row_[at % 4], channel(at / 4), p_.channels);
      }
    }
  }

  TOME_DEVICE Place find(int first_column) const {
    return find_column(p_, sample_, first_column + lane_ / 4);
  }

  TOME_DEVICE void load(Place token, Columns& columns) const {
    const T* key = p_.row(sample_, token);
    columns.key = key;
    if (vectors_) {
      TOME_UNROLL
      for (int chunk = 0; chunk < kHeld; ++chunk) {
        columns.slice[chunk] = load_vector(key, channel(chunk), p_.channels);
      }
    } else {
      TOME_UNROLL
      for (int chunk = 0; chunk < kHeld; ++chunk) {
        columns.slice[chunk] = load_elements(key, channel(chunk), p_.channels);
      }
    }
  }

  template <class Ctx>
  TOME_KERNEL void score(const Ctx& ctx, const Columns& columns, ScoreTile& tile) const {
    TOME_UNROLL
    for (int i = 0; i < 8; ++i) tile.dot[i / 4][i % 4] = 0;
    float square = 0;
    if constexpr (kHeld > 0) {
      TOME_UNROLL
      for (int chunk = 0; chunk < kHeld; ++chunk) {
        const Bytes16 b = zeroed_past_end(columns.slice[chunk], channel(chunk), p_.channels);
        multiply(ctx, held_[chunk], b, tile);  // zeros in b are enough
        add_squares<T>(b, square);
      }
    } else {
      TOME_ROLLED
      for (int chunk = 0; chunk * 32 < p_.channels; ++chunk) {
        Bytes16 a[4];
        TOME_UNROLL
        for (int i = 0; i < 4; ++i) a[i] = slice(row_[i], chunk);
        const Bytes16 b = slice(columns.key, chunk);
        multiply(ctx, a, b, tile);
        add_squares<T>(b, square);
      }
    }
    const float scale = column_scale(p_.similarity, sum_of_quad(ctx, square));
    tile.scale[0] = ctx.shuffle(scale, lane_ % 4 * 8);
    tile.scale[1] = ctx.shuffle(scale, lane_ % 4 * 8 + 4);
  }

  /// |a|^2 of the lane's 4 rows.
  template <class Ctx>
  TOME_KERNEL void square_rows(const Ctx& ctx, float (&square)[4]) const {
    TOME_UNROLL
    for (int i = 0; i < 4; ++i) {
      square[i] = 0;
      if constexpr (kHeld > 0) {
        TOME_UNROLL
        for (int chunk = 0; chunk < kHeld; ++chunk) {
          add_squares<T>(zeroed_past_end(held_[chunk][i], channel(chunk), p_.channels), square[i]);
        }
      } else {
        TOME_ROLLED
        for (int chunk = 0; chunk * 32 < p_.channels; ++chunk) {
          add_squares<T>(slice(row_[i], chunk), square[i]);
        }
      }
      square[i] = sum_of_quad(ctx, square[i]);
    }
  }

 private:
  TOME_DEVICE int channel(int chunk) const { return chunk * 32 + lane_ % 4 * 8; }
  TOME_DEVICE Bytes16 slice(const T* key, int chunk) const {
    return load_slice(key, channel(chunk), p_.channels, vectors_);
  }

  template <class Ctx>
  TOME_KERNEL void multiply(const Ctx& ctx, const Bytes16 (&a)[4], const Bytes16& b,
                            ScoreTile& tile) const {
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
  bool vectors_;
  const T* row_[4];
  Bytes16 held_[kHeld > 0 ? kHeld : 1][4];
};

/// float32 keys: plain fused multiply-adds. Tensor cores would round the keys (TF32) or, with keys
/// split into bf16 parts, truncate sums at about the 1e-6 to which choices must be right.
template <int kHeld>
class ScoreRows<float, kHeld> {
 public:
  struct Place {
    int64_t token[2];  ///< of columns 2 t and 2 t + 1
  };
  struct Columns {
    const float* key[2];
  };

  TOME_DEVICE ScoreRows(const MatchParams<float>& p, int sample, int first_row, int lane)
      : p_(p), sample_(sample), lane_(lane), vectors_(keys_are_vectors(p)) {
    find_rows(p, sample, first_row, lane, row_);
  }

  TOME_DEVICE void hold() {}

  TOME_DEVICE Place find(int first_column) const {
    const int column = first_column + lane_ % 4 * 2;
    return {{find_column(p_, sample_, column), find_column(p_, sample_, column + 1)}};
  }

  TOME_DEVICE void load(const Place& place, Columns& columns) const {
    TOME_UNROLL
    for (int e = 0; e < 2; ++e) columns.key[e] = p_.row(sample_, place.token[e]);
  }

  template <class Ctx>
  TOME_KERNEL void score(const Ctx&, const Columns& columns, ScoreTile& tile) const {
    float square[2] = {0, 0};
    TOME_UNROLL
    for (int i = 0; i < 8; ++i) tile.dot[i / 4][i % 4] = 0;
    TOME_ROLLED
    for (int c = 0; c < p_.channels; c += 4) {
      Bytes16 a[4], b[2];
      if (vectors_) {
        TOME_UNROLL
        for (int e = 0; e < 2; ++e) b[e] = load_vector(columns.key[e], c, p_.channels);
        TOME_UNROLL
        for (int i = 0; i < 4; ++i) a[i] = load_vector(row_[i], c, p_.channels);
      } else {
        TOME_UNROLL
        for (int e = 0; e < 2; ++e) b[e] = load_elements(columns.key[e], c, p_.channels);
        TOME_UNROLL
        for (int i = 0; i < 4; ++i) a[i] = load_elements(row_[i], c, p_.channels);
      }
      TOME_UNROLL
      for (int word = 0; word < 4; ++word) {
        TOME_UNROLL
        for (int e = 0; e < 2; ++e) {
          const auto right = bits_as<float>(b[e].word[word]);
          square[e] = fmaf(right, right, square[e]);
          TOME_UNROLL
          for (int i = 0; i < 4; ++i) {
            float& dot = tile.dot[i / 2][i % 2 * 2 + e];
            dot = fmaf(bits_as<float>(a[i].word[word]), right, dot);
          }
        }
      }
    }
    TOME_UNROLL
    for (int e = 0; e < 2; ++e) tile.scale[e] = column_scale(p_.similarity, square[e]);
  }

  template <class Ctx>
  TOME_KERNEL void square_rows(const Ctx& ctx, float (&square)[4]) const {
    TOME_UNROLL
    for (int i = 0; i < 4; ++i) square[i] = 0;
    for (int c = lane_ % 4; c < p_.channels; c += 4) {
      TOME_UNROLL
      for (int i = 0; i < 4; ++i) square[i] = fmaf(row_[i][c], row_[i][c], square[i]);
    }
    TOME_UNROLL
    for (int i = 0; i < 4; ++i) square[i] = sum_of_quad(ctx, square[i]);
  }

 private:
  const MatchParams<float>& p_;
  int sample_, lane_;
  bool vectors_;
  const float* row_[4];
};

}  // namespace tome::cuda
