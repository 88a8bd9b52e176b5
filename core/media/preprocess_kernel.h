// Pre-processing on a GPU: frames of any supported layout and of different sizes to normalised
// patch rows in one launch, with the numbers of the CPU's pre-processing.
//
// Note [One resampler for every layout]
// A frame is three components, each a grid of samples with its own strides and taps: R, G, B lie
// pixel_bytes apart in the same rows, NV12's U and V two bytes apart, I420's in planes of their
// own. So one piece of code resamples them all. A block makes 16 x 16 pixels of the model's input.
// The first pass of the separable filter goes over a strip of the input into shared memory, the
// second adds the strip to the sums that each thread holds for its pixel; strips follow one another
// until the filter's support is covered, so any frame size runs in the same 2 KB. Which pass comes
// first and where it rounds follow the CPU (Note [PIL's order of passes], Note [YUV is resized
// before it is converted]): the arithmetic is in integers, and the results are equal, not just
// close.
#pragma once

#include "cuda/portable.h"

namespace tome::cuda {

/// Taps of one axis in device memory; ExactTaps or WideTaps of filter.h.
struct TapsView {
  const int32_t* first = nullptr;    ///< [count]
  const int32_t* used = nullptr;     ///< [count]
  const int32_t* weights = nullptr;  ///< [count, length]
  int length = 0;
};

/// Sample (x, y) is at data + x * step + y * stride, counted from the taps' begin.
struct ComponentView {
  const uint8_t* data = nullptr;
  int64_t stride = 0;  ///< bytes
  int step = 1;        ///< bytes
  TapsView x, y;
};

/// A frame: where its samples are, and where they land.
struct FrameJob {
  ComponentView component[3];      ///< R, G, B or Y, U, V
  int count_x = 0, count_y = 0;    ///< pixels of the picture in the model's input
  int target_x = 0, target_y = 0;  ///< where it begins there
  bool yuv = false;  ///< taps with 14 fractional bits and 16-bit samples between the passes
  bool vertical_first = false;
  bool ten_bits = false;      ///< samples are 16 bits, little-endian, whose upper 10 count
  bool limited_grey = false;  ///< is_limited_grey of colour.h
  int black = 0, centre = 0;  ///< ColourMatrix of colour.h
  float luma = 0, red_v = 0, green_u = 0, green_v = 0, blue_u = 0;
};

/// T is the type of the patch rows: Bf16, Half or float.
template <class T>
struct PreprocessParams {
  const FrameJob* jobs = nullptr;  ///< [frames], device memory
  T* patches = nullptr;  ///< [frames, (height / patch) * (width / patch), 3 * patch * patch]
  int frames = 0, width = 0, height = 0, patch = 16;
  float mean[3] = {0, 0, 0}, scale[3] = {1, 1, 1}, fill[3] = {0, 0, 0};  ///< Normalisation
};

constexpr int kPixelTile = 16;
constexpr int kPreprocessThreads = kPixelTile * kPixelTile;
constexpr int kStrip = 64;  ///< input positions along the second pass's axis
constexpr int kStripBytes = 2 * kPixelTile * kStrip;

constexpr int kExactBits = 22, kWeightBits = 14, kSampleBits = 6;

/// Products and sums that the compiler does not fuse, since the CPU does not.
TOME_DEVICE float plain_product(float a, float b) {
#ifdef __CUDA_ARCH__
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}
TOME_DEVICE float plain_sum(float a, float b) {
#ifdef __CUDA_ARCH__
  return __fadd_rn(a, b);
#else
  return a + b;
#endif
}

TOME_DEVICE int clamp_to(int value, int low, int high) { return min_of(max_of(value, low), high); }

/// 16..235 as 0..255. In 8 bits, as the passes round, so that the CPU and a GPU agree.
TOME_DEVICE int full_range_grey(int value) {
  return ((clamp_to(value, 16, 235) - 16) * 255 + 219 / 2) / 219;
}

TOME_DEVICE int round_to_wide(int sum, int shift) {
  return clamp_to((sum + (1 << (shift - 1))) >> shift, -32768, 32767);
}

/// What the sum of a pass becomes.
TOME_DEVICE int finish_pass(const FrameJob& job, int sum, bool first_pass) {
  if (!job.yuv) return clamp_to((sum + (1 << (kExactBits - 1))) >> kExactBits, 0, 255);
  if (!first_pass) return round_to_wide(sum, kWeightBits);
  return round_to_wide(sum, kWeightBits - kSampleBits + (job.ten_bits ? 2 : 0));
}

TOME_DEVICE int load_sample(const FrameJob& job, const uint8_t* at) {
  return job.ten_bits ? (at[0] | at[1] << 8) >> 6 : at[0];
}

/// One component on its way through a tile, along the first pass's axis p and the second's, q.
struct TileAxes {
  TapsView p, q;
  int64_t p_step, q_step;  ///< bytes
  int p_first, q_first;    ///< the tile's first outputs
  int p_count, q_count;    ///< outputs of the whole picture

