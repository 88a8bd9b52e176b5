// Attention on a GPU with a weight for each key (proportional attention, ToMe sec. 3: softmax(Q K^T
// / sqrt(d) + log s)) and no N x N matrix in memory, by tile products of a warp, which every target
// has. Keys and values of the next step are copied while the current one is computed. Devices with
// warpgroups have attention_group_kernel.h for heads of 64 channels.
#pragma once

#include "vit/attention_rows.h"

namespace tome::cuda {

/// score = Q K^T of a warp's 16 queries with the step's 64 keys.
template <class Ctx, class T, int kDim>
TOME_KERNEL void score_keys(const Ctx& ctx, const QueryFragments<kDim>& q, int step,
                            AttentionState<kDim>& state) {
  const T* keys = keys_of<Ctx, T, kDim>(ctx, step);
  const int matrix = ctx.lane() / 8, row = ctx.lane() % 8;
  TOME_UNROLL
  for (int n = 0; n < kAttentionKeys / 8; n += 2) {
    float tile[2][4] = {{0, 0, 0, 0}, {0, 0, 0, 0}};
    TOME_UNROLL
    for (int k = 0; k < kDim / 16; ++k) {
      uint32_t b[4];
      ctx.load_matrix_x4(b,
                         keys + row_vector<kDim>(n * 8 + matrix / 2 * 8 + row, 2 * k + matrix % 2));
      const uint32_t first[2] = {b[0], b[1]}, second[2] = {b[2], b[3]};
      ctx.template tile_mma<T>(tile[0], q.step[k], first);
      ctx.template tile_mma<T>(tile[1], q.step[k], second);
    }
    TOME_UNROLL
    for (int i = 0; i < 8; ++i) state.score[n * 4 + i] = tile[i / 4][i % 4];
  }
}

/// out += P V.
template <class Ctx, class T, int kDim>
TOME_KERNEL void add_values(const Ctx& ctx, const uint32_t (&p)[kAttentionKeys / 16][4], int step,
                            AttentionState<kDim>& state) {
  const T* values = values_of<Ctx, T, kDim>(ctx, step);
  const int matrix = ctx.lane() / 8, row = ctx.lane() % 8;
  TOME_UNROLL
  for (int n = 0; n < kDim / 8; n += 2) {
    float tile[2][4];
    TOME_UNROLL
    for (int i = 0; i < 8; ++i) tile[i / 4][i % 4] = state.out[n * 4 + i];
    TOME_UNROLL
    for (int k = 0; k < kAttentionKeys / 16; ++k) {
      uint32_t b[4];
      ctx.load_matrix_x4_transposed(
          b, values + row_vector<kDim>(k * 16 + matrix % 2 * 8 + row, n + matrix / 2));
      const uint32_t first[2] = {b[0], b[1]}, second[2] = {b[2], b[3]};
      ctx.template tile_mma<T>(tile[0], p[k], first);
      ctx.template tile_mma<T>(tile[1], p[k], second);
    }
    TOME_UNROLL
    for (int i = 0; i < 8; ++i) state.out[n * 4 + i] = tile[i / 4][i % 4];
  }
}

/// One step, whose keys and values were fetched before; the next are fetched meanwhile.
template <class Ctx, class T, int kDim, bool kWeighted, bool kLast>
TOME_KERNEL void attention_step(const Ctx& ctx, const AttentionParams<T>& p,
                                const AttentionPlace<T>& place, const QueryFragments<kDim>& q,
                                int step, AttentionState<kDim>& state) {
  if constexpr (!kLast) {
    fetch_keys<Ctx, T, kDim, kWeighted>(ctx, p, place, step + 1);
    fetch_values<Ctx, T, kDim>(ctx, p, place, step + 1);
  }
  ctx.copy_commit();
  if (has_queries(ctx, place)) {
    score_keys<Ctx, T, kDim>(ctx, q, step, state);
    update_softmax<Ctx, kDim, kWeighted, kLast>(ctx, p.scale * kLog2E, step,
                                                p.tokens - step * kAttentionKeys, state);
    uint32_t probabilities[kAttentionKeys / 16][4];
    shrink_and_pack<Ctx, T>(ctx, state, probabilities);
    add_values<Ctx, T, kDim>(ctx, probabilities, step, state);
  }
  ctx.template copy_wait<0>();
  ctx.sync_block();
}

template <class Ctx, class T, int kDim, bool kWeighted>
TOME_KERNEL void attention_kernel(Ctx& ctx, const AttentionParams<T>& p) {
  static_assert(kDim % 16 == 0);
  const auto place = attention_place<Ctx, T, kDim>(ctx, p);
  fetch_rows<Ctx, T, kDim>(ctx, place.q, p.token_stride, place.queries,
                           query_rows<Ctx, T, kDim>(ctx));
  fetch_keys<Ctx, T, kDim, kWeighted>(ctx, p, place, 0);
  fetch_values<Ctx, T, kDim>(ctx, p, place, 0);
  ctx.copy_commit();
  ctx.template copy_wait<0>();
  ctx.sync_block();
  QueryFragments<kDim> q;
  load_queries<Ctx, T, kDim>(ctx, q);
  AttentionState<kDim> state = first_state<kDim>();
  for (int step = 0; step + 1 < place.steps; ++step) {
    attention_step<Ctx, T, kDim, kWeighted, false>(ctx, p, place, q, step, state);
  }
  attention_step<Ctx, T, kDim, kWeighted, true>(ctx, p, place, q, place.steps - 1, state);
  store_attention<Ctx, T, kDim>(ctx, p, place, state);
  end_after_matching(ctx, p);
}

template <class T, int kDim, bool kWeighted>
struct AttentionBody {
  using Params = AttentionParams<T>;
  static constexpr int kThreads = kAttentionThreads;
  static constexpr int kBlocks = kDim == 32 ? 4 : (kDim == 64 ? 3 : 2);  ///< on a multiprocessor
  template <class Ctx>
  static TOME_KERNEL void run(Ctx& ctx, const Params& p) {
    attention_kernel<Ctx, T, kDim, kWeighted>(ctx, p);
  }
};

/// @return false for a head dimension without a kernel
template <class T, class Launcher>
bool launch_attention(Launcher& launcher, int dim, const AttentionParams<T>& p) {
  switch (dim) {
    case 32:
      launch_attention_body<AttentionBody, 32>(launcher, p);
      return true;
    case 64:
      launch_attention_body<AttentionBody, 64>(launcher, p);
      return true;
    case 80:
      launch_attention_body<AttentionBody, 80>(launcher, p);
      return true;
    case 128:
      launch_attention_body<AttentionBody, 128>(launcher, p);
      return true;
    default:
      return false;
  }
}

}  // namespace tome::cuda
