// What both attention kernels are made of: rows of keys, values and queries in shared memory, the
// online softmax in registers, and the way back to memory.
//
// Note [log s inside the attention kernel]
// The online softmax of FlashAttention (Dao et al., 2022, arXiv 2205.14135): a block holds 64
// queries of one head and goes over the keys 64 at a time, keeping each row's sum and what is
// subtracted from its scores: a maximum of the row, which moves only when scores pass it by kSlack.
// log s is one number for each key, added to the scores while they are in registers; where all
// sizes are one, nothing is added. Everything is in powers of two: softmax(x) with e^x = 2^(x log2
// e), and log2 s is exact for the sizes that powers of two are. Keys past the end are masked in
// the last step alone, which is compiled apart.
#pragma once

#include "cuda/portable.h"

namespace tome::cuda {

/// T is Bf16 or Half. Strides are in elements and multiples of 8, pointers 16-byte aligned, so that
/// keys move 16 bytes at a time; rows of a QKV product of any multiple of 8 columns are.
template <class T>
struct AttentionParams {
  const T* q = nullptr;  ///< [batch, tokens, heads, dim]
  const T* k = nullptr;
  const T* v = nullptr;
  const float* key_weight = nullptr;  ///< [batch or 1, tokens], >= 0: token sizes; null: ones
  int64_t weight_sample_stride = 0;   ///< 0: one row for all samples
  T* out = nullptr;                   ///< [batch, tokens, heads * dim], contiguous
  int64_t sample_stride = 0, token_stride = 0, head_stride = 0;  ///< of q, k and v
  int batch = 0, tokens = 0, heads = 0;
  float scale = 0;  ///< 1 / sqrt(dim), for the scores
};

constexpr int kAttentionRows = 64;  ///< queries of one block, 16 for each of its 4 warps
constexpr int kAttentionKeys = 64;  ///< keys of one step
constexpr int kAttentionThreads = 128;
constexpr float kLog2E = 1.4426950408889634F;

/// Where one block works.
template <class T>
struct AttentionPlace {
  const T *q, *k, *v;  ///< of this sample and head; q from the block's first query on
  const float* weight;
  T* out;  ///< from the block's first query on
  int queries;
  int steps;
};

template <class Ctx, class T, int kDim>
TOME_KERNEL AttentionPlace<T> attention_place(const Ctx& ctx, const AttentionParams<T>& p) {
  const int head = ctx.block_y(), sample = ctx.block_z();
  const int first = ctx.block_x() * kAttentionRows;
  const int64_t at = sample * p.sample_stride + head * p.head_stride;
  const int64_t token = static_cast<int64_t>(sample) * p.tokens + first;
  return {p.q + at + first * p.token_stride,
          p.k + at,
          p.v + at,
          p.key_weight == nullptr ? nullptr : p.key_weight + sample * p.weight_sample_stride,
          p.out + (token * p.heads + head) * kDim,
          min_of(p.tokens - first, kAttentionRows),
          ceil_div(p.tokens, kAttentionKeys)};
}

/// A warp's first row. Of four warps: so the compiler knows the range, and spills nothing.
template <class Ctx>
TOME_KERNEL int first_row(const Ctx& ctx) {
  return ctx.warp() % (kAttentionRows / 16) * 16;
}

/// Whether any of a warp's rows is a query.
template <class Ctx, class T>
TOME_KERNEL bool has_queries(const Ctx& ctx, const AttentionPlace<T>& place) {
  return ctx.warp_wide(ctx.warp()) * 16 < place.queries;
}

/// Note [Rows without bank conflicts]
/// 8 rows of one 16-byte vector, which are read together, must lie in different banks. Rows of 64
/// channels (128 bytes) are swizzled as wgmma wants them: vector v of row i lies in the place of
/// v ^ i % 8. Others are 16 bytes longer than their content.
template <int kDim>
constexpr int kRowPitch = kDim == 64 ? 64 : kDim + 8;

// One size of tile, and one way to fetch it, for queries, keys and values.
static_assert(kAttentionRows == kAttentionKeys);
template <int kDim>
constexpr int kTileElements = kAttentionRows* kRowPitch<kDim>;

/// Where vector v of a row lies, in elements.
template <int kDim>
TOME_DEVICE int row_vector(int row, int vector) {
  return row * kRowPitch<kDim> + (kDim == 64 ? vector ^ row % 8 : vector) * 8;
}

/// Two stages of keys, two of values, the queries (later the results), two stages of weights.
template <int kDim>
constexpr int kAttentionSharedBytes = 5 * 2 * kTileElements<kDim> + 2 * 4 * kAttentionKeys;

template <class Ctx, class T, int kDim>
TOME_KERNEL T* keys_of(const Ctx& ctx, int step) {
  return ctx.template shared<T>() + step % 2 * kTileElements<kDim>;
}

template <class Ctx, class T, int kDim>
TOME_KERNEL T* values_of(const Ctx& ctx, int step) {
  return ctx.template shared<T>() + (2 + step % 2) * kTileElements<kDim>;
}

template <class Ctx, class T, int kDim>
TOME_KERNEL T* query_rows(const Ctx& ctx) {
  return ctx.template shared<T>() + 4 * kTileElements<kDim>;
}

template <class Ctx, int kDim>
TOME_KERNEL float* weights_of(const Ctx& ctx, int step) {
  return ctx.template shared<float>(5 * 2 * kTileElements<kDim>) + step % 2 * kAttentionKeys;
}

/// Begins to copy 64 rows, 16 bytes to a thread at a time: those of `from` on, of which `left` are
/// there; the others become zeros. @param kFull  all are there
template <class Ctx, class T, int kDim, bool kFull = false>
TOME_KERNEL void fetch_rows(const Ctx& ctx, const T* from, int64_t stride, int left, T* to) {
  constexpr int kVectors = kDim / 8;
  constexpr int kTurns = kAttentionRows * kVectors / kAttentionThreads;
  if constexpr (kAttentionThreads / kVectors % 8 == 0) {
    // Rows of one thread are a multiple of 8 apart: the swizzle is the same for all.
    constexpr int kRows = kAttentionThreads / kVectors;
    const int first = ctx.thread() / kVectors, vector = ctx.thread() % kVectors;
    T* place = to + row_vector<kDim>(first, vector);
    const T* mine = from + first * stride + vector * 8;
    TOME_UNROLL
    for (int i = 0; i < kTurns; ++i) {
      T* row = place + i * kRows * kRowPitch<kDim>;
      if constexpr (kFull) {
        ctx.copy_async16(row, mine + i * kRows * stride);
      } else {
        const bool valid = first + i * kRows < left;
        ctx.copy_async16(row, valid ? mine + i * kRows * stride : from, valid);
      }
    }
  } else {
    static_assert(!kFull, "only heads of 32, 64 and 128 channels have the short way");
    TOME_UNROLL
    for (int i = 0; i < kTurns; ++i) {
      const int item = ctx.thread() + i * kAttentionThreads;
      const int row = item / kVectors, vector = item % kVectors;
      const bool valid = row < left;
      ctx.copy_async16(to + row_vector<kDim>(row, vector),
                       from + (valid ? row * stride + vector * 8 : 0), valid);
    }
  }
}

template <class Ctx, class T, int kDim, bool kFull = false>
TOME_KERNEL void fetch_values(const Ctx& ctx, const AttentionParams<T>& p,
                              const AttentionPlace<T>& place, int step) {
  const int first = step * kAttentionKeys;
  fetch_rows<Ctx, T, kDim, kFull>(ctx, place.v + first * p.token_stride, p.token_stride,
                                  p.tokens - first, values_of<Ctx, T, kDim>(ctx, step));
}

/// Keys, and their weights, which are there after the next barrier.
template <class Ctx, class T, int kDim, bool kWeighted, bool kFull = false>
TOME_KERNEL void fetch_keys(const Ctx& ctx, const AttentionParams<T>& p,
                            const AttentionPlace<T>& place, int step) {
  const int first = step * kAttentionKeys;
  fetch_rows<Ctx, T, kDim, kFull>(ctx, place.k + first * p.token_stride, p.token_stride,
                                  p.tokens - first, keys_of<Ctx, T, kDim>(ctx, step));
  if constexpr (kWeighted) {
    const int token = first + ctx.thread();
    if (ctx.thread() < kAttentionKeys && (kFull || token < p.tokens)) {
      weights_of<Ctx, kDim>(ctx, step)[ctx.thread()] = ctx.log2(place.weight[token]);
    }
  }
}

/// The queries of a warp: a fragments of tile_mma for each 16 channels.
template <int kDim>
struct QueryFragments {
  uint32_t step[kDim / 16][4];
};

template <class Ctx, class T, int kDim>
TOME_KERNEL void load_queries(const Ctx& ctx, QueryFragments<kDim>& q) {
  const int row = first_row(ctx) + ctx.lane() % 16;
  TOME_UNROLL
  for (int step = 0; step < kDim / 16; ++step) {
    ctx.load_matrix_x4(q.step[step], query_rows<Ctx, T, kDim>(ctx) +
                                         row_vector<kDim>(row, 2 * step + ctx.lane() / 16));
  }
}

/// What a warp has in registers of its 16 rows; a lane has rows g and g + 8.
template <int kDim>
struct AttentionState {
  float score[kAttentionKeys / 2];  ///< [n / 8][4], as tile_mma's results side by side
  float out[kDim / 2];
  float base[2];  ///< of scores in powers of two if they are weighted, else as they are
  float sum[2];
  float shrink[2];
};

template <int kDim>
TOME_DEVICE AttentionState<kDim> first_state() {
  AttentionState<kDim> state = {};
  state.base[0] = state.base[1] = -INFINITY;
  return state;
}

/// Masks and weights the scores of one step. @param most  out: rows' maxima in this lane
template <class Ctx, int kDim, bool kWeighted, bool kLast>
TOME_KERNEL void weight_scores(const Ctx& ctx, float scale, int step, int keys,
                               AttentionState<kDim>& state, float (&most)[2]) {
  const float* weights = weights_of<Ctx, kDim>(ctx, step) + ctx.lane() % 4 * 2;
  float maximum[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};  // four chains, not two
  TOME_UNROLL
  for (int n = 0; n < kAttentionKeys / 8; ++n) {
    if (kLast && n * 8 >= keys) break;
    TOME_UNROLL
    for (int i = 0; i < 4; ++i) {
      float& score = state.score[n * 4 + i];
      const int column = n * 8 + i % 2;
      const bool valid = !kLast || column + ctx.lane() % 4 * 2 < keys;
      if constexpr (kWeighted) score = valid ? fmaf(score, scale, weights[column]) : -INFINITY;
      if constexpr (kLast && !kWeighted) score = valid ? score : -INFINITY;
      maximum[i] = fmaxf(maximum[i], score);
    }
  }
  most[0] = fmaxf(maximum[0], maximum[1]);
  most[1] = fmaxf(maximum[2], maximum[3]);
}

/// How far a row's scores, in powers of two, may pass the number that is subtracted from them
/// before that number follows: what is summed is at most 2^8 each, and where no row of a warp is
/// moved, nothing has to be scaled.
constexpr float kSlack = 8;

/// Scores of one step become probabilities, relative to about the rows' maxima; `shrink` is what
/// those of the steps before are worth now. @param scale  of the scores, in powers of two
template <class Ctx, int kDim, bool kWeighted, bool kLast>
TOME_KERNEL void update_softmax(const Ctx& ctx, float scale, int step, int keys,
                                AttentionState<kDim>& state) {
  float most[2];
  weight_scores<Ctx, kDim, kWeighted, kLast>(ctx, scale, step, keys, state, most);
  const float factor = kWeighted ? 1.0F : scale;
  float subtract[2];
  TOME_UNROLL
  for (int half = 0; half < 2; ++half) {
    most[half] = fmaxf(most[half], ctx.shuffle_xor(most[half], 1));
    most[half] = fmaxf(most[half], ctx.shuffle_xor(most[half], 2));
    const float old = state.base[half];
    const bool stays = most[half] * factor <= old * factor + kSlack;
    if (stays) most[half] = old;
    // Nothing but -inf so far (keys of weight 0): subtract 0, or -inf - -inf would be NaN.
    subtract[half] = most[half] == -INFINITY ? 0.0F : most[half] * factor;
    state.shrink[half] = stays ? 1.0F : ctx.exp2(fmaf(old, factor, -subtract[half]));
    state.base[half] = most[half];
  }
  float sum[4] = {0, 0, 0, 0};
  TOME_UNROLL
  for (int n = 0; n < kAttentionKeys / 8; ++n) {
    TOME_UNROLL
    for (int i = 0; i < 4; ++i) {
      float& score = state.score[n * 4 + i];
      if (kLast && n * 8 >= keys) {
        score = 0;
        continue;
      }
      score = ctx.exp2(fmaf(score, factor, -subtract[i / 2]));
      sum[i] += score;
    }
  }
  TOME_UNROLL
  for (int half = 0; half < 2; ++half) {
    state.sum[half] = fmaf(state.sum[half], state.shrink[half], sum[2 * half] + sum[2 * half + 1]);
  }
}

/// A score tile's layout is that of the left operand, so probabilities stay in registers.
template <class Ctx, class T, int kDim>
TOME_KERNEL void shrink_and_pack(const Ctx& ctx, AttentionState<kDim>& state,
                                 uint32_t (&p)[kAttentionKeys / 16][4]) {
  if (ctx.any(state.shrink[0] != 1.0F || state.shrink[1] != 1.0F)) {
    TOME_UNROLL
    for (int i = 0; i < kDim / 2; ++i) state.out[i] *= state.shrink[i / 2 % 2];
  }
  TOME_UNROLL
  for (int i = 0; i < kAttentionKeys / 4; ++i) {
    p[i / 4][i % 4] = pack2<T>(state.score[2 * i], state.score[2 * i + 1]);
  }
}

/// By way of shared memory, so that whole rows are written. Warps do not meet here.
template <class Ctx, class T, int kDim>
TOME_KERNEL void store_attention(const Ctx& ctx, const AttentionParams<T>& p,
                                 const AttentionPlace<T>& place,
                                 const AttentionState<kDim>& state) {
  const int g = ctx.lane() / 4, t = ctx.lane() % 4, first = first_row(ctx);
  T* rows = query_rows<Ctx, T, kDim>(ctx);
  TOME_UNROLL
  for (int half = 0; half < 2; ++half) {
    float sum = state.sum[half];  // this lane's columns only, so far
    sum += ctx.shuffle_xor(sum, 1);
    sum += ctx.shuffle_xor(sum, 2);
    const float scale = 1.0F / sum;
    TOME_UNROLL
    for (int n = 0; n < kDim / 8; ++n) {
      const float* pair = state.out + n * 4 + half * 2;
      const uint32_t packed = pack2<T>(pair[0] * scale, pair[1] * scale);
      memcpy(rows + row_vector<kDim>(first + g + half * 8, n) + 2 * t, &packed, sizeof(packed));
    }
  }
  ctx.sync_warp();
  constexpr int kVectors = kDim / 8;
  TOME_UNROLL
  for (int i = 0; i < 16 * kVectors / kWarpSize; ++i) {
    const int item = i * kWarpSize + ctx.lane();
    const int row = first + item / kVectors, vector = item % kVectors;
    if (row >= place.queries) continue;
    *reinterpret_cast<Bytes16*>(place.out + static_cast<int64_t>(row) * p.heads * kDim +
                                vector * 8) =
        *reinterpret_cast<const Bytes16*>(rows + row_vector<kDim>(row, vector));
  }
}

/// Where matching runs beside attention: the grid's last block waits for it. Others would keep
/// their places from blocks that have work.
template <class Ctx, class T>
TOME_KERNEL void end_after_matching(const Ctx& ctx, const AttentionParams<T>& p) {
  const bool last = ctx.block_x() == ctx.grid_x() - 1 && ctx.block_y() == p.heads - 1 &&
                    ctx.block_z() == p.batch - 1;
  if (last) ctx.wait_for_prerequisites();
}

/// What every attention kernel is launched as: grid (ceil(tokens / 64), heads, batch), 128 threads,
/// kAttentionSharedBytes of shared memory. Body<T, kDim, kWeighted>.
template <template <class, int, bool> class Body, int kDim, class T, class Launcher>
void launch_attention_body(Launcher& launcher, const AttentionParams<T>& p) {
  LaunchShape shape;
  shape.grid = {ceil_div(p.tokens, kAttentionRows), p.heads, p.batch};
  shape.threads = kAttentionThreads;
  shape.shared_bytes = kAttentionSharedBytes<kDim>;
  if (p.key_weight != nullptr) {
    launcher.template run<Body<T, kDim, true>>(shape, p);
  } else {
    launcher.template run<Body<T, kDim, false>>(shape, p);
  }
}

}  // namespace tome::cuda
