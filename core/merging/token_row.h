// Tokens spread over the threads of a block: what the merge's and the embedding's kernels share.
//
// Note [Tokens in quads]
// A thread holds kRowQuads times four neighbouring channels of one token, and a warp 256 channels.
// Four channels move as one: 8 or 16 bytes to a lane, so that a warp's accesses are contiguous for
// 16-bit tokens and float32 parameters alike. With 8 neighbours to a thread, the parameters' loads
// would leave gaps between lanes and take twice the time in the first-level cache.
#pragma once

#include "cuda/portable.h"

namespace tome::cuda {

constexpr int kQuad = 4;
constexpr int kRowQuads = 2;
constexpr int kQuadStride = kQuad * kWarpSize;             ///< channels between a thread's quads
constexpr int kRowWarpChannels = kRowQuads * kQuadStride;  ///< of one warp

constexpr int kRowThreads = 512;                               ///< of one block, at most
constexpr int kRowMaxChannels = 2048;                          ///< ViT-H has 1280, ViT-g 1536
constexpr int kRowMaxTokens = 8;                               ///< of one block
constexpr int kMomentBytes = 2 * 4 * kRowThreads / kWarpSize;  ///< of shared memory, one set

/// Four channels as they lie in memory.
template <class T>
struct alignas(4 * sizeof(T)) Quad {
  uint32_t word[sizeof(T)];
};

template <class T>
TOME_DEVICE void unpack(const Quad<T>& quad, float (&to)[kQuad]) {
  if constexpr (sizeof(T) == 4) {
    TOME_UNROLL
    for (int i = 0; i < kQuad; ++i) to[i] = bits_as<float>(quad.word[i]);
  } else {
    TOME_UNROLL
    for (int i = 0; i < kQuad; i += 2) {
      to[i] = unpack_low<T>(quad.word[i / 2]);
      to[i + 1] = unpack_high<T>(quad.word[i / 2]);
    }
  }
}

template <class T>
TOME_DEVICE Quad<T> pack(const float (&from)[kQuad]) {
  Quad<T> quad;
  if constexpr (sizeof(T) == 4) {
    TOME_UNROLL
    for (int i = 0; i < kQuad; ++i) quad.word[i] = bits_as<uint32_t>(from[i]);
  } else {
    TOME_UNROLL
    for (int i = 0; i < kQuad; i += 2) quad.word[i / 2] = pack2<T>(from[i], from[i + 1]);
  }
  return quad;
}

/// Whether rows from here may move in quads.
template <class T>
bool aligned_for_quads(const T* p) {
  return (reinterpret_cast<uintptr_t>(p) & (sizeof(Quad<T>) - 1)) == 0;
}

/// `count` of four channels, zeros beyond. @param kAligned  `count` is <= 0 or >= 4, `from` aligned
template <bool kAligned, class T>
TOME_DEVICE Quad<T> load_quad(const T* from, int count) {
  Quad<T> quad{};
  if constexpr (kAligned) {
    if (count > 0) quad = *reinterpret_cast<const Quad<T>*>(from);
  } else {
    float value[kQuad];
    TOME_UNROLL
    for (int i = 0; i < kQuad; ++i) value[i] = i < count ? to_float(from[i]) : 0.0F;
    quad = pack<T>(value);
  }
  return quad;
}

template <bool kAligned, class T>
TOME_DEVICE void store_quad(const float (&from)[kQuad], int count, T* to) {
  if constexpr (kAligned) {
    if (count > 0) *reinterpret_cast<Quad<T>*>(to) = pack<T>(from);
  } else {
    TOME_UNROLL
    for (int i = 0; i < kQuad; ++i) {
      if (i < count) to[i] = from_float<T>(from[i]);
    }
  }
}

/// How tokens lie in a block. Quotients come from the host, where kernels would divide.
struct RowShape {
  int warps = 1;           ///< of one token
  int tokens = 1;          ///< of one block
  int of_warps = 257;      ///< 1 / warps in 256ths, rounded up: right for kRowThreads
  float of_channels = 1;   ///< 1 / channels
  float of_last_warp = 1;  ///< 1 / those of a token's last warp; others have all of theirs

