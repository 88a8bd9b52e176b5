// The tensors of a model by name, and fresh values for them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "vit/config.h"
#include "vit/weights.h"

namespace tome::train {

struct Parameter {
  std::string name;
  at::Tensor tensor;
  bool decay = false;  ///< weight decay applies: matrices, not biases, norms or positions
  double rate = 1;     ///< of the learning rate
};

/// Every defined tensor of the weights, in a fixed order. The tensors share storage with `weights`.
std::vector<Parameter> list_parameters(ViTWeights& weights);

/// Gives each layer `decay` times the learning rate of the one after it, the head the whole of it
/// and the embedding the least (Bao et al., BEiT 2021): fine-tuning on few samples keeps what early
/// layers know. @param depth  blocks of the model
void decay_rates_by_layer(std::vector<Parameter>& parameters, int64_t depth, double decay);

/// Calls `replace` on every defined tensor with its name, so that it may put another in its place.
void replace_parameters(ViTWeights& weights,
                        const std::function<void(at::Tensor&, const std::string&)>& replace);

/// Random weights for `config`: truncated normal (0.02) matrices as in timm, zero biases; positions
/// start from sines and cosines of (t, y, x); the patch embedding of a clip model from space-time
/// filters, see Note [Filters that see motion]. Seeded.
ViTWeights make_weights(const ViTConfig& config, uint64_t seed);

/// The patch embedding alone: [dim, tubelet * channels * patch * patch].
at::Tensor motion_filters(const ViTConfig& config, uint64_t seed);

/// Weights of a clip model from those of an image model of the same dim, depth and patch: the patch
/// embedding is divided by the tubelet and repeated, so that a still clip embeds like its frame;
/// positions repeat for every step in time; a head is kept if `clip.classes` agrees, else new.
/// A clip model may be lengthened in the same way: its tubelet stays, its positions repeat.
/// @throws Error kSettings naming what does not fit
ViTWeights inflate(const ViTConfig& image, const ViTWeights& weights, const ViTConfig& clip,
                   uint64_t seed);

}  // namespace tome::train
