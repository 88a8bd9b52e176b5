// Attention on a GPU with a weight for each key (proportional attention, ToMe sec. 3: softmax(Q K^T
// / sqrt(d) + log s)) and no N x N matrix in memory.
//
// Note [log s inside the attention kernel]
// The online softmax of FlashAttention (Dao et al., 2022, arXiv 2205.14135): a block holds 64
// queries of one head and goes over the keys 64 at a time, keeping each row's maximum and sum. The
// bias is one number for each key, added to the scores while they are in registers; keys past the
// end get -inf by the same addition, so there is no other mask. Everything is in powers of two:
// softmax(x) with e^x = 2^(x log2 e), and log2 s is exact for the sizes that powers of two are.
// Keys and values of the next step are copied while the current one is computed.
//
// Others that docs/gpu.md lists and a measurement will choose from: a library's attention with a
// broadcast bias, and extra head dimensions that carry log s.
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
  const float* key_weight = nullptr;  ///< [batch or 1, tokens], > 0: token sizes; null: ones
  int64_t weight_sample_stride = 0;   ///< 0: one row for all samples
  T* out = nullptr;                   ///< [batch, tokens, heads * dim], contiguous
  int64_t sample_stride = 0, token_stride = 0, head_stride = 0;  ///< of q, k and v
  int batch = 0, tokens = 0, heads = 0;
  float scale = 0;  ///< 1 / sqrt(dim), for the scores
};

constexpr int kAttentionRows = 64;  ///< queries of one block, 16 for each warp
constexpr int kAttentionKeys = 64;  ///< keys of one step
constexpr int kAttentionThreads = 128;
constexpr float kLog2E = 1.4426950408889634F;

/// Rows in shared memory are 16 bytes longer than their content, so that the 8 rows of one
/// load_matrix are in different banks.
template <int kDim>
constexpr int kTilePitch = kDim + 8;

template <int kDim>
constexpr int kTileElements = kAttentionKeys* kTilePitch<kDim>;

/// Two stages of keys and values, then two of biases.
template <int kDim>
constexpr int kAttentionSharedBytes = 2 * 2 * 2 * kTileElements<kDim> + 2 * 4 * kAttentionKeys;

/// The queries of a warp: a fragments of tile_mma for each 16 channels.
template <int kDim>
struct QueryFragments {
  uint32_t step[kDim / 16][4];
};

/// Running softmax of a warp's 16 rows; a lane has rows g and g + 8.
template <int kDim>
struct AttentionState {
  float out[kDim / 8][4];
  float maximum[2], sum[2];
};

/// Where one block works.
template <class T>
struct AttentionPlace {
  const T *q, *k, *v;  // of this sample and head
  const float* weight;
  T* out;
  int first_query, tokens;
};

template <class Ctx, class T, int kDim>
TOME_KERNEL AttentionPlace<T> attention_place(const Ctx& ctx, const AttentionParams<T>& p) {
  const int head = ctx.block_y(), sample = ctx.block_z();
  const int64_t at = sample * p.sample_stride + head * p.head_stride;
  const int64_t first_token = static_cast<int64_t>(sample) * p.tokens;
  return {p.q + at,
          p.k + at,
          p.v + at,
          p.key_weight == nullptr ? nullptr : p.key_weight + sample * p.weight_sample_stride,
          p.out + (first_token * p.heads + head) * kDim,
          ctx.block_x() * kAttentionRows,
          p.tokens};
}

template <class Ctx, class T, int kDim>
TOME_KERNEL void load_queries(const Ctx& ctx, const AttentionParams<T>& p,
                              const AttentionPlace<T>& place, QueryFragments<kDim>& q) {
  const int g = ctx.lane() / 4, t = ctx.lane() % 4;
  TOME_UNROLL
  for (int half = 0; half < 2; ++half) {
    const int row = place.first_query + ctx.warp() * 16 + g + half * 8;
    const T* from = place.q + row * p.token_stride + 2 * t;
    TOME_UNROLL
    for (int step = 0; step < kDim / 16; ++step) {
      TOME_UNROLL
      for (int part = 0; part < 2; ++part) {
        uint32_t pair = 0;
        if (row < place.tokens) memcpy(&pair, from + step * 16 + part * 8, sizeof(pair));
        q.step[step][half + 2 * part] = pair;
      }
    }
  }
}

