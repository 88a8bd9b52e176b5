#include "train/parameters.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "tome_error.h"
#include "train/random.h"

namespace tome::train {
namespace {

at::Tensor truncated_normal(at::IntArrayRef shape, double deviation, Random& random) {
  at::Tensor out = at::empty(shape, at::kFloat);
  float* values = out.data_ptr<float>();
  for (int64_t i = 0; i < out.numel(); ++i) {
    double value = random.normal();
    while (std::abs(value) > 2) value = random.normal();
    values[i] = static_cast<float>(value * deviation);
  }
  return out;
}

LinearWeights make_linear(int64_t out, int64_t in, Random& random) {
  return {truncated_normal({out, in}, 0.02, random), at::zeros({out})};
}

NormWeights make_norm(int64_t dim) { return {at::ones({dim}), at::zeros({dim})}; }

/// Sines and cosines of t, y and x, a third of the dimensions each (what is left stays zero).
at::Tensor grid_positions(const ViTConfig& config) {
  at::Tensor out = at::zeros({config.tokens(), config.dim});
  auto values = out.accessor<float, 2>();
  const int64_t pairs = config.dim / 6;
  int64_t row = config.prefix_tokens();
  for (int64_t t = 0; t < config.grid_frames(); ++t) {
    for (int64_t y = 0; y < config.grid_rows(); ++y) {
      for (int64_t x = 0; x < config.grid_cols(); ++x, ++row) {
        const double place[3] = {static_cast<double>(t), static_cast<double>(y),
                                 static_cast<double>(x)};
        for (int64_t axis = 0; axis < 3; ++axis) {
          for (int64_t i = 0; i < pairs; ++i) {
            // Periods from 2 pi down to 2 pi * 100 cells: grids here have few cells.
            const double angle =
                place[axis] / std::pow(100.0, static_cast<double>(i) / static_cast<double>(pairs));
            values[row][axis * 2 * pairs + 2 * i] = static_cast<float>(0.5 * std::sin(angle));
            values[row][axis * 2 * pairs + 2 * i + 1] = static_cast<float>(0.5 * std::cos(angle));
          }
        }
      }
    }
  }
  return out;
}

}  // namespace

std::vector<Parameter> list_parameters(ViTWeights& weights) {
  std::vector<Parameter> out;
  for_each_tensor(weights, [&](const at::Tensor& tensor, const WeightPlace& place) {
    if (tensor.defined()) out.push_back({place.name(), tensor, place.matrix});
  });
  return out;
}

void decay_rates_by_layer(std::vector<Parameter>& parameters, int64_t depth, double decay) {
  const auto starts = [](const std::string& name, const char* start) {
    return name.rfind(start, 0) == 0;
  };
  for (Parameter& parameter : parameters) {
    const std::string& name = parameter.name;
    int64_t layer = depth + 1;
    if (starts(name, "blocks.")) {
      layer = 1 + std::stoll(name.substr(std::string("blocks.").size()));
    } else if (starts(name, "patch_embed") || starts(name, "pre") || name == "pos_embed") {
      layer = 0;  // prefix and pre_norm too
    }
    parameter.rate = std::pow(decay, static_cast<double>(depth + 1 - layer));
  }
}

void replace_parameters(ViTWeights& weights,
                        const std::function<void(at::Tensor&, const std::string&)>& replace) {
  for_each_tensor(weights, [&](at::Tensor& tensor, const WeightPlace& place) {
    if (tensor.defined()) replace(tensor, place.name());
  });
}

// Note [Filters that see motion]
// A random patch embedding has to find out first that neighbouring frames belong together. Ours
// starts from pairs of space-time Gabor filters (Adelson and Bergen 1985, motion energy): a grating
// under a Gaussian window that moves on by a fixed number of pixels per frame; sine and cosine of
// it, over directions, wavelengths and speeds, so that an MLP finds motion by comparing
// energies. A part of the filters is a difference over time without a grating's selectivity and
// with a large gain: it tells the noise of a living sensor from a frozen stream.
namespace {

/// A drifting grating under a window or, if `noise`, a difference over time.
struct MotionFilter {
  bool noise = false;
  double wavelength = 0, direction = 0, speed = 0;  // pixels, radians, pixels per frame
  double width = 0, x0 = 0, y0 = 0;                 // of the window

