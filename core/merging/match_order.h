// From the best edge of each A token to the plan of merges: order, top r, index arrays.
//
// Note [The first r without sorting]
// A bitonic sort is a barrier for each of its many steps, most of the time of a matching if that
// sorts all edges. But only the first r have places, few as a rule, and a key's place is how many
// keys are below it, which threads count side by side without barriers. Counting among all n keys
// takes n^2 comparisons, so many keys are thinned out first: the r-th least of the minima of 2 r
// groups bounds the r-th least key, and of random keys only about 1.4 r are within that bound. They
// are taken in no certain order, which their places do not depend on. Where r is too large for this
// to pay, the edges are sorted.
#pragma once

#include "merging/match_params.h"

namespace tome::cuda {

constexpr uint64_t kNoKey = ~static_cast<uint64_t>(0);  ///< above all others

/// Sorts n keys (a power of two) in shared memory, ascending.
template <class Ctx>
TOME_KERNEL void sort_in_block(const Ctx& ctx, uint64_t* keys, int n) {
  for (int size = 2; size <= n; size *= 2) {
    for (int stride = size / 2; stride > 0; stride /= 2) {
      ctx.sync_block();
      TOME_ROLLED
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

/// Sum of `value` over the threads of the block before this one. Holds one barrier, and needs
/// another before `sums` changes. @param sums  shared; what each warp's threads sum up to
template <class Ctx, class Sum>
TOME_KERNEL Sum sum_before_in_block(const Ctx& ctx, Sum value, Sum* sums) {
  Sum sum = value;
  TOME_UNROLL
  for (int step = 1; step < kWarpSize; step *= 2) {
    const Sum below = ctx.shuffle(sum, ctx.lane() - step);
    if (ctx.lane() >= step) sum += below;
  }
  if (ctx.lane() == kWarpSize - 1) sums[ctx.warp()] = sum;
  ctx.sync_block();
  return sum - value + sum_over_warp(ctx, ctx.lane() < ctx.warp() ? sums[ctx.lane()] : Sum{0});
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

/// Gives place(key, rank) for each of n keys, no two alike, in one thread of the block.
template <class Ctx, class Place>
TOME_KERNEL void rank_keys(const Ctx& ctx, const uint64_t* keys, int n, Place place) {
  constexpr int kTogether = 4;  // reads that do not wait for one another
  int bits = 0;                 // 2^bits threads share a key
  while (bits < 5 && 2 * n << bits <= ctx.threads()) ++bits;
  const int parts = 1 << bits, part = ctx.thread() & (parts - 1);
  const int lead = ctx.warp() * kWarpSize >> bits;  // the warp's first key
  TOME_ROLLED
  for (int first = 0; first + lead < n; first += ctx.threads() >> bits) {
    const int i = first + (ctx.thread() >> bits);
    const uint64_t mine = keys[min_of(i, n - 1)];
    int rank = 0;
    TOME_ROLLED
    for (int k = part; k < n; k += kTogether * parts) {
      uint64_t key[kTogether];
      TOME_UNROLL
      for (int e = 0; e < kTogether; ++e) {
        key[e] = k + e * parts < n ? keys[k + e * parts] : kNoKey;
      }
      TOME_UNROLL
      for (int e = 0; e < kTogether; ++e) rank += key[e] < mine ? 1 : 0;
    }
    for (int mask = 1; mask < parts; mask *= 2) rank += ctx.shuffle_xor(rank, mask);
    if (i < n && part == 0) place(mine, rank);
  }
}

/// What the threads that order edges share besides arrays.
struct OrderState {
  uint64_t bound;
  int found;  ///< 0 at first
  int sums[kWarpSize];
};

constexpr int kSelectRanks = 256;  ///< kept edges up to which keys are thinned out
constexpr int kSelectFrom = 128;   ///< so few keys are ranked as they are
constexpr int kCountKeys = 256;    ///< and no more than these

TOME_DEVICE constexpr int select_groups(int r) { return r < kWarpSize / 2 ? kWarpSize : 2 * r; }
TOME_DEVICE constexpr bool is_selecting(int n, int r) {
  return n > kSelectFrom && r <= kSelectRanks && n >= 2 * select_groups(r);
}

/// Copies those of n keys to `to` that may be among the r least. @return how many
template <class Ctx>
TOME_KERNEL int select_least(const Ctx& ctx, const uint64_t* keys, int n, int r, uint64_t* to,
                             OrderState* state) {
  const int groups = select_groups(r);
  TOME_ROLLED
  for (int group = ctx.thread(); group < groups; group += ctx.threads()) {
    uint64_t least = keys[group];
    TOME_ROLLED
    for (int k = group + groups; k < n; k += groups) least = min_of(least, keys[k]);
    to[group] = least;
  }
  ctx.sync_block();
  rank_keys(ctx, to, groups, [&](uint64_t key, int rank) {
    if (rank == r - 1) state->bound = key;
  });
  ctx.sync_block();
  const uint64_t bound = state->bound;
  TOME_ROLLED
  for (int k = ctx.thread(); k < n; k += ctx.threads()) {
    if (keys[k] <= bound) to[ctx.fetch_add(&state->found, 1)] = keys[k];
  }
  ctx.sync_block();
  return state->found;
}

/// The r kept edges of one sample, in memory that the whole block sees.
struct OrderedEdges {
  const int32_t* rank;               ///< [n_a], >= r for A tokens that stay
  const uint64_t* by_destination;    ///< [r] destination keys, ascending
  const int32_t* a_token = nullptr;  ///< [n_a], what HalvesView says; null: ask it
  const int32_t* b_token = nullptr;  ///< [n_b], likewise
};

/// Writes all outputs of one sample; one block. Begins with a barrier for all of `edges` but ranks
/// and tokens. @param sums  shared, one for each warp
template <class Ctx, class T>
TOME_KERNEL void write_plan(const Ctx& ctx, const MatchParams<T>& p, int sample,
                            const OrderedEdges& edges, int* sums) {
  const HalvesView& halves = p.halves;
  const int first_b = halves.n_fixed + halves.n_a - p.r;  // output place of the first B token
  const int tokens_out = p.tokens - p.r;
  int64_t* target = p.out.target + static_cast<int64_t>(sample) * p.tokens;
  int32_t* members = p.out.members + static_cast<int64_t>(sample) * p.tokens;
  int32_t* member_begin = p.out.member_begin + static_cast<int64_t>(sample) * (tokens_out + 1);
  const auto a_token = [&](int i) {
    return edges.a_token != nullptr ? edges.a_token[i] : halves.a_token(sample, i);
  };
  const auto b_token = [&](int j) {
    return edges.b_token != nullptr ? edges.b_token[j] : halves.b_token(sample, j);
  };
  const auto place = [&](int64_t token, int at, int begin) {
    target[token] = at;
    member_begin[at] = begin;
    members[begin] = static_cast<int32_t>(token);
  };

  int share = 1;  // contiguous A tokens of this thread
  while (share * ctx.threads() < halves.n_a) share *= 2;
  const int begin = min_of(ctx.thread() * share, halves.n_a);
  const int end = min_of(begin + share, halves.n_a);
  int staying = 0;
  TOME_ROLLED
  for (int i = begin; i < end; ++i) staying += edges.rank[i] >= p.r ? 1 : 0;
  int at = halves.n_fixed + sum_before_in_block(ctx, staying, sums);
  TOME_ROLLED
  for (int i = begin; i < end; ++i) {
    if (edges.rank[i] < p.r) continue;
    place(a_token(i), at, at);
    ++at;
  }
  TOME_ROLLED
  for (int j = ctx.thread(); j < halves.n_b; j += ctx.threads()) {
    const int before = count_below(edges.by_destination, p.r, destination_key(j, 0));
    place(b_token(j), first_b + j, first_b + j + before);
  }
  TOME_ROLLED
  for (int k = ctx.thread(); k < p.r; k += ctx.threads()) {
    const int i = key_low(edges.by_destination[k]), j = key_high(edges.by_destination[k]);
    const int64_t token = a_token(i);
    const int64_t row = static_cast<int64_t>(sample) * p.r + edges.rank[i];
    p.out.source[row] = token;
    p.out.destination[row] = b_token(j);
    target[token] = first_b + j;
    members[first_b + j + 1 + k] = static_cast<int32_t>(token);
  }
  TOME_ROLLED
  for (int i = ctx.thread(); i < halves.n_fixed; i += ctx.threads()) {
    place(halves.fixed_token(i), i, i);
  }
  if (ctx.thread() == 0) member_begin[tokens_out] = p.tokens;
}

/// The best edge of one A token.
struct Edge {
  float score;
  int to;  ///< index into B
};

/// @param scale  row_scale of match_scores.h
template <class T>
TOME_DEVICE Edge edge_of(const MatchParams<T>& p, uint64_t packed, float scale) {
  const Best best = unpack_best(packed);
  const bool none = best.column == kNoColumn;  // a row of NaN: last in line
  const bool cosine = p.similarity == KeySimilarity::kCosine;
  const float from = p.similarity == KeySimilarity::kEuclidean ? scale : 0.0F;
  const float score = cosine ? (scale < 0 ? 0.0F : best.score * scale) : best.score - from;
  return {none || score != score ? -INFINITY : score, none ? 0 : best.column};
}

/// The same from what the blocks of all splits have written.
template <class Ctx, class T>
TOME_KERNEL Edge read_edge(const Ctx& ctx, const MatchParams<T>& p, int sample, int i) {
  const int64_t stride = static_cast<int64_t>(p.batch) * p.halves.n_a;
  const int64_t at = static_cast<int64_t>(sample) * p.halves.n_a + i;
  const float scale = ctx.load_fresh(p.scratch.row_scale + at);
  uint64_t packed[kMatchSplits];  // all loads first
  TOME_UNROLL
  for (int split = 0; split < kMatchSplits; ++split) {
    const int read = min_of(split, p.splits - 1);
    packed[split] = ctx.load_fresh(p.scratch.best + read * stride + at);
  }
  TOME_UNROLL
  for (int split = 1; split < kMatchSplits; ++split) {
    packed[0] = max_of(packed[0], packed[split]);
  }
  return edge_of(p, packed[0], scale);
}

/// Where an A token and a B token of the same index are.
struct TokenPair {
  int a, b;
};

/// Orders one sample's edges in shared memory and writes the plan; one block, n_a <=
/// kMatchOneLaunch. First set() for each edge.
template <class Ctx, class T>
class EdgeOrder {
 public:
  /// Of the n_a edges, from `byte_offset` on.
  static constexpr int shared_bytes(int n_a) { return kStateBytes + 32 * power_of_two_from(n_a); }

  TOME_KERNEL EdgeOrder(const Ctx& ctx, const MatchParams<T>& p, int sample, int byte_offset)
      : ctx_(ctx), p_(p), sample_(sample), size_(p.order_size) {
    state_ = ctx.template shared<OrderState>(byte_offset);
    keys_ = ctx.template shared<uint64_t>(byte_offset + kStateBytes);
    other_ = keys_ + size_;
    edge_to_ = reinterpret_cast<int32_t*>(other_ + size_);
    rank_ = edge_to_ + size_;
    a_token_ = rank_ + size_;
    b_token_ = a_token_ + size_;
  }

  /// The tokens of index i, or of the last one, on their way while other things are done.
  TOME_KERNEL TokenPair tokens(int i) const {
    const HalvesView& halves = p_.halves;
    return {static_cast<int>(halves.a_token(sample_, min_of(i, halves.n_a - 1))),
            static_cast<int>(halves.b_token(sample_, min_of(i, halves.n_b - 1)))};
  }

  TOME_KERNEL void set(int i, const Edge& edge, const TokenPair& tokens) {
    keys_[i] = order_key(edge.score, i);
    edge_to_[i] = edge.to;
    rank_[i] = p_.r;
    a_token_[i] = tokens.a;
    b_token_[i] = tokens.b;
    if (i == 0) state_->found = 0;
  }

  TOME_KERNEL void write() {
    ctx_.sync_block();
    const bool counting = is_selecting(p_.halves.n_a, p_.r) || p_.halves.n_a <= kCountKeys;
    const uint64_t* by_destination = counting ? count() : sort();
    const int32_t* b_token = p_.halves.n_b > p_.halves.n_a ? nullptr : b_token_;
    write_plan(ctx_, p_, sample_, {rank_, by_destination, a_token_, b_token}, state_->sums);
  }

 private:
  static constexpr int kStateBytes = 256;
  static_assert(sizeof(OrderState) <= kStateBytes);

  /// Ranks, and the kept edges by destination; see Note [The first r without sorting].
  TOME_KERNEL const uint64_t* count() {
    int n = p_.halves.n_a;
    uint64_t *from = keys_, *to = other_;
    if (is_selecting(n, p_.r)) {
      n = select_least(ctx_, keys_, n, p_.r, other_, state_);
      from = other_;
      to = keys_;
    }
    rank_keys(ctx_, from, n, [&](uint64_t key, int rank) {
      if (rank >= p_.r) return;
      const int i = key_low(key);
      rank_[i] = rank;
      to[rank] = destination_key(edge_to_[i], i);
    });
    ctx_.sync_block();
    rank_keys(ctx_, to, p_.r, [&](uint64_t key, int at) { from[at] = key; });
    return from;
  }

  TOME_KERNEL const uint64_t* sort() {
    TOME_ROLLED
    for (int k = p_.halves.n_a + ctx_.thread(); k < size_; k += ctx_.threads()) keys_[k] = kNoKey;
    sort_in_block(ctx_, keys_, size_);
    const int n_kept = power_of_two_from(p_.r);
    TOME_ROLLED
    for (int k = ctx_.thread(); k < n_kept; k += ctx_.threads()) {
      const int i = key_low(keys_[min_of(k, p_.r - 1)]);
      if (k < p_.r) rank_[i] = k;
      other_[k] = k < p_.r ? destination_key(edge_to_[i], i) : kNoKey;
    }
    sort_in_block(ctx_, other_, n_kept);
    return other_;
  }

  const Ctx& ctx_;
  const MatchParams<T>& p_;
  int sample_, size_;
  OrderState* state_;
  uint64_t *keys_, *other_;
  int32_t *edge_to_, *rank_, *a_token_, *b_token_;
};

/// Shared memory of the block that orders n_a edges.
constexpr int order_shared_bytes(int n_a) { return EdgeOrder<int, float>::shared_bytes(n_a); }

}  // namespace tome::cuda
