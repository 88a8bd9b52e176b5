// Which merge kernel runs, on what grid; the same for the GPU and for the host executor.
#pragma once

#include "merging/merge_kernel.h"

namespace tome::cuda {

template <class X, class Y, int kSlices>
struct MergeBody {
  using Params = MergeParams<X, Y>;
  static constexpr int kThreads = kMergeThreads;
  template <class Ctx>
  static TOME_KERNEL void run(Ctx& ctx, const Params& p) {
    merge_kernel<Ctx, X, Y, kSlices>(ctx, p);
  }
};

struct SourceBody {
  using Params = SourceParams;
  static constexpr int kThreads = 256;
  template <class Ctx>
  static TOME_KERNEL void run(Ctx& ctx, const Params& p) {
    source_kernel(ctx, p);
  }
};

/// Channels that a warp holds in registers at most: ViT-H has 1280, ViT-g 1536.
constexpr int kMergeMaxChannels = 2048;

/// @return false if the tokens have too many channels for this kernel
template <class X, class Y, class Launcher>
bool launch_merge(Launcher& launcher, const MergeParams<X, Y>& p) {
  LaunchShape shape;
  const int64_t tokens = static_cast<int64_t>(p.batch) * p.tokens_out;
  constexpr int kWarps = kMergeThreads / kWarpSize;
  shape.grid = {static_cast<int>((tokens + kWarps - 1) / kWarps), 1, 1};
  shape.threads = kMergeThreads;
  switch (ceil_div(p.channels, 8 * kWarpSize)) {
    case 1:
      launcher.template run<MergeBody<X, Y, 1>>(shape, p);
      return true;
    case 2:
      launcher.template run<MergeBody<X, Y, 2>>(shape, p);
      return true;
    case 3:
      launcher.template run<MergeBody<X, Y, 3>>(shape, p);
      return true;
    case 4:
      launcher.template run<MergeBody<X, Y, 4>>(shape, p);
      return true;
    case 5:
      launcher.template run<MergeBody<X, Y, 5>>(shape, p);
      return true;
    case 6:
    case 7:
    case 8:
      launcher.template run<MergeBody<X, Y, 8>>(shape, p);
      return true;
    default:
      return false;
  }
}

template <class Launcher>
void launch_source(Launcher& launcher, const SourceParams& p) {
  LaunchShape shape;
  shape.threads = SourceBody::kThreads;
  shape.grid.x = static_cast<int>((static_cast<int64_t>(p.batch) * p.tokens_0 + shape.threads - 1) /
                                  shape.threads);
  launcher.template run<SourceBody>(shape, p);
}

}  // namespace tome::cuda
