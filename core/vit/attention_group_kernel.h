// Attention by warpgroups, for devices that have them (compute capability 9.0): the same online
// softmax as attention_kernel.h, whose products are wgmma's.
//
// Note [Attention by warpgroups]
// A warpgroup (4 warps) holds 64 queries of one head and their scores with 64 keys in registers;
// keys and values lie in shared memory, in rows of 128 bytes swizzled as wgmma reads them, and are
// read once for 64 queries, where mma.sync reads them for every 16. A block is one warpgroup, of
// which four share a multiprocessor (two to a block, which share keys, were slower at all sizes).
// Both products run in the background: those of the next keys are enqueued before this step's
// values are multiplied, and the values' product goes on during the next step's softmax. The last
// step computes no softmax for keys that are not there, and warps without queries none at all. The
// weight of a key is added as log2 s while scores are in registers; where all weights are one,
// nothing is.
#pragma once

#include "vit/attention_kernel.h"

namespace tome::cuda {

constexpr int kGroupDim = 64;       ///< channels of a head: 128 bytes, one swizzled row
constexpr int kGroupThreads = 128;  ///< of one warpgroup, which takes kAttentionRows queries
constexpr int kGroupTile = kAttentionKeys * kGroupDim;  ///< elements of one step's keys or values

/// Two stages of keys, two of values, the queries (later the results), two stages of weights.
constexpr int kGroupSharedBytes = 5 * 2 * kGroupTile + 2 * 4 * kAttentionKeys;

/// What a warpgroup has in registers; a lane has rows g and g + 8 of its warp's 16.
struct GroupState {
  float score[kAttentionKeys / 2];  ///< [n / 8][4], as tile_mma's results side by side
  float out[kGroupDim / 2];
  float maximum[2], sum[2];  ///< of scores in powers of two if they are weighted, else as they are
  float shrink[2];
};

/// Whether any of a warp's rows is a query.
template <class Ctx, class T>
TOME_KERNEL bool has_queries(const Ctx& ctx, const AttentionPlace<T>& place) {
  return place.first_query + ctx.warp_wide(ctx.warp()) * 16 < place.tokens;
}

template <class Ctx, class T>
TOME_KERNEL T* group_keys(const Ctx& ctx, int step) {
  return ctx.template shared<T>() + step % 2 * kGroupTile;
}

template <class Ctx, class T>
TOME_KERNEL T* group_values(const Ctx& ctx, int step) {
  return ctx.template shared<T>() + (2 + step % 2) * kGroupTile;
}

template <class Ctx, class T>
TOME_KERNEL T* group_queries(const Ctx& ctx) {
  return ctx.template shared<T>() + 4 * kGroupTile;
}

template <class Ctx>
TOME_KERNEL float* group_weights(const Ctx& ctx, int step) {
  return ctx.template shared<float>(5 * 2 * kGroupTile) + step % 2 * kAttentionKeys;
}

/// Where vector v (16 bytes) of a swizzled tile's row lies, in elements.
TOME_DEVICE int swizzled(int row, int vector) { return row * kGroupDim + (vector ^ row % 8) * 8; }

/// Begins to copy rows of 64 channels, 16 bytes to a thread at a time: those of `from` on, of which
/// `left` are there; the others become zeros.
template <class Ctx, class T>
TOME_KERNEL void fetch_rows(const Ctx& ctx, const T* from, int64_t stride, int left, T* to) {
  constexpr int kVectors = kGroupDim / 8, kRows = kGroupThreads / kVectors;
  // Rows of one thread are multiples of 8 apart, so that the swizzle is the same for all.
  static_assert(kRows % 8 == 0);
  const int first = ctx.thread() / kVectors, vector = ctx.thread() % kVectors;
  from += first * stride + vector * 8;
  to += swizzled(first, vector);
  if (left >= kAttentionRows) {
    TOME_UNROLL
    for (int i = 0; i < kAttentionRows / kRows; ++i) {
      ctx.copy_async16(to + i * kRows * kGroupDim, from + i * kRows * stride, true);
    }
    return;
  }
  TOME_UNROLL
  for (int i = 0; i < kAttentionRows / kRows; ++i) {
    const bool valid = first + i * kRows < left;
    ctx.copy_async16(to + i * kRows * kGroupDim, from + (valid ? i * kRows * stride : 0), valid);
  }
}

template <class Ctx, class T>
TOME_KERNEL void fetch_step(const Ctx& ctx, const AttentionParams<T>& p, const T* from, int step,
                            T* to) {
  const int first = step * kAttentionKeys;
  fetch_rows<Ctx, T>(ctx, from + first * p.token_stride, p.token_stride, p.tokens - first, to);
}

template <class Ctx, class T, bool kWeighted>
TOME_KERNEL void fetch_group_keys(const Ctx& ctx, const AttentionParams<T>& p,
                                  const AttentionPlace<T>& place, int step) {
  fetch_step<Ctx, T>(ctx, p, place.k, step, group_keys<Ctx, T>(ctx, step));
  if constexpr (kWeighted) {
    const int token = step * kAttentionKeys + ctx.thread();
    if (ctx.thread() < kAttentionKeys && token < p.tokens) {
      group_weights(ctx, step)[ctx.thread()] = ctx.log2(place.weight[token]);
    }
  }
}

template <class Ctx, class T>
TOME_KERNEL void query_fragments(const Ctx& ctx, QueryFragments<kGroupDim>& q) {
  const int row = ctx.warp() * 16 + ctx.lane() % 16;
  TOME_UNROLL
  for (int step = 0; step < kGroupDim / 16; ++step) {
    ctx.load_matrix_x4(q.step[step],
                       group_queries<Ctx, T>(ctx) + swizzled(row, 2 * step + ctx.lane() / 16));
  }
}

/// Enqueues score = Q K^T of one step.
template <class Ctx, class T>
TOME_KERNEL void enqueue_scores(const Ctx& ctx, const QueryFragments<kGroupDim>& q, int step,
                                GroupState& state) {
  const T* keys = group_keys<Ctx, T>(ctx, step);
  TOME_UNROLL
  for (int k = 0; k < kGroupDim / 16; ++k) {
    ctx.template group_mma<T, false>(state.score, q.step[k], keys + k * 16, k > 0);
  }
  ctx.group_commit();
}

/// Enqueues out += P V of one step; keys past the end have P = 0 and V = 0.
template <class Ctx, class T>
TOME_KERNEL void enqueue_values(const Ctx& ctx, const uint32_t (&p)[kAttentionKeys / 16][4],
                                int step, GroupState& state) {
  const T* values = group_values<Ctx, T>(ctx, step);
  TOME_UNROLL
  for (int k = 0; k < kAttentionKeys / 16; ++k) {
    ctx.template group_mma<T, true>(state.out, p[k], values + k * 16 * kGroupDim, true);
  }
  ctx.group_commit();
}

/// Masks and weights the scores of one step. @param most  out: rows' maxima in this lane
template <class Ctx, bool kWeighted, bool kLast>
TOME_KERNEL void weight_scores(const Ctx& ctx, float scale, int step, int keys, GroupState& state,
                               float (&most)[2]) {
  const float* weights = group_weights(ctx, step) + ctx.lane() % 4 * 2;
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

/// Scores of one step become probabilities relative to the rows' new maxima.
template <class Ctx, bool kWeighted, bool kLast>
TOME_KERNEL void group_softmax(const Ctx& ctx, float scale, int step, int keys, GroupState& state) {
  float most[2];
  weight_scores<Ctx, kWeighted, kLast>(ctx, scale, step, keys, state, most);
  const float factor = kWeighted ? 1.0F : scale;
  float base[2];
  TOME_UNROLL
  for (int half = 0; half < 2; ++half) {
    most[half] = fmaxf(most[half], ctx.shuffle_xor(most[half], 1));
    most[half] = fmaxf(most[half], ctx.shuffle_xor(most[half], 2));
    most[half] = fmaxf(most[half], state.maximum[half]);
    // Nothing but -inf so far (keys of weight 0): subtract 0, or -inf - -inf would be NaN.
    base[half] = most[half] == -INFINITY ? 0.0F : most[half] * factor;
    state.shrink[half] = ctx.exp2(fmaf(state.maximum[half], factor, -base[half]));
    state.maximum[half] = most[half];
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
      score = ctx.exp2(fmaf(score, factor, -base[i / 2]));
      sum[i] += score;
    }
  }
  TOME_UNROLL
  for (int half = 0; half < 2; ++half) {
    state.sum[half] = fmaf(state.sum[half], state.shrink[half], sum[2 * half] + sum[2 * half + 1]);
  }
}

template <class T>
TOME_DEVICE void shrink_and_pack(GroupState& state, uint32_t (&p)[kAttentionKeys / 16][4]) {
  TOME_UNROLL
  for (int i = 0; i < kGroupDim / 2; ++i) state.out[i] *= state.shrink[i / 2 % 2];
  TOME_UNROLL
  for (int i = 0; i < kAttentionKeys / 4; ++i) {
    p[i / 4][i % 4] = pack2<T>(state.score[2 * i], state.score[2 * i + 1]);
  }
}

/// By way of shared memory, so that whole rows of 128 bytes are written. Warps do not meet here.
template <class Ctx, class T>
TOME_KERNEL void store_group(const Ctx& ctx, const AttentionParams<T>& p,
                             const AttentionPlace<T>& place, const GroupState& state) {
  const int g = ctx.lane() / 4, t = ctx.lane() % 4, first = ctx.warp() * 16;
  T* rows = group_queries<Ctx, T>(ctx);
  TOME_UNROLL
  for (int half = 0; half < 2; ++half) {
    float sum = state.sum[half];  // this lane's columns only, so far
    sum += ctx.shuffle_xor(sum, 1);
    sum += ctx.shuffle_xor(sum, 2);
    const float scale = 1.0F / sum;
    TOME_UNROLL
    for (int n = 0; n < kGroupDim / 8; ++n) {
      const float* pair = state.out + n * 4 + half * 2;
      const uint32_t packed = pack2<T>(pair[0] * scale, pair[1] * scale);
      memcpy(rows + swizzled(first + g + half * 8, n) + 2 * t, &packed, sizeof(packed));
    }
  }
  ctx.sync_warp();
  const int vector = ctx.lane() % 8;
  TOME_UNROLL
  for (int i = 0; i < 4; ++i) {
    const int row = first + i * 4 + ctx.lane() / 8;
    const int64_t token = place.first_query + row;
    if (token >= p.tokens) continue;
    *reinterpret_cast<Bytes16*>(place.out + token * p.heads * kGroupDim + vector * 8) =
        *reinterpret_cast<const Bytes16*>(rows + swizzled(row, vector));
  }
}

/// Waits for what was fetched last, and fetches the keys after the next and the next values, once
/// all have read what lies where those go.
template <class Ctx, class T, bool kWeighted>
TOME_KERNEL void turn_stages(const Ctx& ctx, const AttentionParams<T>& p,
                             const AttentionPlace<T>& place, int step) {
  const int steps = ceil_div(p.tokens, kAttentionKeys);
  ctx.template copy_wait<0>();
  ctx.fence_shared();
  ctx.sync_block();
  if (step + 2 < steps) fetch_group_keys<Ctx, T, kWeighted>(ctx, p, place, step + 2);
  if (step + 1 < steps) {
    fetch_step<Ctx, T>(ctx, p, place.v, step + 1, group_values<Ctx, T>(ctx, step + 1));
  }
  ctx.copy_commit();
}

/// One step but the first: its scores, and the values of the step before. When it returns, nothing
/// runs in the background but copies.
template <class Ctx, class T, bool kWeighted, bool kLast>
TOME_KERNEL void group_step(const Ctx& ctx, const AttentionParams<T>& p,
                            const AttentionPlace<T>& place, const QueryFragments<kGroupDim>& q,
                            int step, uint32_t (&probabilities)[kAttentionKeys / 16][4],
                            GroupState& state) {
  ctx.group_fence(state.score);
  ctx.group_fence(state.out);
  enqueue_scores<Ctx, T>(ctx, q, step, state);
  enqueue_values<Ctx, T>(ctx, probabilities, step - 1, state);
  ctx.template group_wait<1>(state.score);
  const int keys = kLast ? p.tokens - step * kAttentionKeys : kAttentionKeys;
  if (has_queries(ctx, place)) {
    group_softmax<Ctx, kWeighted, kLast>(ctx, p.scale * kLog2E, step, keys, state);
  }
  ctx.template group_wait<0>(state.out);
  shrink_and_pack<T>(state, probabilities);
}

/// Grid (ceil(tokens / 64), heads, batch), 128 threads, kGroupSharedBytes of shared memory.
/// Queries, keys and values have 64 channels.
template <class Ctx, class T, bool kWeighted>
TOME_KERNEL void group_attention_kernel(Ctx& ctx, const AttentionParams<T>& p) {
  const auto place = attention_place<Ctx, T, kGroupDim>(ctx, p);
  const int steps = ceil_div(p.tokens, kAttentionKeys);
  fetch_rows(ctx, place.q + place.first_query * p.token_stride, p.token_stride,
             p.tokens - place.first_query, group_queries<Ctx, T>(ctx));
  fetch_group_keys<Ctx, T, kWeighted>(ctx, p, place, 0);
  ctx.copy_commit();
  if (steps > 1) fetch_group_keys<Ctx, T, kWeighted>(ctx, p, place, 1);
  fetch_step<Ctx, T>(ctx, p, place.v, 0, group_values<Ctx, T>(ctx, 0));
  ctx.copy_commit();
  GroupState state = {};
  for (int half = 0; half < 2; ++half) state.maximum[half] = -INFINITY;
  ctx.template copy_wait<1>();
  ctx.fence_shared();
  ctx.sync_block();
  QueryFragments<kGroupDim> q;
  query_fragments<Ctx, T>(ctx, q);

  ctx.group_fence(state.score);
  enqueue_scores<Ctx, T>(ctx, q, 0, state);
  ctx.template group_wait<0>(state.score);
  if (steps > 1) {
    group_softmax<Ctx, kWeighted, false>(ctx, p.scale * kLog2E, 0, kAttentionKeys, state);
  } else {
    group_softmax<Ctx, kWeighted, true>(ctx, p.scale * kLog2E, 0, p.tokens, state);
  }
  uint32_t probabilities[kAttentionKeys / 16][4];
  shrink_and_pack<T>(state, probabilities);
  turn_stages<Ctx, T, kWeighted>(ctx, p, place, 0);
  for (int step = 1; step + 1 < steps; ++step) {
    group_step<Ctx, T, kWeighted, false>(ctx, p, place, q, step, probabilities, state);
    turn_stages<Ctx, T, kWeighted>(ctx, p, place, step);
  }
  if (steps > 1) {
    group_step<Ctx, T, kWeighted, true>(ctx, p, place, q, steps - 1, probabilities, state);
    turn_stages<Ctx, T, kWeighted>(ctx, p, place, steps - 1);
  }
  ctx.group_fence(state.out);
  enqueue_values<Ctx, T>(ctx, probabilities, steps - 1, state);
  ctx.template group_wait<0>(state.out);
  store_group(ctx, p, place, state);
}

template <class T, bool kWeighted>
struct GroupAttentionBody {
  using Params = AttentionParams<T>;
  static constexpr int kThreads = kGroupThreads;
  static constexpr int kBlocks = 4;  ///< on a multiprocessor
  template <class Ctx>
  static TOME_KERNEL void run(Ctx& ctx, const Params& p) {
    group_attention_kernel<Ctx, T, kWeighted>(ctx, p);
  }
};

template <class T, class Launcher>
void launch_group_attention(Launcher& launcher, const AttentionParams<T>& p) {
  LaunchShape shape;
  shape.grid = {ceil_div(p.tokens, kAttentionRows), p.heads, p.batch};
  shape.threads = kGroupThreads;
  shape.shared_bytes = kGroupSharedBytes;
  if (p.key_weight != nullptr) {
    launcher.template run<GroupAttentionBody<T, true>>(shape, p);
  } else {
    launcher.template run<GroupAttentionBody<T, false>>(shape, p);
  }
}

}  // namespace tome::cuda
