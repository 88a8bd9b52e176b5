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

/// Tokens are ordered by parity, then by place, and cut in the middle; each half is written by
/// ascending place. Grid (1, 1, batch); shared memory for one int of each warp and one more.
template <class Ctx>
TOME_KERNEL void partition_kernel(Ctx& ctx, const PartitionParams& p) {
  const int sample = ctx.block_z();
  int* scratch = ctx.template shared<int>();
  int* all_even = scratch + kWarpSize;
  const int share = ceil_div(p.tokens, ctx.threads());  // contiguous tokens of this thread
  const int begin = min_of(ctx.thread() * share, p.tokens);
  const int end = min_of(begin + share, p.tokens);

  int even = 0, odd = 0;
  for (int token = begin; token < end; ++token) {
    if (p.is_fixed(token)) continue;
    (p.is_even(sample, token) ? even : odd) += 1;
  }
  int even_before = sum_before_in_block(ctx, even, scratch);
  int odd_before = sum_before_in_block(ctx, odd, scratch);
  if (ctx.thread() == ctx.threads() - 1) *all_even = even_before + even;
  ctx.sync_block();

  // A takes the first n_a of (even tokens, odd tokens). Of the free tokens before a place, those in
  // A are the even ones up to n_a and the odd ones up to what the even ones leave.
  const int n_a = (p.free_tokens() + 1) / 2, n_b = p.free_tokens() / 2;
  const int even_in_a = min_of(*all_even, n_a), odd_in_a = n_a - even_in_a;
  for (int token = begin; token < end; ++token) {
    if (p.is_fixed(token)) continue;
    const bool is_even = p.is_even(sample, token);
    const bool in_a = is_even ? even_before < even_in_a : odd_before < odd_in_a;
    const int a_before = min_of(even_before, even_in_a) + min_of(odd_before, odd_in_a);
    if (in_a) {
      p.a[static_cast<int64_t>(sample) * n_a + a_before] = token;
    } else {
      p.b[static_cast<int64_t>(sample) * n_b + even_before + odd_before - a_before] = token;
    }
    (is_even ? even_before : odd_before) += 1;
  }
}

struct PartitionBody {
  using Params = PartitionParams;
  static constexpr int kThreads = 256;
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
  shape.shared_bytes = 4 * (kWarpSize + 1);
  launcher.template run<PartitionBody>(shape, p);
}

}  // namespace tome::cuda
