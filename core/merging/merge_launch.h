// Which merge kernel runs, on what grid; the same for the GPU and for the host executor.
#pragma once

#include "merging/merge_kernel.h"

namespace tome::cuda {

template <class X, class Y, bool kFast, bool kNormOnly>
struct MergeBody {
  using Params = MergeParams<X, Y>;
  static constexpr int kThreads = kRowThreads;
  static constexpr int kBlocks = kNormOnly ? 3 : 2;  // 40 and 64 registers
  template <class Ctx>
  static TOME_KERNEL void run(Ctx& ctx, const Params& p) {
    merge_kernel<Ctx, X, Y, kFast, kNormOnly>(ctx, p);
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

constexpr int kMergeMaxChannels = kRowMaxChannels;

/// Warps of a block. Where there are few tokens, what counts is how long the longest sum of members
/// takes, and larger blocks have more threads for it; else that many blocks overlap. The result is
/// the same.
constexpr int kMergeBlockWarps = 8, kMergeFewBlockWarps = 16;
constexpr int64_t kMergeFewWarps = 8192;  ///< about what one large GPU holds at once

template <class X, class Y>
bool moves_in_quads(const MergeParams<X, Y>& p) {
  return p.channels % kQuad == 0 && aligned_for_quads(p.x) && aligned_for_quads(p.branch) &&
         aligned_for_quads(p.branch_bias) && aligned_for_quads(p.x_out) &&
         aligned_for_quads(p.norm_weight) && aligned_for_quads(p.norm_bias) &&
         aligned_for_quads(p.norm_out);
}

/// @return false if the tokens have too many channels for this kernel
template <class X, class Y, class Launcher>
bool launch_merge(Launcher& launcher, MergeParams<X, Y> p) {
  if (p.channels > kMergeMaxChannels) return false;
  const bool merges = p.members != nullptr;
  if (!merges) {  // every token for itself, whatever its sample
    p.tokens_in = p.tokens_out = p.batch * p.tokens_out;
    p.batch = 1;
  }
  p.shape = row_shape(p.channels, kMergeBlockWarps);
  const int64_t warps = static_cast<int64_t>(p.batch) * p.tokens_out * p.shape.warps;
  if (merges && warps <= kMergeFewWarps) p.shape = row_shape(p.channels, kMergeFewBlockWarps);
  LaunchShape shape;
  shape.grid = {ceil_div(p.tokens_out, p.shape.tokens), 1, p.batch};
  shape.threads = p.shape.threads();
  shape.shared_bytes = merges ? merge_shared_bytes(p.shape) : kMomentBytes;
  const bool norm_only = !merges && p.branch == nullptr && p.x_out == nullptr &&
                         p.size_out == nullptr && p.parity_out == nullptr && p.norm_out != nullptr;
  if (!moves_in_quads(p)) {
    launcher.template run<MergeBody<X, Y, false, false>>(shape, p);
  } else if (norm_only) {
    launcher.template run<MergeBody<X, Y, true, true>>(shape, p);
  } else if (p.branch != nullptr && p.branch_scale == nullptr && p.combine != MergeCombine::kMax) {
    launcher.template run<MergeBody<X, Y, true, false>>(shape, p);
  } else {
    launcher.template run<MergeBody<X, Y, false, false>>(shape, p);
  }
  return true;
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
