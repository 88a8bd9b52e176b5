// Which merge kernel runs, on what grid; the same for the GPU and for the host executor.
#pragma once

#include <limits>

#include "merging/merge_kernel.h"
#include "merging/merge_stream.h"

namespace tome::cuda {

template <class T, bool kFast, bool kNormOnly>
struct MergeBody {
  using Params = MergeParams<T>;
  static constexpr int kThreads = kRowThreads;
  static constexpr int kBlocks = kNormOnly ? 3 : 2;  // 40 and 64 registers
  template <class Ctx>
  static TOME_KERNEL void run(Ctx& ctx, const Params& p) {
    merge_kernel<Ctx, T, kFast, kNormOnly>(ctx, p);
  }
};

/// Warps of a block. Where there are few tokens, what counts is how long the longest sum of members
/// takes, and larger blocks have more threads for it; else that many blocks overlap. The result is
/// the same.
constexpr int kMergeBlockWarps = 8, kMergeFewBlockWarps = 16;
constexpr int64_t kMergeFewWarps = 8192;  ///< about what one large GPU holds at once

template <class T>
struct NormStreamBody {
  using Params = MergeParams<T>;
  static constexpr int kThreads = kMergeBlockWarps * kWarpSize;
  static constexpr int kBlocks = 5;  // 48 registers
  template <class Ctx>
  static TOME_KERNEL void run(Ctx& ctx, const Params& p) {
    norm_stream_kernel(ctx, p);
  }
};

template <class T>
struct MergeStreamBody {
  using Params = MergeParams<T>;
  static constexpr int kThreads = kMergeBlockWarps * kWarpSize;
  static constexpr int kBlocks = 4;  // 64 registers
  template <class Ctx>
  static TOME_KERNEL void run(Ctx& ctx, const Params& p) {
    merge_stream_kernel(ctx, p);
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

template <class T>
bool moves_in_quads(const MergeParams<T>& p) {
  return p.channels % kQuad == 0 && aligned_for_quads(p.x) && aligned_for_quads(p.x_out) &&
         aligned_for_quads(p.norm_weight) && aligned_for_quads(p.norm_bias) &&
         aligned_for_quads(p.norm_out);
}

/// Whether nothing is asked for but the LayerNorm of x.
template <class T>
bool norms_only(const MergeParams<T>& p) {
  return p.members == nullptr && p.x_out == nullptr && p.size_out == nullptr &&
         p.parity_out == nullptr && p.norm_out != nullptr;
}

constexpr int kStreamTurns = 3;  ///< of each block, or streaming is not worth its start

/// Blocks to each sample that end soonest together, where `resident` run at once and a sample takes
/// `turns`; a block's start takes as long as some of them.
inline int stream_blocks(int turns, int batch, int resident) {
  constexpr int kStart = 2, kMostRounds = 8;
  int best = 1;
  int64_t least = std::numeric_limits<int64_t>::max();
  for (int rounds = 1; rounds <= kMostRounds; ++rounds) {
    const int blocks = min_of(rounds * resident / batch, turns);
    if (blocks < 1) continue;
    const int64_t time = static_cast<int64_t>(rounds) * (ceil_div(turns, blocks) + kStart);
    if (time >= least) continue;
    least = time;
    best = blocks;
  }
  return best;
}

/// @return false if a GPU holds most of the tokens at once, which does without
template <class Body, class T, class Launcher>
bool launch_stream(Launcher& launcher, const MergeParams<T>& p) {
  const int warps = Body::kBlocks * kMergeBlockWarps;
  const int resident = max_of(1, launcher.processors() * (warps / (p.shape.threads() / kWarpSize)));
  const int turns = ceil_div(p.tokens_out, p.shape.tokens);
  if (static_cast<int64_t>(turns) * p.batch < static_cast<int64_t>(kStreamTurns) * resident) {
    return false;
  }
  LaunchShape shape;
  shape.grid = {stream_blocks(turns, p.batch, resident), 1, p.batch};
  shape.threads = p.shape.threads();
  shape.shared_bytes =
      p.members != nullptr ? merge_shared_bytes(p.shape) : kMomentSets * kMomentBytes;
  launcher.template run<Body>(shape, p);
  return true;
}

/// @return false if the tokens have too many channels for this kernel
template <class T, class Launcher>
bool launch_merge(Launcher& launcher, MergeParams<T> p) {
  if (p.channels > kMergeMaxChannels) return false;
  const bool merges = p.members != nullptr;
  if (!merges) {  // every token for itself, whatever its sample
    p.tokens_in = p.tokens_out = p.batch * p.tokens_out;
    p.batch = 1;
  }
  p.shape = row_shape(p.channels, kMergeBlockWarps);
  const bool quads = moves_in_quads(p);
  const bool norm_only = quads && norms_only(p);
  const bool fast = quads && p.combine != MergeCombine::kMax;
  if (norm_only && launch_stream<NormStreamBody<T>>(launcher, p)) return true;
  if (fast && merges && p.norm_out != nullptr && launch_stream<MergeStreamBody<T>>(launcher, p)) {
    return true;
  }
  const int64_t warps = static_cast<int64_t>(p.batch) * p.tokens_out * p.shape.warps;
  if (merges && warps <= kMergeFewWarps) p.shape = row_shape(p.channels, kMergeFewBlockWarps);
  LaunchShape shape;
  shape.grid = {ceil_div(p.tokens_out, p.shape.tokens), 1, p.batch};
  shape.threads = p.shape.threads();
  shape.shared_bytes = merges ? merge_shared_bytes(p.shape) : kMomentBytes;
  if (norm_only) {
    launcher.template run<MergeBody<T, true, true>>(shape, p);
  } else if (fast) {
    launcher.template run<MergeBody<T, true, false>>(shape, p);
  } else {
    launcher.template run<MergeBody<T, false, false>>(shape, p);
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
