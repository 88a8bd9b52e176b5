// Sums of the members of one output token; see Note [The merge rides on a pass that exists anyway]
// in merge_kernel.h. kFast: rows move in quads and the combine is a sum. That is what the engine
// asks for; all else may take longer.
#pragma once

#include "merging/merge_params.h"

namespace tome::cuda {

constexpr int kMergeManyMembers = 8;  ///< more are shared among the tokens' warps of a block
constexpr int kMergeParts = 4;

/// Sums of members in shared memory: of the parts of one token, and of each token of the block.
struct SharedSums {
  Quad<float>* rows;  ///< [parts + tokens][warps][quads][lanes]
  float* sizes;       ///< [parts + tokens][warps]
  int warps;

  static TOME_DEVICE int part(int i) { return i; }
  static TOME_DEVICE int token(int i) { return kMergeParts + i; }
};

constexpr int kMomentSets = 2;  ///< one to read from while the next token's are written

TOME_DEVICE constexpr int merge_shared_bytes(const RowShape& shape) {
  return kMomentSets * kMomentBytes +
         (kMergeParts + shape.tokens) * shape.warps * (kRowWarpChannels + 1) * 4;
}

template <class Ctx>
TOME_KERNEL SharedSums shared_sums(const Ctx& ctx, const RowShape& shape) {
  constexpr int kFirst = kMomentSets * kMomentBytes;
  const int warps = (kMergeParts + shape.tokens) * shape.warps;
  return {ctx.template shared<Quad<float>>(kFirst),
          ctx.template shared<float>(kFirst + warps * kRowWarpChannels * 4), shape.warps};
}

/// Each thread its own channels; the size is the same in a token's threads.
template <class Ctx>
TOME_KERNEL void put_sum(const Ctx& ctx, const SharedSums& shared, int slot, const RowThread& me,
                         const TokenRow& row, float size) {
  const int warp = slot * shared.warps + me.warp;
  TOME_UNROLL
  for (int q = 0; q < kRowQuads; ++q) {
    shared.rows[(warp * kRowQuads + q) * kWarpSize + ctx.lane()] = pack<float>(row.value[q]);
  }
  if (ctx.lane() == 0) shared.sizes[warp] = size;
}

/// What put_sum put there. @return the size
template <class Ctx>
TOME_KERNEL float take_sum(const Ctx& ctx, const SharedSums& shared, int slot, const RowThread& me,
                           TokenRow* row) {
  const int warp = slot * shared.warps + me.warp;
  TOME_UNROLL
  for (int q = 0; q < kRowQuads; ++q) {
    unpack(shared.rows[(warp * kRowQuads + q) * kWarpSize + ctx.lane()], row->value[q]);
  }
  return shared.sizes[warp];
}

/// Where an input token lies in the batch.
template <class T>
TOME_DEVICE int64_t token_at(const MergeParams<T>& p, int sample, int token) {
  return static_cast<int64_t>(sample) * p.tokens_in + token;
}

/// Asks for a thread's channels of an input token.
template <bool kFast, class T>
TOME_DEVICE void load_member(const MergeParams<T>& p, const RowThread& me, int sample, int token,
                             RawRow<T>* to) {
  load_raw<kFast>(p.x + token_at(p, sample, token) * p.channels, p.channels, me, to);
}

/// The larger; NaN wins.
TOME_DEVICE float larger_of(float a, float b) { return b > a || b != b ? b : a; }

template <bool kFast, class T>
TOME_DEVICE void start_row(const MergeParams<T>& p, TokenRow* row) {
  const float start = !kFast && p.combine == MergeCombine::kMax ? -INFINITY : 0.0F;
  TOME_UNROLL
  for (int q = 0; q < kRowQuads; ++q) {
    TOME_UNROLL
    for (int i = 0; i < kQuad; ++i) row->value[q][i] = start;
  }
}

template <bool kFast, class T>
TOME_DEVICE void combine_into(const MergeParams<T>& p, float value, float share, float* sum) {
  if (!kFast && p.combine == MergeCombine::kMax) {
    *sum = larger_of(*sum, value);
  } else {
    *sum += share * value;
  }
}

/// Adds `n` <= 32 members: lane i knows the token and the share of the i-th. Several members' rows
/// are on their way together, and shares are not needed before the rows.
template <bool kFast, class Ctx, class T>
TOME_KERNEL void add_members(const Ctx& ctx, const MergeParams<T>& p, const RowThread& me,
                             int sample, int token, float share, int n, TokenRow* row) {
  constexpr int kTogether = sizeof(T) == 4 ? 1 : 2;  // what fits the registers
  TOME_ROLLED
  for (int first = 0; first < n; first += kTogether) {
    RawRow<T> member[kTogether];
    TOME_UNROLL
    for (int j = 0; j < kTogether; ++j) {
      // Past the end the last one again, from the cache, which costs less than not to ask.
      const int at = ctx.shuffle(token, min_of(first + j, n - 1));
      load_member<kFast>(p, me, sample, at, &member[j]);
    }
    TOME_UNROLL
    for (int j = 0; j < kTogether; ++j) {
      const float its_share = ctx.shuffle(share, first + j);
      if (first + j >= n) continue;
      TOME_UNROLL
      for (int q = 0; q < kRowQuads; ++q) {
        float value[kQuad];
        unpack(member[j].quad[q], value);
        TOME_UNROLL
        for (int i = 0; i < kQuad; ++i) {
          combine_into<kFast>(p, value[i], its_share, &row->value[q][i]);
        }
      }
    }
  }
}

/// Members of one output token, by their places in the sample.
struct Members {
  const int32_t* list;  ///< null: the token of the same place
  int own, count;

