// From embedded patches to the tokens before block 0 on a GPU: prefix tokens, positions, and the
// LayerNorm that reads them first, in one pass.
#pragma once

#include "merging/clip_grid.h"
#include "merging/token_row.h"

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
  RowShape shape;  ///< set by launch_embed
};

template <bool kAligned, class T>
TOME_DEVICE void load_embedded(const EmbedParams<T>& p, const RowThread& me, int64_t sample,
                               int place, TokenRow* row) {
  if (place < p.prefix) {
    load_row<kAligned>(p.first + static_cast<int64_t>(place) * p.channels, p.channels, me, row);
    return;
  }
  const int patch = place - p.prefix;
  const int64_t at = sample * (p.tokens - p.prefix) + patch;
  Quad<T> patches[kRowQuads];
  Quad<float> position[kRowQuads];
  TOME_UNROLL
  for (int q = 0; q < kRowQuads; ++q) {
    const int64_t channel = me.channel + q * kQuadStride;
    const int count = me.count(p.channels, q);
    patches[q] = load_quad<kAligned>(p.patches + at * p.channels + channel, count);
    position[q] = load_quad<kAligned>(
        p.position + static_cast<int64_t>(patch % p.cells) * p.channels + channel, count);
  }
  TOME_UNROLL
  for (int q = 0; q < kRowQuads; ++q) {
    float add[kQuad];
    unpack(patches[q], row->value[q]);
    unpack(position[q], add);
    TOME_UNROLL
    for (int i = 0; i < kQuad; ++i) row->value[q][i] += add[i];
  }
}

/// p.shape.tokens tokens to a block: grid (ceil(batch * tokens / shape.tokens)), shape.threads()
/// threads, kMomentBytes of shared memory. kAligned if every quad is (aligned_for_quads).
template <class Ctx, class T, bool kAligned>
TOME_KERNEL void embed_kernel(Ctx& ctx, const EmbedParams<T>& p) {
  const RowThread me = row_thread(ctx, p.shape);
  const int asked = ctx.block_x() * p.shape.tokens + me.token;
  const bool inside = asked < p.batch * p.tokens;  // others do as the last one, but write nothing
  const int token = min_of(asked, p.batch * p.tokens - 1);
  const int sample = token / p.tokens;
  const int place = token - sample * p.tokens;
  const int64_t out = static_cast<int64_t>(token) * p.channels;
  TokenRow row;
  load_embedded<kAligned>(p, me, sample, place, &row);
  if (inside && p.x_out != nullptr) store_row<kAligned>(row, p.channels, me, p.x_out + out);
  if (inside && me.warp == 0 && ctx.lane() == 0) {
    if (p.size_out != nullptr) p.size_out[token] = place < p.prefix ? p.prefix_size : 1.0F;
    if (p.parity_out != nullptr) {
      p.parity_out[token] = place < p.prefix ? uint8_t{0} : p.grid.parity(place - p.prefix);
    }
  }
  normalise_row<kAligned>(ctx, p.shape, me,
                          RowNorm{p.norm_weight, p.norm_bias, p.norm_eps, p.channels}, &row);
  if (inside) store_row<kAligned>(row, p.channels, me, p.norm_out + out);
}

template <class T, bool kAligned>
struct EmbedBody {
  using Params = EmbedParams<T>;
  static constexpr int kThreads = kRowThreads;
  template <class Ctx>
  static TOME_KERNEL void run(Ctx& ctx, const Params& p) {
    embed_kernel<Ctx, T, kAligned>(ctx, p);
  }
};

constexpr int kEmbedBlockWarps = 8;

/// @return false if the tokens have too many channels for this kernel
template <class T, class Launcher>
bool launch_embed(Launcher& launcher, EmbedParams<T> p) {
  if (p.channels > kRowMaxChannels) return false;
  p.shape = row_shape(p.channels, kEmbedBlockWarps);
  LaunchShape shape;
  shape.grid = {ceil_div(p.batch * p.tokens, p.shape.tokens), 1, 1};
  shape.threads = p.shape.threads();
  shape.shared_bytes = kMomentBytes;
  const bool aligned = p.channels % kQuad == 0 && aligned_for_quads(p.patches) &&
                       aligned_for_quads(p.first) && aligned_for_quads(p.position) &&
                       aligned_for_quads(p.x_out) && aligned_for_quads(p.norm_weight) &&
                       aligned_for_quads(p.norm_bias) && aligned_for_quads(p.norm_out);
  if (aligned) {
    launcher.template run<EmbedBody<T, true>>(shape, p);
  } else {
    launcher.template run<EmbedBody<T, false>>(shape, p);
  }
  return true;
}

}  // namespace tome::cuda
