// From embedded patches to the tokens before block 0 on a GPU: prefix tokens, positions, and the
// LayerNorm that reads them first, in one pass.
#pragma once

#include "merging/clip_grid.h"
#include "merging/merge_kernel.h"

namespace tome::cuda {

/// Note [Joint frames on a GPU]: an image model on a clip of T frames has `cells` positions that
/// repeat with every frame, and its prefix tokens weigh T (Note [Image models on clips]).
template <class T>
struct EmbedParams {
  const T* patches = nullptr;       ///< [batch, tokens - prefix, channels], bias included
  const float* first = nullptr;     ///< [prefix, channels]: prefix tokens with their positions
  const float* position = nullptr;  ///< [cells, channels]
  T* x_out = nullptr;               ///< [batch, tokens, channels]; null: only the LayerNorm
  float* size_out = nullptr;        ///< [batch, tokens]: prefix_size, then ones; null: not wanted
  float prefix_size = 1;
  uint8_t* parity_out = nullptr;       ///< [batch, tokens], of each patch's place; null: not wanted
  ClipGrid grid;                       ///< for parity_out
  const float* norm_weight = nullptr;  ///< [channels]
  const float* norm_bias = nullptr;
  T* norm_out = nullptr;  ///< [batch, tokens, channels]
  float norm_eps = 1e-6F;
  int batch = 0, tokens = 0, prefix = 0, cells = 0, channels = 0;
};

template <class T>
TOME_DEVICE void load_embedded(const EmbedParams<T>& p, int64_t sample, int place, int channel,
                               float (&out)[8]) {
  const int count = p.channels - channel;
  if (place < p.prefix) {
    load8(p.first + static_cast<int64_t>(place) * p.channels + channel, count, out);
    return;
  }
  const int patch = place - p.prefix;
  const int64_t row = sample * (p.tokens - p.prefix) + patch;
  float position[8];
  load8(p.patches + row * p.channels + channel, count, out);
  load8(p.position + static_cast<int64_t>(patch % p.cells) * p.channels + channel, count, position);
  TOME_UNROLL
  for (int i = 0; i < 8; ++i) out[i] += position[i];
}

/// A warp for each token: grid (ceil(batch * tokens / 4)), 128 threads, no shared memory.
template <class Ctx, class T, int kSlices>
TOME_KERNEL void embed_kernel(Ctx& ctx, const EmbedParams<T>& p) {
  const int64_t token =
      static_cast<int64_t>(ctx.block_x()) * (ctx.threads() / kWarpSize) + ctx.warp();
  if (token >= static_cast<int64_t>(p.batch) * p.tokens) return;  // the whole warp leaves
  const int64_t sample = token / p.tokens;
  const int place = static_cast<int>(token % p.tokens);
  TokenRow<kSlices> row;
  TOME_UNROLL
  for (int s = 0; s < kSlices; ++s) {
    const int channel = TokenRow<kSlices>::channel(s, ctx.lane());
    TOME_UNROLL
    for (int i = 0; i < 8; ++i) row.value[s][i] = 0;
    if (channel >= p.channels) continue;
    load_embedded(p, sample, place, channel, row.value[s]);
    if (p.x_out != nullptr) {
      store8(row.value[s], p.channels - channel, p.x_out + token * p.channels + channel);
    }
  }
  if (p.size_out != nullptr && ctx.lane() == 0) {
    p.size_out[token] = place < p.prefix ? p.prefix_size : 1.0F;
  }
  if (p.parity_out != nullptr && ctx.lane() == 0) {
    p.parity_out[token] = place < p.prefix ? uint8_t{0} : p.grid.parity(place - p.prefix);
  }
  normalise_row(ctx, RowNorm{p.norm_weight, p.norm_bias, p.norm_eps, p.channels}, row,
                p.norm_out + token * p.channels);
}

template <class T, int kSlices>
struct EmbedBody {
  using Params = EmbedParams<T>;
  static constexpr int kThreads = kMergeThreads;
  template <class Ctx>
  static TOME_KERNEL void run(Ctx& ctx, const Params& p) {
    embed_kernel<Ctx, T, kSlices>(ctx, p);
  }
};

/// @return false if the tokens have too many channels for this kernel
template <class T, class Launcher>
bool launch_embed(Launcher& launcher, const EmbedParams<T>& p) {
  LaunchShape shape;
  const int64_t tokens = static_cast<int64_t>(p.batch) * p.tokens;
  constexpr int kWarps = kMergeThreads / kWarpSize;
  shape.grid = {static_cast<int>((tokens + kWarps - 1) / kWarps), 1, 1};
  shape.threads = kMergeThreads;
  // Run once for each forward, so a few sizes are enough.
  const int slices = ceil_div(p.channels, 8 * kWarpSize);
  if (slices <= 1) {
    launcher.template run<EmbedBody<T, 1>>(shape, p);
  } else if (slices <= 3) {
    launcher.template run<EmbedBody<T, 3>>(shape, p);
  } else if (slices <= 5) {
    launcher.template run<EmbedBody<T, 5>>(shape, p);
  } else if (slices <= 8) {
    launcher.template run<EmbedBody<T, 8>>(shape, p);
  } else {
    return false;
  }
  return true;
}

}  // namespace tome::cuda