  TOME_DEVICE TileAxes(const FrameJob& job, const ComponentView& c, int first_x, int first_y)
      : p(job.vertical_first ? c.y : c.x),
        q(job.vertical_first ? c.x : c.y),
        p_step(job.vertical_first ? c.stride : c.step),
        q_step(job.vertical_first ? c.step : c.stride),
        p_first(job.vertical_first ? first_y : first_x),
        q_first(job.vertical_first ? first_x : first_y),
        p_count(job.vertical_first ? job.count_y : job.count_x),
        q_count(job.vertical_first ? job.count_x : job.count_y) {}

  TOME_DEVICE int q_output(int i) const { return clamp_to(q_first + i, 0, q_count - 1); }
};

/// First pass: strip[i][q] for the tile's outputs i along p and input positions from `begin`.
template <class Ctx>
TOME_KERNEL void fill_strip(const Ctx& ctx, const FrameJob& job, const ComponentView& component,
                            const TileAxes& axes, int begin, int length, int16_t* strip) {
  for (int item = ctx.thread(); item < kPixelTile * length; item += ctx.threads()) {
    // Neighbouring threads take neighbouring columns of the frame.
    const int i = job.vertical_first ? item / length : item % kPixelTile;
    const int q = job.vertical_first ? item % length : item / kPixelTile;
    const int output = axes.p_first + i;
    if (output < 0 || output >= axes.p_count) continue;
    const int32_t* weights = axes.p.weights + static_cast<int64_t>(output) * axes.p.length;
    const uint8_t* at = component.data + (begin + q) * axes.q_step +
                        static_cast<int64_t>(axes.p.first[output]) * axes.p_step;
    const int used = axes.p.used[output];
    int sum = 0;
    for (int t = 0; t < used; ++t, at += axes.p_step) sum += load_sample(job, at) * weights[t];
    strip[i * kStrip + q] = static_cast<int16_t>(finish_pass(job, sum, true));
  }
}

/// One component of this thread's pixel, after both passes; outside the picture, anything.
template <class Ctx>
TOME_KERNEL int resample(const Ctx& ctx, const FrameJob& job, const ComponentView& component,
                         int first_x, int first_y, int16_t* strip) {
  const TileAxes axes(job, component, first_x, first_y);
  // Not of the first and the last output: weights of 0 are left out of the taps, so that an earlier
  // output may reach further than a later one.
  int begin = axes.q.first[axes.q_output(0)], end = 0;
  for (int k = 0; k < kPixelTile; ++k) {
    const int at = axes.q_output(k);
    begin = min_of(begin, axes.q.first[at]);
    end = max_of(end, axes.q.first[at] + axes.q.used[at]);
  }

  const int x = ctx.thread() % kPixelTile, y = ctx.thread() / kPixelTile;
  const int i = job.vertical_first ? y : x;
  const int output = axes.q_output(job.vertical_first ? x : y);
  const int my_first = axes.q.first[output], my_end = my_first + axes.q.used[output];
  const int32_t* weights = axes.q.weights + static_cast<int64_t>(output) * axes.q.length;
  int sum = 0;
  for (int at = begin; at < end; at += kStrip) {
    const int length = min_of(kStrip, end - at);
    fill_strip(ctx, job, component, axes, at, length, strip);
    ctx.sync_block();
    const int to = min_of(my_end, at + length);
    for (int q = max_of(my_first, at); q < to; ++q) {
      sum += strip[i * kStrip + q - at] * weights[q - my_first];
    }
    ctx.sync_block();
  }
  return finish_pass(job, sum, false);
}

/// R, G, B in 0..255 from the resampled components.
TOME_DEVICE void to_rgb(const FrameJob& job, const int (&value)[3], float (&rgb)[3]) {
  if (!job.yuv) {
    for (int c = 0; c < 3; ++c) {
      rgb[c] = static_cast<float>(job.limited_grey ? full_range_grey(value[c]) : value[c]);
    }
    return;
  }
  const float luma = plain_product(job.luma, static_cast<float>(value[0] - job.black));
  const auto cb = static_cast<float>(value[1] - job.centre);
  const auto cr = static_cast<float>(value[2] - job.centre);
  rgb[0] = plain_sum(luma, plain_product(job.red_v, cr));
  rgb[1] =
      plain_sum(plain_sum(luma, plain_product(job.green_u, cb)), plain_product(job.green_v, cr));
  rgb[2] = plain_sum(luma, plain_product(job.blue_u, cb));
  for (float& v : rgb) v = min_of(max_of(v, 0.0F), 255.0F);
}

/// Grid (ceil(width / 16), ceil(height / 16), frames), 256 threads.
template <class Ctx, class T>
TOME_KERNEL void preprocess_kernel(Ctx& ctx, const PreprocessParams<T>& p) {
  const FrameJob& job = p.jobs[ctx.block_z()];
  int16_t* strip = ctx.template shared<int16_t>();
  const int tile_x = ctx.block_x() * kPixelTile, tile_y = ctx.block_y() * kPixelTile;
  const int first_x = tile_x - job.target_x, first_y = tile_y - job.target_y;  // in the picture
  const bool any = first_x < job.count_x && first_x + kPixelTile > 0 && first_y < job.count_y &&
                   first_y + kPixelTile > 0;  // the same for the whole block
  int value[3] = {0, 0, 0};
  if (any) {
    for (int c = 0; c < 3; ++c) {
      value[c] = resample(ctx, job, job.component[c], first_x, first_y, strip);
    }
  }
  const int x = tile_x + ctx.thread() % kPixelTile, y = tile_y + ctx.thread() / kPixelTile;
  if (x >= p.width || y >= p.height) return;
  const int in_x = x - job.target_x, in_y = y - job.target_y;
  const bool inside = in_x >= 0 && in_x < job.count_x && in_y >= 0 && in_y < job.count_y;
  float rgb[3];
  to_rgb(job, value, rgb);
  const int64_t columns = static_cast<int64_t>(3) * p.patch * p.patch;
  const int64_t patches = static_cast<int64_t>(p.height / p.patch) * (p.width / p.patch);
  const int64_t row = ctx.block_z() * patches +
                      static_cast<int64_t>(y / p.patch) * (p.width / p.patch) + x / p.patch;
  T* out = p.patches + row * columns + y % p.patch * p.patch + x % p.patch;
  for (int c = 0; c < 3; ++c) {
    const float normal = plain_product(plain_sum(rgb[c], -p.mean[c]), p.scale[c]);
    out[c * p.patch * p.patch] = from_float<T>(inside ? normal : p.fill[c]);
  }
}

template <class T>
struct PreprocessBody {
  using Params = PreprocessParams<T>;
  static constexpr int kThreads = kPreprocessThreads;
  template <class Ctx>
  static TOME_KERNEL void run(Ctx& ctx, const Params& p) {
    preprocess_kernel(ctx, p);
  }
};

template <class T, class Launcher>
void launch_preprocess(Launcher& launcher, const PreprocessParams<T>& p) {
  LaunchShape shape;
  shape.grid = {ceil_div(p.width, kPixelTile), ceil_div(p.height, kPixelTile), p.frames};
  shape.threads = kPreprocessThreads;
  shape.shared_bytes = kStripBytes;
  launcher.template run<PreprocessBody<T>>(shape, p);
}

}  // namespace tome::cuda