  MotionFilter(bool is_noise, int64_t patch, Random& random) : noise(is_noise) {
    const auto p = static_cast<double>(patch);
    // Cycles per pixel. Antialiased pictures, moving or not, hold next to nothing beyond 0.35 both
    // ways, and noise as much as anywhere.
    const double fx = random.uniform(0.36, 0.5);
    const double fy = random.sign() * random.uniform(0.36, 0.5);
    wavelength = noise ? 1 / std::hypot(fx, fy) : random.log_uniform(2.2, p * 1.6);
    direction = noise ? std::atan2(fy, fx) : random.uniform(0, std::numbers::pi);
    // Phase speeds beyond half a wavelength per frame would alias.
    speed = noise ? wavelength / 2 : random.uniform(-0.45, 0.45) * wavelength;
    const double widest = p / 2.5;
    width = noise ? widest : std::min(0.5 * wavelength + 1.5, widest);
    const double middle = (p - 1) / 2;
    x0 = middle + random.uniform(-0.2, 0.2) * p;
    y0 = middle + random.uniform(-0.2, 0.2) * p;
  }

  double at(int64_t frame, int64_t y, int64_t x, bool sine) const {
    const double dx = static_cast<double>(x) - x0;
    const double dy = static_cast<double>(y) - y0;
    const double along = dx * std::cos(direction) + dy * std::sin(direction);
    const double phase =
        2 * std::numbers::pi / wavelength * (along - speed * static_cast<double>(frame));
    const double window = std::exp(-(dx * dx + dy * dy) / (2 * width * width));
    return window * (sine ? std::sin(phase) : std::cos(phase));
  }
};

/// Writes one phase of a filter to `out`, [tubelet, channels, patch, patch].
/// @return the sum of the squares of its values in one channel, before the colours' weights
double write_filter(const MotionFilter& filter, bool sine, at::Tensor out) {
  static constexpr double kColour[3] = {0.3, 0.59, 0.11};
  auto values = out.accessor<float, 4>();
  double squares = 0;
  for (int64_t f = 0; f < out.size(0); ++f) {
    for (int64_t y = 0; y < out.size(2); ++y) {
      for (int64_t x = 0; x < out.size(3); ++x) {
        const double value = filter.at(f, y, x, sine);
        squares += value * value;
        for (int64_t c = 0; c < out.size(1); ++c) {
          values[f][c][y][x] = static_cast<float>(value * (out.size(1) == 3 ? kColour[c] : 1.0));
        }
      }
    }
  }
  return squares;
}

}  // namespace

at::Tensor motion_filters(const ViTConfig& config, uint64_t seed) {
  Random random(Random::mix(seed, 0x9ab0));
  const int64_t p = config.patch;
  const int64_t t = config.tubelet;
  at::Tensor out = at::empty({config.dim, t, config.channels, p, p});
  const int64_t noise_filters = config.dim / 12;
  for (int64_t d = 0; d < config.dim; d += 2) {
    const MotionFilter filter(d < noise_filters, p, random);
    // Pictures have less contrast at short wavelengths, noise has far less at all: from a grey
    // level in ten values to several in each, hence two gains.
    const double noise_gain = d % 4 == 0 ? 250 : 60;
    const double gain = filter.noise ? noise_gain : std::clamp(8 / filter.wavelength, 0.5, 3.0);
    for (int64_t k = 0; k < 2 && d + k < config.dim; ++k) {
      const double squares = write_filter(filter, /*sine=*/k == 1, out[d + k]);
      out[d + k].mul_(gain / std::sqrt(squares));
    }
  }
  return out.reshape({config.dim, -1}) +
         truncated_normal({config.dim, t * config.channels * p * p}, 0.005, random);
}

ViTWeights make_weights(const ViTConfig& config, uint64_t seed) {
  Random random(Random::mix(seed, 0x1417));
  ViTWeights weights;
  const int64_t row = config.tubelet * config.channels * config.patch * config.patch;
  weights.patch_embed = make_linear(config.dim, row, random);
  if (config.tubelet > 1) weights.patch_embed.weight = motion_filters(config, seed);
  if (config.prefix_tokens() > 0) {
    weights.prefix = truncated_normal({config.prefix_tokens(), config.dim}, 0.02, random);
  }
  weights.pos_embed = grid_positions(config);
  if (config.pre_norm) weights.pre_norm = make_norm(config.dim);
  if (config.final_norm) weights.norm = make_norm(config.dim);
  if (config.fc_norm) weights.fc_norm = make_norm(config.dim);
  for (int64_t i = 0; i < config.depth; ++i) {
    BlockWeights block;
    block.norm1 = make_norm(config.dim);
    block.norm2 = make_norm(config.dim);
    block.qkv = make_linear(3 * config.dim, config.dim, random);
    block.proj = make_linear(config.dim, config.dim, random);
    block.fc1 = make_linear(config.mlp_hidden, config.dim, random);
    block.fc2 = make_linear(config.dim, config.mlp_hidden, random);
    weights.blocks.push_back(block);
  }
  weights.head = make_linear(config.classes, config.head_inputs(), random);
  return weights;
}

namespace {

void check_inflation(const ViTConfig& image, const ViTConfig& clip) {
  if (image.dim != clip.dim || image.depth != clip.depth || image.patch != clip.patch ||
      image.grid_rows() != clip.grid_rows() || image.grid_cols() != clip.grid_cols() ||
      image.prefix_tokens() != clip.prefix_tokens()) {
    throw Error(ErrorKind::kSettings, "the clip model differs from '" + image.name +
                                          "' in dim, depth, patch, size or prefix tokens; it can "
                                          "be made from it only if these agree");
  }
  if ((image.tubelet != 1 && image.tubelet != clip.tubelet) ||
      clip.grid_frames() % image.grid_frames() != 0 || clip.frames < image.frames) {
    throw Error(ErrorKind::kSettings,
                "a clip model of " + std::to_string(clip.frames) + " frames in tubelets of " +
                    std::to_string(clip.tubelet) + " cannot be made from '" + image.name +
                    "' with " + std::to_string(image.frames) + " frames in tubelets of " +
                    std::to_string(image.tubelet) +
                    "; expected the same tubelet and a multiple of the frames");
  }
}

at::Tensor inflate_positions(const ViTConfig& image, const at::Tensor& positions,
                             const ViTConfig& clip) {
  const int64_t prefix = image.prefix_tokens();
  const at::Tensor cells = positions.narrow(0, prefix, image.patch_tokens());
  // Repeats alone would leave the model blind to order; a faint sine of time lets it learn to see.
  const at::Tensor time = at::arange(clip.grid_frames(), at::kFloat).unsqueeze(1);
  const at::Tensor rate = at::pow(100.0, -at::arange(clip.dim, at::kFloat) / clip.dim).unsqueeze(0);
  const at::Tensor wave = 0.02 * at::sin(time * rate);
  const at::Tensor inflated = (cells.view({image.grid_frames(), -1, clip.dim})
                                   .repeat_interleave(clip.grid_frames() / image.grid_frames(), 0) +
                               wave.unsqueeze(1))
                                  .reshape({-1, clip.dim});
  return at::cat({positions.narrow(0, 0, prefix), inflated});
}

}  // namespace

ViTWeights inflate(const ViTConfig& image, const ViTWeights& weights, const ViTConfig& clip,
                   uint64_t seed) {
  check_inflation(image, clip);
  ViTWeights out = weights;
  const int64_t repeats = clip.tubelet / image.tubelet;
  out.patch_embed.weight = (weights.patch_embed.weight / repeats).repeat({1, repeats});
  out.pos_embed = inflate_positions(image, weights.pos_embed, clip);
  Random random(Random::mix(seed, 0x4ead));
  for (LinearWeights* head : {&out.head, &out.head_dist}) {
    const bool wanted = head == &out.head || clip.distilled_head;
    const bool fits = head->weight.defined() && head->weight.size(0) == clip.classes;
    if (!wanted) *head = {};
    if (wanted && !fits) *head = make_linear(clip.classes, clip.head_inputs(), random);
  }
  // The result is trained in place: it shares no tensor with what it was made of.
  replace_parameters(out, [](at::Tensor& tensor, const std::string&) { tensor = tensor.clone(); });
  return out;
}

}  // namespace tome::train
