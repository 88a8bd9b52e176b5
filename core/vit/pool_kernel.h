// What the head sees, on a GPU: one token, or the mean of a range of tokens weighted by their
// sizes; two launches put one behind the other.
#pragma once

#include "cuda/portable.h"

namespace tome::cuda {

template <class T>
struct PoolParams {
  const T* x = nullptr;         ///< [batch, tokens, channels]
  const float* size = nullptr;  ///< [batch, tokens]; null: every token weighs the same
  T* out = nullptr;             ///< [batch, channels], samples out_stride elements apart
  int batch = 0, tokens = 0, channels = 0, out_stride = 0;
  int first = 0, count = 1;  ///< the tokens to average
};

constexpr int kPoolThreads = 256;
constexpr int kPoolChannels = kWarpSize;  ///< of one block, one for each lane
constexpr int kPoolParts = kPoolThreads / kWarpSize;

/// Warp w of a block sums tokens w, w + 8, ...; the eight sums are added in a fixed order, so the
/// result is bitwise repeatable. Grid (ceil(channels / 32), 1, batch), 256 threads,
/// kPoolSharedBytes.
template <class Ctx, class T>
TOME_KERNEL void pool_kernel(Ctx& ctx, const PoolParams<T>& p) {
  float* sums = ctx.template shared<float>();     // [parts][channels]
  float* totals = sums + kPoolParts * kWarpSize;  // [parts]
  const int channel = ctx.block_x() * kPoolChannels + ctx.lane();
  const int64_t sample = ctx.block_z();
  float sum = 0, total = 0;
  for (int i = ctx.warp(); i < p.count; i += kPoolParts) {
    const int64_t token = sample * p.tokens + p.first + i;
    const float weight = p.size == nullptr ? 1.0F : p.size[token];
    total += weight;
    if (channel < p.channels) sum += weight * to_float(p.x[token * p.channels + channel]);
  }
  sums[ctx.warp() * kWarpSize + ctx.lane()] = sum;
  if (ctx.lane() == 0) totals[ctx.warp()] = total;
  ctx.sync_block();
  if (ctx.warp() != 0 || channel >= p.channels) return;
  sum = total = 0;
  for (int part = 0; part < kPoolParts; ++part) {
    sum += sums[part * kWarpSize + ctx.lane()];
    total += totals[part];
  }
  p.out[sample * p.out_stride + channel] = from_float<T>(sum / total);
}

constexpr int kPoolSharedBytes = 4 * kPoolParts * (kWarpSize + 1);

template <class T>
struct PoolBody {
  using Params = PoolParams<T>;
  static constexpr int kThreads = kPoolThreads;
  template <class Ctx>
  static TOME_KERNEL void run(Ctx& ctx, const Params& p) {
    pool_kernel(ctx, p);
  }
};

template <class T, class Launcher>
void launch_pool(Launcher& launcher, const PoolParams<T>& p) {
  LaunchShape shape;
  shape.grid = {ceil_div(p.channels, kPoolChannels), 1, p.batch};
  shape.threads = kPoolThreads;
  shape.shared_bytes = kPoolSharedBytes;
  launcher.template run<PoolBody<T>>(shape, p);
}

}  // namespace tome::cuda