  TOME_DEVICE int token(int m) const { return list == nullptr ? own : list[m]; }
};

template <class T>
TOME_DEVICE Members members_of(const MergeParams<T>& p, int sample, int place) {
  if (p.members == nullptr) return {nullptr, place, 1};
  const int32_t* begin = p.member_begin + sample * (p.tokens_out + 1LL) + place;
  return {p.members + token_at(p, sample, begin[0]), place, begin[1] - begin[0]};
}

template <class T>
TOME_DEVICE float size_of(const MergeParams<T>& p, int sample, int token) {
  return p.size == nullptr ? 1.0F : p.size[token_at(p, sample, token)];
}

/// The member list at a lane's distance behind the place of the warp's token, asked for together
/// with where its members begin: that is at its place, or later by as many as merged before it.
template <class Ctx, class T>
TOME_KERNEL int near_member(const Ctx& ctx, const MergeParams<T>& p) {
  if (p.members == nullptr) return 0;
  const int place = ctx.block_x() * p.shape.tokens + row_thread(ctx, p.shape).token;
  return p.members[token_at(p, ctx.block_z(), min_of(place + ctx.lane(), p.tokens_in - 1))];
}

/// The one member of a token: from the lane that has it, else from memory.
template <class Ctx, class T>
TOME_KERNEL int only_token(const Ctx& ctx, const MergeParams<T>& p, int sample,
                           const Members& members, int near) {
  if (p.members == nullptr) return members.own;
  const auto behind = members.list - (p.members + token_at(p, sample, members.own));
  return behind < kWarpSize ? ctx.shuffle(near, static_cast<int>(behind)) : members.token(0);
}

/// What member m counts in the sum, before it is divided by divisor_of.
template <class T>
TOME_DEVICE float share_of(const MergeParams<T>& p, int m, float size) {
  if (p.combine == MergeCombine::kMean) return 1.0F;
  if (p.combine == MergeCombine::kKeepOne) return m == 0 ? 1.0F : 0.0F;
  return size;
}

template <class T>
TOME_DEVICE float divisor_of(const MergeParams<T>& p, int count, float size) {
  if (p.combine == MergeCombine::kMean) return static_cast<float>(count);
  return p.combine == MergeCombine::kWeightedMean ? size : 1.0F;
}

/// Members m0, m0 + step, ...: their sum into `row`. @return the sum of their sizes
template <bool kFast, class Ctx, class T>
TOME_KERNEL float sum_members(const Ctx& ctx, const MergeParams<T>& p, const RowThread& me,
                              int sample, const Members& members, int m0, int step, TokenRow* row) {
  start_row<kFast>(p, row);
  float total = 0;
  TOME_ROLLED
  for (int base = m0; base < members.count; base += step * kWarpSize) {
    const int m = base + step * ctx.lane();
    const bool has = m < members.count;
    const int token = has ? members.token(m) : 0;
    const float size = has ? size_of(p, sample, token) : 0.0F;
    const int n = min_of(kWarpSize, ceil_div(members.count - base, step));
    add_members<kFast>(ctx, p, me, sample, token, share_of(p, m, size), n, row);
    total += size;
  }
  return sum_over_warp(ctx, total);
}

/// Whether a token of this block has many members, the same in each of its threads.
template <class Ctx, class T>
TOME_KERNEL bool any_many(const Ctx& ctx, const MergeParams<T>& p) {
  static_assert(kRowMaxTokens <= 8);
  const int token = min_of(ctx.lane() % 8, p.shape.tokens - 1);
  const int place = min_of(ctx.block_x() * p.shape.tokens + token, p.tokens_out - 1);
  int most = members_of(p, ctx.block_z(), place).count;
  TOME_UNROLL
  for (int mask = 4; mask > 0; mask /= 2) most = max_of(most, ctx.shuffle_xor(most, mask));
  return most > kMergeManyMembers;
}

/// Those with many members of the block's tokens from place `first` on: all threads sum the parts
/// of one, then its own threads the parts' sums, and leave the result in the token's slot. All
/// threads of a block call this together.
template <bool kFast, class Ctx, class T>
TOME_KERNEL void sum_many(const Ctx& ctx, const MergeParams<T>& p, int first) {
  const RowThread me = row_thread(ctx, p.shape);
  const int sample = ctx.block_z();
  const SharedSums shared = shared_sums(ctx, p.shape);
  const int tokens = min_of(p.shape.tokens, p.tokens_out - first);
  TOME_ROLLED
  for (int t = 0; t < tokens; ++t) {
    const Members members = members_of(p, sample, first + t);
    if (members.count <= kMergeManyMembers) continue;
    TOME_ROLLED
    for (int part = me.token; part < kMergeParts; part += p.shape.tokens) {
      TokenRow sum;
      const float size = sum_members<kFast>(ctx, p, me, sample, members, part, kMergeParts, &sum);
      put_sum(ctx, shared, SharedSums::part(part), me, sum, size);
    }
    ctx.sync_block();
    if (me.token == t) {
      TokenRow sum;
      start_row<kFast>(p, &sum);
      float total = 0;
      TOME_ROLLED
      for (int part = 0; part < kMergeParts; ++part) {
        TokenRow value;
        total += take_sum(ctx, shared, SharedSums::part(part), me, &value);
        TOME_UNROLL
        for (int q = 0; q < kRowQuads; ++q) {
          TOME_UNROLL
          for (int i = 0; i < kQuad; ++i) {
            combine_into<kFast>(p, value.value[q][i], 1.0F, &sum.value[q][i]);
          }
        }
      }
      put_sum(ctx, shared, SharedSums::token(t), me, sum, total);
    }
    ctx.sync_block();  // before the next token's sums
  }
}

}  // namespace tome::cuda
