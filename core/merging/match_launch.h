// Which matching kernels run, on what grids, over which scratch memory; the same for the GPU and
// for the host executor (Launcher is CudaLauncher or HostLauncher).
#pragma once

#include <cstddef>
#include <type_traits>

#include "merging/match_kernel.h"

namespace tome::cuda {

template <class T, int kHeld>
struct MatchBody {
  using Params = MatchParams<T>;
  static constexpr int kThreads = kHeld > 2 ? kMatchThreads / 2 : kMatchThreads;  // for registers
  template <class Ctx>
  static TOME_KERNEL void run(Ctx& ctx, const Params& p) {
    match_kernel<Ctx, T, kHeld>(ctx, p);
  }
};

template <class T>
struct RankEdgesBody {
  using Params = MatchParams<T>;
  static constexpr int kThreads = kCountThreads;
  template <class Ctx>
  static TOME_KERNEL void run(Ctx& ctx, const Params& p) {
    rank_edges_kernel(ctx, p);
  }
};

template <class T>
struct GroupEdgesBody {
  using Params = MatchParams<T>;
  static constexpr int kThreads = kCountThreads;
  template <class Ctx>
  static TOME_KERNEL void run(Ctx& ctx, const Params& p) {
    group_edges_kernel(ctx, p);
  }
};

template <class T>
struct WritePlanBody {
  using Params = MatchParams<T>;
  static constexpr int kThreads = 1024;
  template <class Ctx>
  static TOME_KERNEL void run(Ctx& ctx, const Params& p) {
    write_plan_kernel(ctx, p);
  }
};

/// Cuts scratch memory into its arrays. @return bytes needed; `base` may be null to only count
inline size_t lay_out_match_scratch(unsigned char* base, int batch, int n_a, int r,
                                    MatchScratch* scratch) {
  size_t at = 0;
  const auto take = [&](auto*& pointer, size_t count) {
    pointer = reinterpret_cast<std::remove_reference_t<decltype(pointer)>>(base + at);
    at += (count * sizeof(*pointer) + 255) / 256 * 256;
  };
  const size_t edges = static_cast<size_t>(batch) * static_cast<size_t>(n_a);
  const size_t kept = static_cast<size_t>(batch) * static_cast<size_t>(r);
  take(scratch->arrived, static_cast<size_t>(batch));
  take(scratch->best, edges * static_cast<size_t>(match_splits(batch, n_a)));
  take(scratch->row_scale, edges);
  if (n_a > kMatchOneLaunch) {
    take(scratch->rank, edges);
    take(scratch->edges, kept);
    take(scratch->by_destination, kept);
  }
  return at;
}

/// Cuts the work of scoring into blocks; sets p.tile_bits and p.splits.
/// @param threads  the most that a block may have
template <class T>
LaunchShape match_shape(MatchParams<T>& p, int threads) {
  const int tiles = ceil_div(p.halves.n_a, kMatchRows);
  const int groups = ceil_div(p.halves.n_b, kMatchColumns);
  int warps = threads / kWarpSize;
  // Two groups of columns for each warp take no longer than meeting other blocks does.
  const bool fits = power_of_two_from(tiles) <= warps && tiles * groups <= 2 * warps;
  const bool many = tiles <= 4 && p.batch * tiles > kMatchProcessors;
  const bool whole = p.one_launch && (fits || many);
  p.order_size = power_of_two_from(p.halves.n_a);
  p.tile_bits = 0;
  while (whole && (1 << p.tile_bits) < tiles) ++p.tile_bits;
  // Where processors have several blocks each, small ones share them better.
  if (!whole && p.batch * tiles > kMatchProcessors) warps = min_of(warps, 8);
  const int strips = max_of(1, min_of(warps >> p.tile_bits, groups));
  p.splits = whole ? 1 : min_of(match_splits(p.batch, p.halves.n_a), ceil_div(groups, strips));
  LaunchShape shape;
  shape.grid = {whole ? 1 : tiles, p.splits, p.batch};
  shape.threads = kWarpSize * strips << p.tile_bits;
  const int score_bytes = score_shared_bytes(shape.threads, kMatchRows << p.tile_bits);
  const int order_bytes = p.one_launch ? order_shared_bytes(p.halves.n_a) : 0;
  // A block that has a sample for itself orders what it has scored, see match_kernel.
  const bool alone = shape.grid.x * p.splits == 1;
  shape.shared_bytes = alone ? score_bytes + order_bytes : max_of(score_bytes, order_bytes);
  return shape;
}

template <int kHeld, class T, class Launcher>
void launch_match_edges(Launcher& launcher, MatchParams<T>& p) {
  using Body = MatchBody<T, kHeld>;
  const LaunchShape shape = match_shape(p, Body::kThreads);
  launcher.template run<Body>(shape, p);
}

/// Enqueues the matching. p.r is 1 .. n_a, n_b >= 1; p.scratch as laid out above. p.one_launch is
/// set here.
template <class T, class Launcher>
void launch_match(Launcher& launcher, MatchParams<T> p) {
  const int n_a = p.halves.n_a;
  p.one_launch = n_a <= kMatchOneLaunch;
  if constexpr (std::is_same_v<T, float>) {
    launch_match_edges<0>(launcher, p);
  } else if (p.channels <= 32) {
    launch_match_edges<1>(launcher, p);
  } else if (p.channels <= 64) {
    launch_match_edges<2>(launcher, p);
  } else if (p.channels <= 128) {
    launch_match_edges<4>(launcher, p);
  } else {
    launch_match_edges<0>(launcher, p);
  }
  if (p.one_launch) return;
  LaunchShape shape;
  shape.threads = kCountThreads;
  shape.shared_bytes = kCountSharedBytes;
  shape.grid = {ceil_div(n_a, kCountThreads), 1, p.batch};
  launcher.template run<RankEdgesBody<T>>(shape, p);
  shape.grid = {ceil_div(p.r, kCountThreads), 1, p.batch};
  launcher.template run<GroupEdgesBody<T>>(shape, p);
  shape = {{1, 1, p.batch}, WritePlanBody<T>::kThreads, 256};
  launcher.template run<WritePlanBody<T>>(shape, p);
}

}  // namespace tome::cuda