  TOME_DEVICE int threads() const { return warps * tokens * kWarpSize; }
};

/// As many tokens as fit `block_warps`, at least one. channels <= kRowMaxChannels.
inline RowShape row_shape(int channels, int block_warps) {
  const int warps = ceil_div(channels, kRowWarpChannels);
  const int last = channels - (warps - 1) * kRowWarpChannels;
  return {warps, min_of(kRowMaxTokens, max_of(1, block_warps / warps)), 256 / warps + 1,
          1.0F / static_cast<float>(channels), 1.0F / static_cast<float>(last)};
}

/// Where a thread stands.
struct RowThread {
  int token;    ///< of the block
  int warp;     ///< of the token
  int channel;  ///< first of its first quad

  /// Channels from its quad q on to the row's end.
  TOME_DEVICE int count(int channels, int q) const { return channels - channel - q * kQuadStride; }
};

template <class Ctx>
TOME_KERNEL RowThread row_thread(const Ctx& ctx, const RowShape& shape) {
  const auto all =
      static_cast<unsigned>(ctx.thread());  // unsigned: shifts, where a sign costs more
  const int lane = static_cast<int>(all % kWarpSize);
  const int warp_of_block = static_cast<int>(all / kWarpSize);
  const int token = (warp_of_block * shape.of_warps) >> 8;
  const int warp = warp_of_block - token * shape.warps;
  return {token, warp, warp * kRowWarpChannels + lane * kQuad};
}

/// A thread's channels of one token; zeros past the last channel.
struct TokenRow {
  float value[kRowQuads][kQuad];
};

/// The same as they lie in memory: what may be on its way while other work is done.
template <class T>
struct RawRow {
  Quad<T> quad[kRowQuads];
};

template <bool kAligned, class T>
TOME_DEVICE void load_raw(const T* from, int channels, const RowThread& me, RawRow<T>* raw) {
  TOME_UNROLL
  for (int q = 0; q < kRowQuads; ++q) {
    raw->quad[q] = load_quad<kAligned>(from + me.channel + q * kQuadStride, me.count(channels, q));
  }
}

template <class T>
TOME_DEVICE void unpack_row(const RawRow<T>& raw, TokenRow* row) {
  TOME_UNROLL
  for (int q = 0; q < kRowQuads; ++q) unpack(raw.quad[q], row->value[q]);
}

template <bool kAligned, class T>
TOME_DEVICE void load_row(const T* from, int channels, const RowThread& me, TokenRow* row) {
  RawRow<T> raw;
  load_raw<kAligned>(from, channels, me, &raw);
  unpack_row(raw, row);
}

template <bool kAligned, class T>
TOME_DEVICE void store_row(const TokenRow& row, int channels, const RowThread& me, T* to) {
  TOME_UNROLL
  for (int q = 0; q < kRowQuads; ++q) {
    store_quad<kAligned>(row.value[q], me.count(channels, q), to + me.channel + q * kQuadStride);
  }
}

TOME_DEVICE float inverse_root(float x) {
#ifdef __CUDA_ARCH__
  return rsqrtf(x);
#else
  return 1.0F / sqrtf(x);
#endif
}

struct RowNorm {
  const float* weight;  ///< [channels]
  const float* bias;    ///< [channels]
  float eps;
  int channels;
};

/// Mean of some channels, and their squared distances from it, added up.
struct Moments {
  float mean, squares;
};

/// Of a token's channels in one warp: mean first, then squares, so that nothing cancels.
template <bool kAligned, class Ctx>
TOME_KERNEL Moments warp_moments(const Ctx& ctx, const RowShape& shape, int channels,
                                 const RowThread& me, const TokenRow& row) {
  const float inverse = me.warp == shape.warps - 1 ? shape.of_last_warp : 1.0F / kRowWarpChannels;
  float sum = 0, squares = 0;
  TOME_UNROLL
  for (int q = 0; q < kRowQuads; ++q) {
    TOME_UNROLL
    for (int i = 0; i < kQuad; ++i) sum += row.value[q][i];
  }
  const float mean = sum_over_warp(ctx, sum) * inverse;
  TOME_UNROLL
  for (int q = 0; q < kRowQuads; ++q) {
    const int count = me.count(channels, q);
    if (kAligned && count <= 0) continue;
    TOME_UNROLL
    for (int i = 0; i < kQuad; ++i) {
      const float d = row.value[q][i] - mean;
      squares += kAligned || i < count ? d * d : 0.0F;
    }
  }
  return {mean, sum_over_warp(ctx, squares)};
}

/// Of a whole token, from its warps' in shared memory: squares move from the warps' means to the
/// token's by adding what is never negative, so nothing cancels here either.
template <class Ctx>
TOME_KERNEL Moments row_moments(const Ctx& ctx, const Moments* of_warp, const RowShape& shape,
                                int channels) {
  static_assert(kRowMaxChannels <= 8 * kRowWarpChannels);
  const int w = ctx.lane() % 8;
  const bool has = w < shape.warps;
  const Moments part = of_warp[has ? w : 0];
  const int own = has ? min_of(kRowWarpChannels, channels - w * kRowWarpChannels) : 0;
  const auto weight = static_cast<float>(own);
  const float base = of_warp[0].mean;
  const float shift = sum_over_warp<8>(ctx, weight * (part.mean - base));
  const float mean = base + shift * shape.of_channels;
  const float d = part.mean - mean;
  const float squares = (has ? part.squares : 0.0F) + weight * d * d;
  return {mean, sum_over_warp<8>(ctx, squares)};
}

/// A thread's channels of the LayerNorm's parameters.
struct NormRows {
  TokenRow weight, bias;
};

template <bool kAligned>
TOME_DEVICE void load_norm(const RowNorm& p, const RowThread& me, NormRows* rows) {
  load_row<kAligned>(p.weight, p.channels, me, &rows->weight);
  load_row<kAligned>(p.bias, p.channels, me, &rows->bias);
}

/// LayerNorm of a row in registers. All threads of a block call this together; uses kMomentBytes of
/// shared memory. Who calls it again needs another set of them, or a barrier between.
template <bool kAligned, class Ctx>
TOME_KERNEL void normalise_by(const Ctx& ctx, const RowShape& shape, const RowThread& me,
                              const RowNorm& p, const NormRows& by, int set, TokenRow* row) {
  Moments moments = warp_moments<kAligned>(ctx, shape, p.channels, me, *row);
  if (shape.warps > 1) {
    auto* shared = ctx.template shared<Moments>(set * kMomentBytes) + me.token * shape.warps;
    if (ctx.lane() == 0) shared[me.warp] = moments;
    ctx.sync_block();
    moments = row_moments(ctx, shared, shape, p.channels);
  }
  const float scale = inverse_root(moments.squares * shape.of_channels + p.eps);
  TOME_UNROLL
  for (int q = 0; q < kRowQuads; ++q) {
    TOME_UNROLL
    for (int i = 0; i < kQuad; ++i) {
      const float centred = row->value[q][i] - moments.mean;
      row->value[q][i] = centred * scale * by.weight.value[q][i] + by.bias.value[q][i];
    }
  }
}

/// The same with parameters asked for here, so that they come while the moments are summed.
template <bool kAligned, class Ctx>
TOME_KERNEL void normalise_row(const Ctx& ctx, const RowShape& shape, const RowThread& me,
                               const RowNorm& p, TokenRow* row, int set = 0) {
  NormRows by;
  load_norm<kAligned>(p, me, &by);
  normalise_by<kAligned>(ctx, shape, me, p, by, set, row);
}

}  // namespace tome::cuda
