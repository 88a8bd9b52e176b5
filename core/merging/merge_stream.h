// The merge, and the LayerNorm alone, where there are several times as many tokens as a GPU holds
// at once.
//
// Note [Tokens in a stream]
// A block that does its tokens and ends has its rows on their way for only half of its life, and a
// GPU full of such blocks asks for too little at a time to fill its memory's bandwidth. Here a
// block goes on with the tokens that lie a whole grid further (a turn), and has their rows on their
// way while it works on the present ones.
//
// In the LayerNorm alone, several warps share a token, as in merge_kernel.h, and keep its
// parameters in registers. In the merge, where some tokens take longer than others, a warp has a
// token to itself and nobody to wait for; it must know the token's first member before it can ask
// for its row, and so its lanes look that up for 32 turns side by side. A token of one member, as
// nearly all are, needs no more than that. With a LayerNorm alone that way was a tenth slower.
// Channels lie in the lanes, and are summed, as merge_kernel.h does it with a warp to each group of
// them, so the result is the same to the bit whichever kernel and grid it is.
#pragma once

#include "merging/merge_kernel.h"

namespace tome::cuda {

constexpr int kMomentSets = 2;  ///< one to read from while the next token's are written

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

constexpr int kStreamTokens = 4;  ///< of one block that merges, a warp each
constexpr int kStreamThreads = kStreamTokens * kWarpSize;
constexpr int kStreamMaxGroups = 6;  ///< groups of kRowWarpChannels channels; more do not stream

/// A token's channels in one warp, as they lie in memory and as numbers.
template <class T, int kGroups>
struct RawToken {
  RawRow<T> group[kGroups];
};
template <int kGroups>
struct WarpToken {
  TokenRow group[kGroups];
};

/// A lane's place in a group of channels.
template <class Ctx>
TOME_KERNEL RowThread in_group(const Ctx& ctx, int group) {
  // Unsigned, so that the compiler knows it to be below 32, and asks no count of a whole group.
  const unsigned lane = static_cast<unsigned>(ctx.thread()) % kWarpSize;
  return {0, group, group * kRowWarpChannels + static_cast<int>(lane) * kQuad};
}

template <int kGroups, class Ctx, class T>
TOME_KERNEL void load_token(const Ctx& ctx, const T* from, int channels, RawToken<T, kGroups>* to) {
  TOME_UNROLL
  for (int g = 0; g < kGroups; ++g) {
    // All groups but the last are whole, which the compiler is told.
    const int known = g + 1 < kGroups ? kGroups * kRowWarpChannels : channels;
    load_raw<true>(from, known, in_group(ctx, g), &to->group[g]);
  }
}

template <int kGroups, class Ctx, class T>
TOME_KERNEL void store_token(const Ctx& ctx, const WarpToken<kGroups>& token, int channels, T* to) {
  TOME_UNROLL
  for (int g = 0; g < kGroups; ++g) {
    const int known = g + 1 < kGroups ? kGroups * kRowWarpChannels : channels;
    store_row<true>(token.group[g], known, in_group(ctx, g), to);
  }
}

template <int kGroups, class T>
TOME_DEVICE void unpack_token(const RawToken<T, kGroups>& raw, WarpToken<kGroups>* token) {
  TOME_UNROLL
  for (int g = 0; g < kGroups; ++g) unpack_row(raw.group[g], &token->group[g]);
}

/// LayerNorm of a token in one warp.
template <int kGroups, class Ctx>
TOME_KERNEL void normalise_token(const Ctx& ctx, const RowShape& shape, const RowNorm& p,
                                 WarpToken<kGroups>* token) {
  Moments of_group[kGroups];
  TOME_UNROLL
  for (int g = 0; g < kGroups; ++g) {
    of_group[g] = warp_moments<true>(ctx, shape, p.channels, in_group(ctx, g), token->group[g]);
  }
  Moments own = of_group[0];
  TOME_UNROLL
  for (int g = 1; g < kGroups; ++g) {
    const bool its = ctx.lane() % 8 == g;
    own.mean = its ? of_group[g].mean : own.mean;
    own.squares = its ? of_group[g].squares : own.squares;
  }
  const Moments moments =
      kGroups == 1 ? own : row_moments(ctx, own, of_group[0].mean, shape, p.channels);
  const float scale = inverse_root(moments.squares * shape.of_channels + p.eps);
  TOME_UNROLL
  for (int g = 0; g < kGroups; ++g) {
    ctx.sync_warp();  // or the compiler would hold all groups' parameters in registers, for all
                      // turns
    NormRows by;
    load_norm<true>(p, in_group(ctx, g), &by);
    scale_row(moments.mean, scale, by, &token->group[g]);
  }
}

/// What a lane knows of its warp's token in one turn; a warp knows 32 turns.
struct Turn {
  int first;  ///< the token's first member; negative past the last token
  int count;  ///< of its members
};

/// The turn in which the warp's token is at `place`.
template <class Ctx, class T>
TOME_KERNEL Turn look_up(const Ctx& ctx, const MergeParams<T>& p, int place) {
  if (place >= p.tokens_out) return {-1, 0};
  const Members members = members_of(p, ctx.block_z(), place);
  return {members.token(0), members.count};
}

/// What goes with a token of one member besides its channels; each lane that of its own turn.
template <class T>
TOME_DEVICE void write_single(const MergeParams<T>& p, int sample, int place, const Turn& turn) {
  if (turn.count != 1) return;
  const int64_t out = static_cast<int64_t>(sample) * p.tokens_out + place;
  if (p.size_out != nullptr) p.size_out[out] = size_of(p, sample, turn.first);
  if (p.parity_out != nullptr) p.parity_out[out] = p.parity[token_at(p, sample, turn.first)];
}

/// Sum of 2 to kMergeManyMembers members, the first of which is in `member`, which the others pass
/// through. @return that of their sizes
template <int kGroups, class Ctx, class T>
TOME_KERNEL float sum_several(const Ctx& ctx, const MergeParams<T>& p, const Members& members,
                              RawToken<T, kGroups>* member, WarpToken<kGroups>* sum) {
  const int sample = ctx.block_z(), m = ctx.lane();
  const bool has = m < members.count;
  const int token = has ? members.token(m) : 0;
  const float size = has ? size_of(p, sample, token) : 0.0F;
  const float share = share_of(p, m, size);
  TOME_UNROLL
  for (int g = 0; g < kGroups; ++g) start_row<true>(p, &sum->group[g]);
  TOME_ROLLED
  for (int i = 0;;) {
    const float its_share = ctx.shuffle(share, i);
    TOME_UNROLL
    for (int g = 0; g < kGroups; ++g) add_row<true>(p, member->group[g], its_share, &sum->group[g]);
    if (++i == members.count) break;
    const int its_token = ctx.shuffle(token, i);
    load_token(ctx, p.x + token_at(p, sample, its_token) * p.channels, p.channels, member);
  }
  return sum_over_warp(ctx, size);
}

/// Where a warp puts sums of many members: kGroups rows of shared memory.
template <int kGroups>
constexpr int kStreamSharedBytes = kStreamTokens* kGroups* kRowWarpChannels * 4;

template <int kGroups, class Ctx>
TOME_KERNEL Quad<float>* own_sum(const Ctx& ctx) {
  return ctx.template shared<Quad<float>>() + ctx.warp() * kGroups * kRowQuads * kWarpSize +
         ctx.lane();
}

/// Sum of more members than that, left in shared memory, where each lane finds what it put there:
/// group by group, in parts, as sum_many of merge_sums.h adds them. @return that of their sizes
template <int kGroups, class Ctx, class T>
TOME_KERNEL float sum_in_parts(const Ctx& ctx, const MergeParams<T>& p, int place) {
  const Members members = members_of(p, ctx.block_z(), place);
  Quad<float>* shared = own_sum<kGroups>(ctx);
  float total = 0;
  TOME_ROLLED
  for (int g = 0; g < kGroups; ++g) {
    TokenRow row;
    start_row<true>(p, &row);
    total = 0;
    TOME_ROLLED
    for (int part = 0; part < kMergeParts; ++part) {
      TokenRow value;
      total += sum_members<true>(ctx, p, in_group(ctx, g), ctx.block_z(), members, part,
                                 kMergeParts, &value);
      add_part<true>(p, value, &row);
    }
    TOME_UNROLL
    for (int q = 0; q < kRowQuads; ++q) {
      shared[(g * kRowQuads + q) * kWarpSize] = pack<float>(row.value[q]);
    }
  }
  return total;
}

/// A token of several members, and what goes with it.
/// @param member  its first member's row; room for the others'
template <int kGroups, class Ctx, class T>
TOME_KERNEL void merge_several(const Ctx& ctx, const MergeParams<T>& p, int place,
                               RawToken<T, kGroups>* member, WarpToken<kGroups>* token) {
  const Members members = members_of(p, ctx.block_z(), place);
  float size = 0;
  if (members.count <= kMergeManyMembers) {
    size = sum_several(ctx, p, members, member, token);
  } else {
    size = sum_in_parts<kGroups>(ctx, p, place);
    TOME_UNROLL
    for (int g = 0; g < kGroups; ++g) {
      TOME_UNROLL
      for (int q = 0; q < kRowQuads; ++q) {
        unpack(own_sum<kGroups>(ctx)[(g * kRowQuads + q) * kWarpSize], token->group[g].value[q]);
      }
    }
  }
  const float factor = 1.0F / divisor_of(p, members.count, size);
  TOME_UNROLL
  for (int g = 0; g < kGroups; ++g) multiply_row(factor, &token->group[g]);
  write_token(ctx, p, ctx.block_z(), members, size);
}

/// The merge that is a sum, with a LayerNorm (kFast of merge_sums.h): grid (any, 1, batch),
/// kStreamThreads threads, kStreamSharedBytes.
template <int kGroups, class Ctx, class T>
TOME_KERNEL void merge_stream_kernel(Ctx& ctx, const MergeParams<T>& p) {
  const RowNorm norm{p.norm_weight, p.norm_bias, p.norm_eps, p.channels};
  const int sample = ctx.block_z();
  const int step = ctx.grid_x() * kStreamTokens;
  int place = ctx.block_x() * kStreamTokens + ctx.warp();
  Turn turns{};
  RawToken<T, kGroups> ahead{};
  const auto fetch = [&](int token) {
    if (token < 0) return;
    load_token(ctx, p.x + token_at(p, sample, token) * p.channels, p.channels, &ahead);
  };
  TOME_ROLLED
  for (int i = 0; place < p.tokens_out; ++i, place += step) {
    if (i % kWarpSize == 0) {
      const int its_place = place + ctx.lane() * step;
      turns = look_up(ctx, p, its_place);
      fetch(ctx.shuffle(turns.first, 0));
      write_single(p, sample, its_place, turns);
    }
    WarpToken<kGroups> token;
    if (ctx.shuffle(turns.count, i) > 1) {
      merge_several(ctx, p, place, &ahead, &token);
    } else {
      unpack_token(ahead, &token);
    }
    const int next = ctx.shuffle(turns.first, i + 1);
    if (i % kWarpSize != kWarpSize - 1) fetch(next);
    const int64_t out = (static_cast<int64_t>(sample) * p.tokens_out + place) * p.channels;
    if (p.x_out != nullptr) store_token(ctx, token, p.channels, p.x_out + out);
    normalise_token(ctx, p.shape, norm, &token);
    store_token(ctx, token, p.channels, p.norm_out + out);
  }
}

}  // namespace tome::cuda
