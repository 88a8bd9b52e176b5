// Gradients through merging against numerical ones, in double precision.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "merging/matching.h"
#include "merging/merge.h"
#include "train/parameters.h"
#include "vit/model.h"

namespace tome {
namespace {

/// Compares df/dx with central differences in every element of x.
void expect_gradient(const std::function<at::Tensor(const at::Tensor&)>& f, at::Tensor x,
                     double step, double tolerance) {
  x = x.detach().clone().requires_grad_(true);
  const at::Tensor gradient = torch::autograd::grad({f(x)}, {x})[0];
  const at::Tensor flat = x.detach().clone();
  double* values = flat.data_ptr<double>();
  const at::Tensor found = gradient.contiguous();
  for (int64_t i = 0; i < flat.numel(); ++i) {
    const c10::AutoGradMode no_gradients(false);
    const double kept = values[i];
    values[i] = kept + step;
    const double above = f(flat).item<double>();
    values[i] = kept - step;
    const double below = f(flat).item<double>();
    values[i] = kept;
    const double expected = (above - below) / (2 * step);
    ASSERT_NEAR(found.data_ptr<double>()[i], expected,
                tolerance * std::max(1.0, std::abs(expected)))
        << "element " << i;
  }
}

at::Tensor random_doubles(at::IntArrayRef shape, uint64_t seed) {
  at::manual_seed(seed);
  return at::randn(shape, at::kDouble);
}

Matching plan(int64_t r) {
  MatchOptions options;
  options.r = r;
  options.protected_tokens = {0};
  return bipartite_soft_matching(random_doubles({2, 11, 4}, 5).to(at::kFloat), options);
}

TEST(MergeGradient, WeightedMeanIsThatOfAveragePooling) {
  const Matching matching = plan(4);
  const at::Tensor x = random_doubles({2, 11, 3}, 1).requires_grad_(true);
  const at::Tensor sum = merge_tokens(x, {}, matching).x.sum();
  const at::Tensor gradient = torch::autograd::grad({sum}, {x})[0];
  // By definition: each source of a token of size s gets 1 / s.
  const at::Tensor size = merge_tokens(x.detach(), {}, matching).size;
  const at::Tensor share = 1 / size.gather(1, matching.target);
  EXPECT_TRUE(
      at::allclose(gradient, share.to(at::kDouble).unsqueeze(-1).expand_as(gradient), 1e-5, 1e-6));
}

// merge_tokens works in float32 inside: a step of 1e-2 keeps rounding out of the differences, and
// the function is linear in x, so the step costs no accuracy.
TEST(MergeGradient, AgreesWithDifferences) {
  const at::Tensor weight = random_doubles({2, 7, 3}, 2);
  const at::Tensor sizes = random_doubles({2, 11}, 3).abs().add(0.5).to(at::kFloat);
  const Matching matching = plan(4);
  for (const Combine combine : {Combine::kWeightedMean, Combine::kMean, Combine::kKeepOne}) {
    expect_gradient(
        [&](const at::Tensor& x) {
          return (merge_tokens(x, sizes, matching, combine).x * weight).sum();
        },
        random_doubles({2, 11, 3}, 4), 1e-2, 1e-4);
  }
}

TEST(MergeGradient, ThroughAWholeModel) {
  ViTConfig config;
  config.image_height = config.image_width = 8;
  config.patch = 2;
  config.frames = 2;
  config.tubelet = 1;
  config.dim = 12;
  config.depth = 2;
  config.heads = 2;
  config.mlp_hidden = 16;
  config.classes = 3;
  config.class_token = false;
  config.pooling = Pooling::kMean;
  config.final_norm = false;
  config.fc_norm = true;
  VisionTransformer model(config, train::make_weights(config, 6), at::kCPU, at::kDouble);
  ForwardOptions options;
  options.r = {6, 5};
  const at::Tensor patches = random_doubles({1, 2, 16, 12}, 7).to(at::kFloat);
  const at::Tensor weight = random_doubles({1, 3}, 8);

  for (train::Parameter& parameter : train::list_parameters(model.weights())) {
    parameter.tensor.requires_grad_(true);
  }
  const auto loss = [&] { return (model.forward(patches, options).logits * weight).sum(); };
  for (train::Parameter& parameter : train::list_parameters(model.weights())) {
    const at::Tensor gradient = torch::autograd::grad({loss()}, {parameter.tensor})[0];
    const at::Tensor along = gradient / gradient.norm().clamp_min(1e-30);
    const at::Tensor any = at::randn(gradient.sizes(), at::kDouble);
    for (const at::Tensor& direction : {along, any / any.norm()}) {
      const c10::AutoGradMode no_gradients(false);
      const at::Tensor kept = parameter.tensor.detach().clone();
      // Merging and the logits round to float32; a step of this size stays well above that and
      // below what would change which tokens merge (their keys hardly move).
      constexpr double kStep = 5e-3;
      parameter.tensor.detach().copy_(kept + kStep * direction);
      const double above = loss().item<double>();
      parameter.tensor.detach().copy_(kept - kStep * direction);
      const double below = loss().item<double>();
      parameter.tensor.detach().copy_(kept);
      const double found = (gradient * direction).sum().item<double>();
      const double expected = (above - below) / (2 * kStep);
      EXPECT_NEAR(found, expected, 2e-3 + 0.02 * std::abs(expected)) << parameter.name;
    }
  }
}

TEST(MergeGradient, ChoosingTheEdgesHasNone) {
  // The plan is made from the keys, but nothing flows back through it: the gradient is that of a
  // plan which is given.
  const at::Tensor keys = random_doubles({1, 9, 4}, 9).to(at::kFloat).requires_grad_(true);
  const at::Tensor weight = random_doubles({1, 6, 4}, 3).to(at::kFloat);
  MatchOptions options;
  options.r = 3;
  const auto gradient = [&](const at::Tensor& metric) {
    const Matching matching = bipartite_soft_matching(metric, options);
    const at::Tensor loss = (merge_tokens(keys, {}, matching).x * weight).sum();
    return torch::autograd::grad({loss}, {keys})[0];
  };
  EXPECT_TRUE(at::equal(gradient(keys), gradient(keys.detach())));
  EXPECT_TRUE(gradient(keys).abs().sum().item<float>() > 0);
}

}  // namespace
}  // namespace tome
