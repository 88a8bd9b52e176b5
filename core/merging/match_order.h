// From the best edge of each A token to the plan of merges: order, top r, index arrays.
#pragma once

#include "merging/match_params.h"

namespace tome::cuda {

/// Sorts n keys (a power of two) in shared memory, ascending.
template <class Ctx>
TOME_KERNEL void sort_in_block(const Ctx& ctx, uint64_t* keys, int n) {
  for (int size = 2; size <= n; size *= 2) {
    for (int stride = size / 2; stride > 0; stride /= 2) {
      ctx.sync_block();
      for (int i = ctx.thread(); i < n / 2; i += ctx.threads()) {
        const int low = 2 * i - (i & (stride - 1));
        const int high = low + stride;
        const bool ascending = (low & size) == 0;
        const uint64_t a = keys[low], b = keys[high];
        if ((a > b) == ascending) {
          keys[low] = b;
          keys[high] = a;
        }
      }
    }
  }
  ctx.sync_block();
}

/// Sum of `value` over the threads before this one. @param scratch  shared, one int for each warp
template <class Ctx>
TOME_KERNEL int sum_before_in_block(const Ctx& ctx, int value, int* scratch) {
  int sum = value;
  for (int step = 1; step < kWarpSize; step *= 2) {
    const int below = ctx.shuffle(sum, ctx.lane() - step);
    if (ctx.lane() >= step) sum += below;
  }
  if (ctx.lane() == kWarpSize - 1) scratch[ctx.warp()] = sum;
  ctx.sync_block();
  int before = sum - value;
  for (int warp = 0; warp < ctx.warp(); ++warp) before += scratch[warp];
  ctx.sync_block();
  return before;
}

/// How many of n ascending keys are below `bound`.
TOME_DEVICE int count_below(const uint64_t* keys, int n, uint64_t bound) {
  int low = 0;
  while (low < n) {
    const int middle = low + (n - low) / 2;
    if (keys[middle] < bound) {
      low = middle + 1;
    } else {
      n = middle;
    }
  }
  return low;
}

/// The r kept edges of one sample, in memory that the whole block sees.
struct OrderedEdges {
  const int32_t* rank;             ///< [n_a], >= r for A tokens that stay
  const int32_t* order;            ///< [r], A index by rank
  const uint64_t* by_destination;  ///< [r] destination keys, ascending
};

/// Writes all outputs of one sample; one block. @param scratch  shared, one int for each warp
template <class Ctx, class T>
TOME_KERNEL void write_plan(const Ctx& ctx, const MatchParams<T>& p, int sample,
                            const OrderedEdges& edges, int* scratch) {
  const HalvesView& halves = p.halves;
  const int first_b = halves.n_fixed + halves.n_a - p.r;  // output place of the first B token
  const int tokens_out = p.tokens - p.r;
  int64_t* target = p.out.target + static_cast<int64_t>(sample) * p.tokens;
  int32_t* members = p.out.members + static_cast<int64_t>(sample) * p.tokens;
  int32_t* member_begin = p.out.member_begin + static_cast<int64_t>(sample) * (tokens_out + 1);
  const auto place = [&](int64_t token, int at, int begin) {
    target[token] = at;
    member_begin[at] = begin;
    members[begin] = static_cast<int32_t>(token);
  };

  for (int i = ctx.thread(); i < halves.n_fixed; i += ctx.threads()) {
    place(halves.fixed_token(i), i, i);
  }
  const int share = ceil_div(halves.n_a, ctx.threads());  // contiguous A tokens of this thread
  const int begin = min_of(ctx.thread() * share, halves.n_a);
  const int end = min_of(begin + share, halves.n_a);
  int staying = 0;
  for (int i = begin; i < end; ++i) staying += edges.rank[i] >= p.r ? 1 : 0;
  int at = halves.n_fixed + sum_before_in_block(ctx, staying, scratch);
  for (int i = begin; i < end; ++i) {
    if (edges.rank[i] < p.r) continue;
    place(halves.a_token(sample, i), at, at);
    ++at;
  }
  for (int j = ctx.thread(); j < halves.n_b; j += ctx.threads()) {
    const int before = count_below(edges.by_destination, p.r, destination_key(j, 0));
    place(halves.b_token(sample, j), first_b + j, first_b + j + before);
  }
  const int32_t* edge_to = p.scratch.edge_to + static_cast<int64_t>(sample) * halves.n_a;
  for (int k = ctx.thread(); k < p.r; k += ctx.threads()) {
    const int64_t row = static_cast<int64_t>(sample) * p.r + k;
    p.out.source[row] = halves.a_token(sample, edges.order[k]);
    p.out.destination[row] = halves.b_token(sample, ctx.load_fresh(edge_to + edges.order[k]));

    const uint64_t key = edges.by_destination[k];
    const int64_t token = halves.a_token(sample, key_low(key));
    target[token] = first_b + key_high(key);
    members[first_b + key_high(key) + 1 + k] = static_cast<int32_t>(token);
  }
  if (ctx.thread() == 0) member_begin[tokens_out] = p.tokens;
}

/// Orders one sample's edges in shared memory and writes the plan; one block, n_a <=
/// kMatchOneLaunch. Needs order_shared_bytes(n_a) of shared memory.
template <class Ctx, class T>
TOME_KERNEL void order_edges(const Ctx& ctx, const MatchParams<T>& p, int sample) {
  const int n_a = p.halves.n_a;
  const int n = power_of_two_from(n_a);
  uint64_t* keys = ctx.template shared<uint64_t>();
  int32_t* rank = ctx.template shared<int32_t>(8 * n);
  int32_t* order = ctx.template shared<int32_t>(12 * n);
  int* scratch = ctx.template shared<int>(16 * n);
  const float* score = p.scratch.edge_score + static_cast<int64_t>(sample) * n_a;
  const int32_t* edge_to = p.scratch.edge_to + static_cast<int64_t>(sample) * n_a;

  for (int i = ctx.thread(); i < n; i += ctx.threads()) {
    keys[i] = i < n_a ? order_key(ctx.load_fresh(score + i), i) : ~static_cast<uint64_t>(0);
  }
  sort_in_block(ctx, keys, n);
  for (int k = ctx.thread(); k < n_a; k += ctx.threads()) {
    const int i = key_low(keys[k]);
    rank[i] = k;
    order[k] = i;
  }
  ctx.sync_block();
  const int n_kept = power_of_two_from(p.r);
  for (int k = ctx.thread(); k < n_kept; k += ctx.threads()) {
    keys[k] = k < p.r ? destination_key(ctx.load_fresh(edge_to + order[k]), order[k])
                      : ~static_cast<uint64_t>(0);
  }
  sort_in_block(ctx, keys, n_kept);
  write_plan(ctx, p, sample, {rank, order, keys}, scratch);
}

}  // namespace tome::cuda
