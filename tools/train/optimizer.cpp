#include "train/optimizer.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>

#include "tome_error.h"

namespace tome::train {

Optimizer::Optimizer(std::vector<Parameter> parameters, OptimizerOptions options)
    : options_(options) {
  for (Parameter& parameter : parameters) {
    Group& group = group_of(parameter);
    const at::Tensor plain = parameter.tensor.detach();
    group.parameters.push_back(parameter.tensor);
    group.moments.push_back(at::zeros_like(plain));
    group.squares.push_back(at::zeros_like(plain));
    group.counts.push_back(at::zeros({}, plain.options().dtype(at::kFloat)));
    group.averages.push_back(plain.clone());
    group.names.push_back(parameter.name);
  }
}

Optimizer::Group& Optimizer::group_of(const Parameter& parameter) {
  const double weight_decay = parameter.decay ? options_.weight_decay : 0;
  for (Group& group : groups_) {
    if (group.weight_decay == weight_decay && group.rate == parameter.rate) return group;
  }
  Group& group = groups_.emplace_back();
  group.weight_decay = weight_decay;
  group.rate = parameter.rate;
  return group;
}

double Optimizer::step(double learning_rate) {
  const at::NoGradGuard no_grad;
  double squares = 0;
  for (Group& group : groups_) {
    for (at::Tensor& parameter : group.parameters) {
      if (!parameter.grad().defined()) parameter.mutable_grad() = at::zeros_like(parameter);
      const double norm = parameter.grad().norm().item<double>();
      squares += norm * norm;
    }
  }
  const double norm = std::sqrt(squares);
  const bool finite = std::isfinite(norm);
  if (finite) ++steps_;
  const double clip =
      options_.clip_norm > 0 && norm > options_.clip_norm ? options_.clip_norm / (norm + 1e-6) : 1;
  for (Group& group : groups_) {
    std::vector<at::Tensor> gradients;
    for (at::Tensor& parameter : group.parameters) {
      if (clip < 1) parameter.mutable_grad().mul_(clip);
      gradients.push_back(parameter.grad());
      parameter.mutable_grad() = at::Tensor();
    }
    if (!finite || gradients.empty()) continue;
    for (at::Tensor& count : group.counts) count.add_(1);
    at::_fused_adamw_(group.parameters, gradients, group.moments, group.squares, {}, group.counts,
                      learning_rate * group.rate, options_.beta1, options_.beta2,
                      group.weight_decay, options_.eps, /*amsgrad=*/false, /*maximize=*/false);
    const auto count = static_cast<double>(steps_);
    const double decay = std::min(options_.ema, (1 + count) / (10 + count));
    at::_foreach_lerp_(group.averages, group.parameters, 1 - decay);
  }
  return norm;
}

std::map<std::string, at::Tensor> Optimizer::averages() const {
  std::map<std::string, at::Tensor> out;
  for (const Group& group : groups_) {
    for (size_t i = 0; i < group.names.size(); ++i) out[group.names[i]] = group.averages[i];
  }
  return out;
}

void Optimizer::save(std::map<std::string, at::Tensor>& tensors) const {
  tensors["steps"] = at::full({1}, steps_, at::kLong);
  for (const Group& group : groups_) {
    for (size_t i = 0; i < group.names.size(); ++i) {
      tensors["weight/" + group.names[i]] = group.parameters[i].detach();
      tensors["moment/" + group.names[i]] = group.moments[i];
      tensors["square/" + group.names[i]] = group.squares[i];
      tensors["count/" + group.names[i]] = group.counts[i].reshape({1});
      tensors["average/" + group.names[i]] = group.averages[i];
    }
  }
}

void Optimizer::load(const std::map<std::string, at::Tensor>& tensors) {
  const at::NoGradGuard no_grad;
  const auto copy = [&](at::Tensor to, const std::string& name) {
    const auto found = tensors.find(name);
    if (found == tensors.end() || found->second.numel() != to.numel()) {
      throw Error(ErrorKind::kFormat, "training state: tensor '" + name +
                                          "' is missing or of another shape; it belongs to "
                                          "another model, remove it or choose another folder");
    }
    to.copy_(found->second.view(to.sizes()));
  };
  at::Tensor steps = at::zeros({1}, at::kLong);
  copy(steps, "steps");
  steps_ = steps.item<int64_t>();
  for (Group& group : groups_) {
    for (size_t i = 0; i < group.names.size(); ++i) {
      copy(group.parameters[i], "weight/" + group.names[i]);
      copy(group.moments[i], "moment/" + group.names[i]);
      copy(group.squares[i], "square/" + group.names[i]);
      copy(group.counts[i], "count/" + group.names[i]);
      copy(group.averages[i], "average/" + group.names[i]);
    }
  }
}

}  // namespace tome::train
