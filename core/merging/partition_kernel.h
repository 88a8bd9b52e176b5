// The partitions that know a clip's grid, on a GPU: which tokens are in A and which in B, for each
// sample, from the parity of the tokens' places. See split_tokens in partition.h.
#pragma once

#include "merging/match_order.h"

namespace tome::cuda {

struct PartitionParams {
  const uint8_t* parity = nullptr;  ///< [batch, tokens], of each place: ClipGrid::parity
  const int64_t* fixed = nullptr;   ///< protected tokens [n_fixed], ascending; null: 0, 1, ...
  int64_t* a = nullptr;             ///< [batch, (free + 1) / 2]
  int64_t* b = nullptr;             ///< [batch, free / 2]
  int batch = 0, tokens = 0, n_fixed = 0;

  TOME_DEVICE int free_tokens() const { return tokens - n_fixed; }
  TOME_DEVICE bool is_fixed(int token) const {
    if (fixed == nullptr) return token < n_fixed;
    for (int i = 0; i < n_fixed; ++i) {
      if (fixed[i] == token) return true;
    }
    return false;
  }
  TOME_DEVICE bool is_even(int sample, int token) const {
    return parity[static_cast<int64_t>(sample) * tokens + token] == 0;
  }
};

/// How many free tokens of even and of odd parity, in the two halves of one integer.
struct ParityCount {
  uint64_t both = 0;

  TOME_DEVICE void add(bool is_free, bool is_even) {
    if (is_free) both += is_even ? 1 : kOdd;
  }
  TOME_DEVICE int even() const { return static_cast<int>(both % kOdd); }
  TOME_DEVICE int odd() const { return static_cast<int>(both / kOdd); }

 private:
  static constexpr uint64_t kOdd = uint64_t{1} << 32;
};

/// Tokens are ordered by parity, then by place, and cut in the middle; each half is written by
/// ascending place. Grid (1, 1, batch); shared memory for one 64-bit integer of each warp.
template <class Ctx>
TOME_KERNEL void partition_kernel(Ctx& ctx, const PartitionParams& p) {
  const int sample = ctx.block_z();
  const int share = ceil_div(p.tokens, ctx.threads());  // contiguous tokens of this thread
  const int begin = min_of(ctx.thread() * share, p.tokens);
  const int end = min_of(begin + share, p.tokens);

  ParityCount own;
  for (int token = begin; token < end; ++token) {
    own.add(!p.is_fixed(token), p.is_even(sample, token));
  }
  auto* sums = ctx.template shared<uint64_t>();
  ParityCount before{sum_before_in_block(ctx, own.both, sums)};
  const int warps = ctx.threads() / kWarpSize;
  const ParityCount all{sum_over_warp(ctx, ctx.lane() < warps ? sums[ctx.lane()] : 0)};

  // A takes the first n_a of (even tokens, odd tokens). Of the free tokens before a place, those in
  // A are the even ones up to n_a and the odd ones up to what the even ones leave.
  const int n_a = (p.free_tokens() + 1) / 2, n_b = p.free_tokens() / 2;
  const int even_in_a = min_of(all.even(), n_a), odd_in_a = n_a - even_in_a;
  for (int token = begin; token < end; ++token) {
    if (p.is_fixed(token)) continue;
    const bool is_even = p.is_even(sample, token);
    const int even = before.even(), odd = before.odd();
    const int a_before = min_of(even, even_in_a) + min_of(odd, odd_in_a);
    if (is_even ? even < even_in_a : odd < odd_in_a) {
      p.a[static_cast<int64_t>(sample) * n_a + a_before] = token;
    } else {
      p.b[static_cast<int64_t>(sample) * n_b + even + odd - a_before] = token;
    }
    before.add(true, is_even);
  }
  ctx.wait_for_prerequisites();  // a LayerNorm, where it runs beside
}

struct PartitionBody {
  using Params = PartitionParams;
  static constexpr int kThreads = 512;
  template <class Ctx>
  static TOME_KERNEL void run(Ctx& ctx, const Params& p) {
    partition_kernel(ctx, p);
  }
};

template <class Launcher>
void launch_partition(Launcher& launcher, const PartitionParams& p) {
  LaunchShape shape;
  shape.grid = {1, 1, p.batch};
  shape.threads = PartitionBody::kThreads;
  shape.shared_bytes = 8 * (PartitionBody::kThreads / kWarpSize);
  launcher.template run<PartitionBody>(shape, p);
}

}  // namespace tome::cuda
