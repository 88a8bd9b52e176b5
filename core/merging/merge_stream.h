// The merge, and the LayerNorm alone, where there are several times as many tokens as a GPU holds
// at once.
//
// Note [Tokens in a stream]
// A block that does its tokens and ends has its rows on their way for only half of its life, and a
// GPU full of such blocks asks for too little at a time to fill its memory's bandwidth. Here a
// block goes on with the tokens that lie a whole grid further (a turn), and has their rows on their
// way while it works on the present ones. The merge must know a token's first member before it can
// ask for its row; the lanes of a warp look that up for 32 turns side by side. A token of one
// member, as nearly all are, needs no more than that; one of several is summed as in
// merge_kernel.h, with the next rows on their way meanwhile. Each token is computed as it is there,
// alone, so the result does not depend on the grid.
#pragma once

#include "merging/merge_kernel.h"

namespace tome::cuda {

/// A LayerNorm of x and nothing else, in quads: grid (any, 1, 1) for tokens of one sample,
/// shape.threads() threads, kMomentSets * kMomentBytes.
template <class Ctx, class T>
TOME_KERNEL void norm_stream_kernel(Ctx& ctx, const MergeParams<T>& p) {
  if (p.split_follows) ctx.launch_dependents();
  const RowThread me = row_thread(ctx, p.shape);
  const RowNorm norm{p.norm_weight, p.norm_bias, p.norm_eps, p.channels};
  NormRows by;
  load_norm<true>(norm, me, &by);
  const int turn = ctx.grid_x() * p.shape.tokens;
  int place = ctx.block_x() * p.shape.tokens + me.token;
  RawRow<T> ahead{};
  const auto fetch = [&](int at) {
    if (at >= p.tokens_out) return;
    load_raw<true>(p.x + static_cast<int64_t>(at) * p.channels, p.channels, me, &ahead);
  };
  fetch(place);
  int set = 0;
  TOME_ROLLED
  for (int first = place - me.token; first < p.tokens_out; first += turn) {
    TokenRow row;
    unpack_row(ahead, &row);
    fetch(place + turn);
    normalise_by<true>(ctx, p.shape, me, norm, by, set, &row);
    if (place < p.tokens_out) {
      store_row<true>(row, p.channels, me, p.norm_out + static_cast<int64_t>(place) * p.channels);
    }
    place += turn;
    set ^= 1;
  }
}

/// What a lane knows of its warp's token in one turn; a warp knows 32 turns.
struct Turn {
  int first;  ///< the token's first member; negative past the last token
  int kind;   ///< bits: the token has several members; a token of the block may have many
};
constexpr int kSeveral = 1, kMayHaveMany = 2;

/// The turn in which the block's tokens begin at `place`.
template <class Ctx, class T>
TOME_KERNEL Turn look_up(const Ctx& ctx, const MergeParams<T>& p, const RowThread& me, int place) {
  const int sample = ctx.block_z();
  const int32_t* begins = p.member_begin + sample * (p.tokens_out + 1LL);
  const auto begin_of = [&](int at) { return begins[min_of(at, p.tokens_out)]; };
  const int begin = begin_of(place + me.token);
  const int count = begin_of(place + me.token + 1) - begin;
  // One each is taken by the block's tokens, and what is left may be all one token's.
  const int tokens = min_of(p.shape.tokens, p.tokens_out - place);
  const int left = begin_of(place + p.shape.tokens) - begin_of(place) - tokens;
  return {count == 0 ? -1 : p.members[token_at(p, sample, begin)],
          (count > 1 ? kSeveral : 0) | (left >= kMergeManyMembers ? kMayHaveMany : 0)};
}

/// What goes with a token of one member besides its channels; each lane that of its own turn.
template <class T>
TOME_DEVICE void write_single(const MergeParams<T>& p, int sample, int place, const Turn& turn) {
  if (turn.first < 0 || (turn.kind & kSeveral) != 0) return;
  const int64_t out = static_cast<int64_t>(sample) * p.tokens_out + place;
  if (p.size_out != nullptr) p.size_out[out] = size_of(p, sample, turn.first);
  if (p.parity_out != nullptr) p.parity_out[out] = p.parity[token_at(p, sample, turn.first)];
}

/// The merge that is a sum, with a LayerNorm (kFast of merge_sums.h): grid (any, 1, batch),
/// shape.threads() threads, merge_shared_bytes.
template <class Ctx, class T>
TOME_KERNEL void merge_stream_kernel(Ctx& ctx, const MergeParams<T>& p) {
  const RowThread me = row_thread(ctx, p.shape);
  const RowNorm norm{p.norm_weight, p.norm_bias, p.norm_eps, p.channels};
  const int sample = ctx.block_z();
  const int step = ctx.grid_x() * p.shape.tokens;
  int place = ctx.block_x() * p.shape.tokens;
  Turn turns{};
  RawRow<T> ahead{};
  const auto fetch = [&](int token) {
    if (token >= 0) load_member<true>(p, me, sample, token, &ahead);
  };
  TOME_ROLLED
  for (int i = 0; place < p.tokens_out; ++i, place += step) {
    if (i % kWarpSize == 0) {
      const int its_place = place + ctx.lane() * step;
      turns = look_up(ctx, p, me, its_place);
      fetch(ctx.shuffle(turns.first, 0));
      if (me.warp == 0) write_single(p, sample, its_place + me.token, turns);
    }
    const int kind = ctx.shuffle(turns.kind, i);
    if ((kind & kMayHaveMany) != 0) sum_many<true>(ctx, p, place);
    TokenRow row;
    unpack_row(ahead, &row);
    const int next = ctx.shuffle(turns.first, i + 1);
    if (i % kWarpSize != kWarpSize - 1) fetch(next);

    const int own = place + me.token;
    const bool inside = own < p.tokens_out;
    if ((kind & kSeveral) != 0) {
      const Members members = members_of(p, sample, own);
      const float size = several_members<true>(ctx, p, me, sample, members, &row);
      if (me.warp == 0) write_token(ctx, p, sample, members, size);
    }
    const int64_t out = (static_cast<int64_t>(sample) * p.tokens_out + own) * p.channels;
    if (inside && p.x_out != nullptr) store_row<true>(row, p.channels, me, p.x_out + out);
    normalise_row<true>(ctx, p.shape, me, norm, &row, i % kMomentSets);
    if (inside) store_row<true>(row, p.channels, me, p.norm_out + out);
  }
}

}  // namespace tome::cuda
