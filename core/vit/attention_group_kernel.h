// Attention by warpgroups, for devices that have them (compute capability 9.0): as
// attention_kernel.h, but its products are wgmma's.
//
// Note [Attention by warpgroups]
// A warpgroup (4 warps) holds 64 queries of one head and their scores with 64 keys in registers;
// keys and values are read from shared memory once for 64 queries, where mma.sync reads them for
// every 16. A block is one warpgroup, of which four share a multiprocessor (two to a block, which
// share keys, were no faster). Both products run in the background: those of the next keys are
// enqueued before this step's values are multiplied, and the values' product goes on during the
// next step's softmax.
#pragma once

#include "vit/attention_rows.h"

namespace tome::cuda {

constexpr int kGroupDim = 64;  ///< channels of a head: 128 bytes, one swizzled row

using GroupState = AttentionState<kGroupDim>;
using GroupQueries = QueryFragments<kGroupDim>;

/// Enqueues score = Q K^T of one step.
template <class Ctx, class T>
TOME_KERNEL void enqueue_scores(const Ctx& ctx, const GroupQueries& q, int step,
                                GroupState& state) {
  const auto keys = ctx.group_tile(keys_of<Ctx, T, kGroupDim>(ctx, step));
  TOME_UNROLL
  for (int k = 0; k < kGroupDim / 16; ++k) {
    ctx.template group_mma<T, false>(state.score, q.step[k], keys, k * 16, k > 0);
  }
  ctx.group_commit();
}

/// Enqueues out += P V of one step; keys past the end have P = 0 and V = 0.
template <class Ctx, class T>
TOME_KERNEL void enqueue_values(const Ctx& ctx, const uint32_t (&p)[kAttentionKeys / 16][4],
                                int step, GroupState& state) {
  const auto values = ctx.group_tile(values_of<Ctx, T, kGroupDim>(ctx, step));
  TOME_UNROLL
  for (int k = 0; k < kAttentionKeys / 16; ++k) {
    ctx.template group_mma<T, true>(state.out, p[k], values, k * 16 * kGroupDim, true);
  }
  ctx.group_commit();
}

/// Waits for what was fetched last, and fetches the keys after the next and the next values, once
/// all have read what lies where those go. @param kFull  there are 64 of each
template <class Ctx, class T, bool kWeighted, bool kFull>
TOME_KERNEL void turn_stages(const Ctx& ctx, const AttentionParams<T>& p,
                             const AttentionPlace<T>& place, int step) {
  ctx.template copy_wait<0>();
  ctx.fence_shared();
  ctx.sync_block();
  if (kFull || step + 2 < place.steps) {
    fetch_keys<Ctx, T, kGroupDim, kWeighted, kFull>(ctx, p, place, step + 2);
  }
  if (kFull || step + 1 < place.steps) {
    fetch_values<Ctx, T, kGroupDim, kFull>(ctx, p, place, step + 1);
  }
  ctx.copy_commit();
}

template <class Ctx, class T, bool kWeighted, bool kLast>
TOME_KERNEL void group_softmax(const Ctx& ctx, const AttentionParams<T>& p,
                               const AttentionPlace<T>& place, int step, GroupState& state) {
  if (!has_queries(ctx, place)) return;
  update_softmax<Ctx, kGroupDim, kWeighted, kLast>(ctx, p.scale * kLog2E, step,
                                                   p.tokens - step * kAttentionKeys, state);
}

/// One step but the first: its scores, and the values of the step before. When it returns, nothing
/// runs in the background but copies.
template <class Ctx, class T, bool kWeighted, bool kLast, bool kFull>
TOME_KERNEL void group_step(const Ctx& ctx, const AttentionParams<T>& p,
                            const AttentionPlace<T>& place, const GroupQueries& q, int step,
                            uint32_t (&probabilities)[kAttentionKeys / 16][4], GroupState& state) {
  ctx.group_fence(state.score);
  ctx.group_fence(state.out);
  enqueue_scores<Ctx, T>(ctx, q, step, state);
  enqueue_values<Ctx, T>(ctx, probabilities, step - 1, state);
  ctx.template group_wait<1>(state.score);
  group_softmax<Ctx, T, kWeighted, kLast>(ctx, p, place, step, state);
  ctx.template group_wait<0>(state.out);
  shrink_and_pack<Ctx, T>(ctx, state, probabilities);
  turn_stages<Ctx, T, kWeighted, kFull>(ctx, p, place, step);
}

/// Fetches the queries and the first two steps' rows. Returns when queries and first keys are
/// there.
template <class Ctx, class T, bool kWeighted>
TOME_KERNEL void fetch_first(const Ctx& ctx, const AttentionParams<T>& p,
                             const AttentionPlace<T>& place) {
  fetch_rows<Ctx, T, kGroupDim>(ctx, place.q, p.token_stride, place.queries,
                                query_rows<Ctx, T, kGroupDim>(ctx));
  fetch_keys<Ctx, T, kGroupDim, kWeighted>(ctx, p, place, 0);
  ctx.copy_commit();
  if (place.steps > 1) fetch_keys<Ctx, T, kGroupDim, kWeighted>(ctx, p, place, 1);
  fetch_values<Ctx, T, kGroupDim>(ctx, p, place, 0);
  ctx.copy_commit();
  ctx.template copy_wait<1>();
  ctx.fence_shared();
  ctx.sync_block();
}

template <class Ctx, class T, bool kWeighted>
TOME_KERNEL void group_attention_kernel(Ctx& ctx, const AttentionParams<T>& p) {
  const auto place = attention_place<Ctx, T, kGroupDim>(ctx, p);
  fetch_first<Ctx, T, kWeighted>(ctx, p, place);
  GroupQueries q;
  load_queries<Ctx, T, kGroupDim>(ctx, q);
  GroupState state = first_state<kGroupDim>();
  ctx.group_fence(state.score);
  enqueue_scores<Ctx, T>(ctx, q, 0, state);
  ctx.template group_wait<0>(state.score);
  if (place.steps > 1) {
    group_softmax<Ctx, T, kWeighted, false>(ctx, p, place, 0, state);
  } else {
    group_softmax<Ctx, T, kWeighted, true>(ctx, p, place, 0, state);
  }
  uint32_t probabilities[kAttentionKeys / 16][4];
  shrink_and_pack<Ctx, T>(ctx, state, probabilities);
  turn_stages<Ctx, T, kWeighted, false>(ctx, p, place, 0);
  int step = 1;
  for (; step + 3 < place.steps; ++step) {
    group_step<Ctx, T, kWeighted, false, true>(ctx, p, place, q, step, probabilities, state);
  }
  for (; step + 1 < place.steps; ++step) {
    group_step<Ctx, T, kWeighted, false, false>(ctx, p, place, q, step, probabilities, state);
  }
  if (place.steps > 1) {
    group_step<Ctx, T, kWeighted, true, false>(ctx, p, place, q, step, probabilities, state);
  }
  ctx.group_fence(state.out);
  enqueue_values<Ctx, T>(ctx, probabilities, place.steps - 1, state);
  ctx.template group_wait<0>(state.out);
  store_attention<Ctx, T, kGroupDim>(ctx, p, place, state);
  end_after_matching(ctx, p);
}

template <class T, int kDim, bool kWeighted>
struct GroupAttentionBody {
  using Params = AttentionParams<T>;
  static constexpr int kThreads = kAttentionThreads;
  static constexpr int kBlocks = 4;  ///< on a multiprocessor
  template <class Ctx>
  static TOME_KERNEL void run(Ctx& ctx, const Params& p) {
    static_assert(kDim == kGroupDim);
    group_attention_kernel<Ctx, T, kWeighted>(ctx, p);
  }
};

template <class T, class Launcher>
void launch_group_attention(Launcher& launcher, const AttentionParams<T>& p) {
  launch_attention_body<GroupAttentionBody, kGroupDim>(launcher, p);
}

}  // namespace tome::cuda