/// Begins to copy one step's keys and values; its biases are there after the next barrier.
template <class Ctx, class T, int kDim>
TOME_KERNEL void fetch_keys(const Ctx& ctx, const AttentionParams<T>& p,
                            const AttentionPlace<T>& place, int step) {
  constexpr int kVectors = kDim / 8;
  T* keys = ctx.template shared<T>() + step % 2 * 2 * kTileElements<kDim>;
  T* values = keys + kTileElements<kDim>;
  for (int i = ctx.thread(); i < kAttentionKeys * kVectors; i += ctx.threads()) {
    const int row = i / kVectors, channel = i % kVectors * 8;
    const int token = step * kAttentionKeys + row;
    const bool valid = token < place.tokens;
    const int64_t from = (valid ? token : 0) * p.token_stride + channel;
    const int to = row * kTilePitch<kDim> + channel;
    ctx.copy_async16(keys + to, place.k + from, valid);
    ctx.copy_async16(values + to, place.v + from, valid);
  }
  float* bias = ctx.template shared<float>(8 * kTileElements<kDim>) + step % 2 * kAttentionKeys;
  for (int i = ctx.thread(); i < kAttentionKeys; i += ctx.threads()) {
    const int token = step * kAttentionKeys + i;
    bias[i] = token >= place.tokens
                  ? -INFINITY
                  : (place.weight == nullptr ? 0.0F : ctx.log2(place.weight[token]));
  }
}

/// Scores of a warp's 16 queries with the step's 64 keys, in powers of two, bias included.
template <class Ctx, class T, int kDim>
TOME_KERNEL void score_keys(const Ctx& ctx, const QueryFragments<kDim>& q, float scale, int step,
                            float (&score)[kAttentionKeys / 8][4]) {
  const T* keys = ctx.template shared<T>() + step % 2 * 2 * kTileElements<kDim>;
  const float* bias =
      ctx.template shared<float>(8 * kTileElements<kDim>) + step % 2 * kAttentionKeys;
  const int matrix = ctx.lane() / 8, row = ctx.lane() % 8;
  TOME_UNROLL
  for (int n = 0; n < kAttentionKeys / 8; n += 2) {
    TOME_UNROLL
    for (int i = 0; i < 4; ++i) score[n][i] = score[n + 1][i] = 0;
    TOME_UNROLL
    for (int k = 0; k < kDim / 16; ++k) {
      uint32_t b[4];
      ctx.load_matrix_x4(
          b, keys + (n * 8 + matrix / 2 * 8 + row) * kTilePitch<kDim> + k * 16 + matrix % 2 * 8);
      const uint32_t first[2] = {b[0], b[1]}, second[2] = {b[2], b[3]};
      ctx.template tile_mma<T>(score[n], q.step[k], first);
      ctx.template tile_mma<T>(score[n + 1], q.step[k], second);
    }
  }
  TOME_UNROLL
  for (int n = 0; n < kAttentionKeys / 8; ++n) {
    TOME_UNROLL
    for (int i = 0; i < 4; ++i) {
      score[n][i] = score[n][i] * scale + bias[n * 8 + ctx.lane() % 4 * 2 + i % 2];
    }
  }
}

/// Scores become probabilities relative to the rows' new maxima; the state is rescaled to them.
template <class Ctx, int kDim>
TOME_KERNEL void update_softmax(const Ctx& ctx, float (&score)[kAttentionKeys / 8][4],
                                AttentionState<kDim>& state) {
  TOME_UNROLL
  for (int half = 0; half < 2; ++half) {
    float maximum = state.maximum[half];
    TOME_UNROLL
    for (int n = 0; n < kAttentionKeys / 8; ++n) {
      maximum = max_of(maximum, max_of(score[n][2 * half], score[n][2 * half + 1]));
    }
    maximum = max_of(maximum, ctx.shuffle_xor(maximum, 1));
    maximum = max_of(maximum, ctx.shuffle_xor(maximum, 2));
    // Nothing but -inf so far (keys of weight 0): subtract 0, or -inf - -inf would be NaN.
    const float base = maximum == -INFINITY ? 0.0F : maximum;
    const float shrink = ctx.exp2(state.maximum[half] - base);
    state.maximum[half] = maximum;
    float sum = 0;
    TOME_UNROLL
    for (int n = 0; n < kAttentionKeys / 8; ++n) {
      TOME_UNROLL
      for (int e = 0; e < 2; ++e) {
        float& s = score[n][2 * half + e];
        s = ctx.exp2(s - base);
        sum += s;
      }
    }
    state.sum[half] = state.sum[half] * shrink + sum;
    TOME_UNROLL
    for (int n = 0; n < kDim / 8; ++n) {
      state.out[n][2 * half] *= shrink;
      state.out[n][2 * half + 1] *= shrink;
    }
  }
}

