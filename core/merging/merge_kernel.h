// The merge on a GPU: size-weighted average and LayerNorm in one pass over the tokens.
//
// Note [The merge rides on a pass that exists anyway]
// Between attention and MLP every token is read and its LayerNorm written. A merged block does the
// same pass, but over its *output* tokens: each is the average of its members, weighted by size,
// and is normalised while it is still in registers. The attention's output was added before, by the
// projection's epilogue, which hides the reading of x behind its products; here it would be one
// tensor more to read in a pass that memory bounds. So the sum is rounded to x's type before it is
// averaged, as it is where nothing merges. A thread holds 8 channels of a token, so a
// token spreads over several warps, few registers are needed and many rows are on their way at
// once; the LayerNorm's moments meet in shared memory. A warp's lanes look up a token's members
// side by side, and several members' rows are asked for before the first is used. Where a token has
// more members than kMergeManyMembers, its whole block shares the work: the members are dealt out
// to kMergeParts parts, whose sums meet in shared memory. Members come in a fixed order
// (MatchOutputs) and parts do not depend on the launch, so no float is ever added atomically and
// the result is bitwise repeatable. Sums are float32, whatever x is.
#pragma once

#include "merging/merge_sums.h"

namespace tome::cuda {

/// An output token of several members, where sum_many has been. @return the sum of their sizes
template <bool kFast, class Ctx, class T>
TOME_KERNEL float several_members(const Ctx& ctx, const MergeParams<T>& p, const RowThread& me,
                                  int sample, const Members& members, TokenRow* row) {
  float total = 0;
  if (members.count <= kMergeManyMembers) {
    total = sum_members<kFast>(ctx, p, me, sample, members, 0, 1, row);
  } else {
    const int slot = SharedSums::token(me.token);
    total = take_sum(ctx, shared_sums(ctx, p.shape), slot, me, row);
  }
  const float factor = 1.0F / divisor_of(p, members.count, total);
  TOME_UNROLL
  for (int q = 0; q < kRowQuads; ++q) {
    TOME_UNROLL
    for (int i = 0; i < kQuad; ++i) row->value[q][i] *= factor;
  }
  return total;
}

/// One output token, where sum_many has been. @return the sum of the members' sizes
template <bool kFast, class Ctx, class T>
TOME_KERNEL float merged_row(const Ctx& ctx, const MergeParams<T>& p, const RowThread& me,
                             int sample, const Members& members, int near, TokenRow* row) {
  if (members.count != 1) return several_members<kFast>(ctx, p, me, sample, members, row);
  const int token = only_token(ctx, p, sample, members, near);
  RawRow<T> member;  // as it is: x * s / s would round
  load_member<kFast>(p, me, sample, token, &member);
  unpack_row(member, row);
  return size_of(p, sample, token);
}

/// Where the largest member lay; of equals, the kept token's place stands, then the lowest. One
/// warp; right in its lane 0.
template <class Ctx, class T>
TOME_KERNEL uint8_t parity_of_largest(const Ctx& ctx, const MergeParams<T>& p, int sample,
                                      const Members& members) {
  const uint8_t* parity = p.parity + token_at(p, sample, 0);
  if (members.count == 1 || p.size == nullptr) return parity[members.token(0)];
  float size = 0;
  int leader = members.count;  // none
  TOME_ROLLED
  for (int m = ctx.lane(); m < members.count; m += kWarpSize) {
    const float its_size = size_of(p, sample, members.token(m));
    if (leader < members.count && its_size <= size) continue;
    size = its_size;
    leader = m;
  }
  TOME_UNROLL
  for (int mask = kWarpSize / 2; mask > 0; mask /= 2) {
    const float its_size = ctx.shuffle_xor(size, mask);
    const int its_leader = ctx.shuffle_xor(leader, mask);
    const bool any = its_leader < members.count;
    if (any &&
        (leader == members.count || its_size > size || (its_size == size && its_leader < leader))) {
      size = its_size;
      leader = its_leader;
    }
  }
  return parity[members.token(leader)];
}

/// What goes with an output token besides its channels; its first warp.
template <class Ctx, class T>
TOME_KERNEL void write_token(const Ctx& ctx, const MergeParams<T>& p, int sample,
                             const Members& members, float total) {
  const int64_t out_token = static_cast<int64_t>(sample) * p.tokens_out + members.own;
  if (p.size_out != nullptr && ctx.lane() == 0) p.size_out[out_token] = total;
  if (p.parity_out == nullptr) return;
  const uint8_t parity = parity_of_largest(ctx, p, sample, members);
  if (ctx.lane() == 0) p.parity_out[out_token] = parity;
}

/// p.shape.tokens output tokens of one sample to a block: grid (ceil(tokens_out / shape.tokens), 1,
/// batch), shape.threads() threads, merge_shared_bytes (kMomentBytes where nothing merges).
/// kFast as in merge_sums.h; kNormOnly if there is nothing but x and its LayerNorm, in quads.
template <class Ctx, class T, bool kFast, bool kNormOnly>
TOME_KERNEL void merge_kernel(Ctx& ctx, const MergeParams<T>& p) {
  if (kNormOnly && p.split_follows) ctx.launch_dependents();
  int near = 0;
  if constexpr (!kNormOnly) {
    near = near_member(ctx, p);
    // Before the rest, so that little else is in registers meanwhile.
    if (p.members != nullptr && any_many(ctx, p)) {
      sum_many<kFast>(ctx, p, ctx.block_x() * p.shape.tokens);
    }
  }
  const RowThread me = row_thread(ctx, p.shape);
  const int sample = ctx.block_z();
  const int asked = ctx.block_x() * p.shape.tokens + me.token;
  const bool inside = asked < p.tokens_out;  // others write nothing
  const int place = min_of(asked, p.tokens_out - 1);
  const int64_t out_token = static_cast<int64_t>(sample) * p.tokens_out + place;
  TokenRow row{};
  // Past the end no row is read where it may be the last one's, which a LayerNorm in place writes.
  if constexpr (kNormOnly) {
    if (inside) load_row<kFast>(p.x + out_token * p.channels, p.channels, me, &row);
  } else {
    const Members members = members_of(p, sample, place);
    float total = 0;
    if (kFast || inside) total = merged_row<kFast>(ctx, p, me, sample, members, near, &row);
    if (inside && p.x_out != nullptr) {
      store_row<kFast>(row, p.channels, me, p.x_out + out_token * p.channels);
    }
    if (inside && me.warp == 0) write_token(ctx, p, sample, members, total);
    if (p.norm_out == nullptr) return;
  }
  normalise_row<kFast>(ctx, p.shape, me,
                       RowNorm{p.norm_weight, p.norm_bias, p.norm_eps, p.channels}, &row);
  if (inside) store_row<kFast>(row, p.channels, me, p.norm_out + out_token * p.channels);
}

template <class Ctx>
TOME_KERNEL void source_kernel(Ctx& ctx, const SourceParams& p) {
  const int64_t i = static_cast<int64_t>(ctx.block_x()) * ctx.threads() + ctx.thread();
  if (i >= static_cast<int64_t>(p.batch) * p.tokens_0) return;
  const int64_t sample = i / p.tokens_0;
  const int64_t place = p.source == nullptr ? i % p.tokens_0 : p.source[i];
  p.source_out[i] = p.target[sample * p.tokens_in + place];
}

}  // namespace tome::cuda