/// out += P V. A score tile's layout is that of the left operand, so P stays in registers.
template <class Ctx, class T, int kDim>
TOME_KERNEL void add_values(const Ctx& ctx, const float (&p)[kAttentionKeys / 8][4], int step,
                            AttentionState<kDim>& state) {
  const T* values =
      ctx.template shared<T>() + step % 2 * 2 * kTileElements<kDim> + kTileElements<kDim>;
  const int matrix = ctx.lane() / 8, row = ctx.lane() % 8;
  TOME_UNROLL
  for (int k = 0; k < kAttentionKeys / 16; ++k) {
    const uint32_t a[4] = {pack2<T>(p[2 * k][0], p[2 * k][1]), pack2<T>(p[2 * k][2], p[2 * k][3]),
                           pack2<T>(p[2 * k + 1][0], p[2 * k + 1][1]),
                           pack2<T>(p[2 * k + 1][2], p[2 * k + 1][3])};
    TOME_UNROLL
    for (int n = 0; n < kDim / 8; n += 2) {
      uint32_t b[4];
      ctx.load_matrix_x4_transposed(
          b, values + (k * 16 + matrix % 2 * 8 + row) * kTilePitch<kDim> + n * 8 + matrix / 2 * 8);
      const uint32_t first[2] = {b[0], b[1]}, second[2] = {b[2], b[3]};
      ctx.template tile_mma<T>(state.out[n], a, first);
      ctx.template tile_mma<T>(state.out[n + 1], a, second);
    }
  }
}

template <class Ctx, class T, int kDim>
TOME_KERNEL void store_attention(const Ctx& ctx, const AttentionParams<T>& p,
                                 const AttentionPlace<T>& place,
                                 const AttentionState<kDim>& state) {
  const int g = ctx.lane() / 4, t = ctx.lane() % 4;
  TOME_UNROLL
  for (int half = 0; half < 2; ++half) {
    float sum = state.sum[half];  // this lane's columns only, so far
    sum += ctx.shuffle_xor(sum, 1);
    sum += ctx.shuffle_xor(sum, 2);
    const int row = place.first_query + ctx.warp() * 16 + g + half * 8;
    if (row >= place.tokens) continue;
    T* out = place.out + static_cast<int64_t>(row) * p.heads * kDim + 2 * t;
    const float scale = 1.0F / sum;
    TOME_UNROLL
    for (int n = 0; n < kDim / 8; ++n) {
      const uint32_t pair =
          pack2<T>(state.out[n][2 * half] * scale, state.out[n][2 * half + 1] * scale);
      memcpy(out + n * 8, &pair, sizeof(pair));
    }
  }
}

/// Grid (ceil(tokens / 64), heads, batch), 128 threads, kAttentionSharedBytes of shared memory.
template <class Ctx, class T, int kDim>
TOME_KERNEL void attention_kernel(Ctx& ctx, const AttentionParams<T>& p) {
  static_assert(kDim % 16 == 0);
  const auto place = attention_place<Ctx, T, kDim>(ctx, p);
  const int steps = ceil_div(p.tokens, kAttentionKeys);
  fetch_keys<Ctx, T, kDim>(ctx, p, place, 0);
  ctx.copy_commit();
  QueryFragments<kDim> q;
  load_queries(ctx, p, place, q);
  AttentionState<kDim> state;
  TOME_UNROLL
  for (int n = 0; n < kDim / 8; ++n) {
    TOME_UNROLL
    for (int i = 0; i < 4; ++i) state.out[n][i] = 0;
  }
  for (int half = 0; half < 2; ++half) {
    state.maximum[half] = -INFINITY;
    state.sum[half] = 0;
  }
  for (int step = 0; step < steps; ++step) {
    if (step + 1 < steps) fetch_keys<Ctx, T, kDim>(ctx, p, place, step + 1);
    ctx.copy_commit();
    ctx.template copy_wait<1>();
    ctx.sync_block();
    float score[kAttentionKeys / 8][4];
    score_keys<Ctx, T, kDim>(ctx, q, p.scale * kLog2E, step, score);
    update_softmax(ctx, score, state);
    add_values<Ctx, T, kDim>(ctx, score, step, state);
    ctx.sync_block();
  }
  store_attention(ctx, p, place, state);
}

template <class T, int kDim>
struct AttentionBody {
  using Params = AttentionParams<T>;
  static constexpr int kThreads = kAttentionThreads;
  template <class Ctx>
  static TOME_KERNEL void run(Ctx& ctx, const Params& p) {
    attention_kernel<Ctx, T, kDim>(ctx, p);
  }
};

template <int kDim, class T, class Launcher>
void launch_attention_of(Launcher& launcher, const AttentionParams<T>& p) {
  LaunchShape shape;
  shape.grid = {ceil_div(p.tokens, kAttentionRows), p.heads, p.batch};
  shape.threads = kAttentionThreads;
  shape.shared_bytes = kAttentionSharedBytes<kDim>;
  launcher.template run<AttentionBody<T, kDim>>(shape, p);
}

/// @return false for a head dimension without a kernel
template <class T, class Launcher>
bool launch_attention(Launcher& launcher, int dim, const AttentionParams<T>& p) {
  switch (dim) {
    case 32:
      launch_attention_of<32>(launcher, p);
      return true;
    case 64:
      launch_attention_of<64>(launcher, p);
      return true;
    case 80:
      launch_attention_of<80>(launcher, p);
      return true;
    case 128:
      launch_attention_of<128>(launcher, p);
      return true;
    default:
      return false;
  }
}

}  // namespace tome::cuda
