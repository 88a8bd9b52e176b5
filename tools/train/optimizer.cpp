#include "train/optimizer.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>
#include <utility>

#include "tome_error.h"

namespace tome::train {
namespace {

/// The finite numbers that a tensor may hold.
struct Allowed {
  double least, most;
  const char* text;  ///< for errors
};

/// Tensors of a file that anyone may have written. One number that is not finite would make all
/// others so, in the model that takes the place of the one beside the file.
class StateReader {
 public:
  StateReader(const std::map<std::string, at::Tensor>& tensors, const std::string& file)
      : tensors_(tensors), file_(file) {}

  int64_t steps(int64_t most) const {
    const auto steps = find("steps", 1).to(at::kLong).item<int64_t>();
    if (steps < 0 || steps > most) {
      refuse("steps", "holds " + std::to_string(steps) + ", expected 0 to " + std::to_string(most) +
                          ", the number of steps done");
    }
    return steps;
  }

  at::Tensor take(const std::string& name, at::IntArrayRef shape, const Allowed& allowed) const {
    at::Tensor values = find(name, c10::multiply_integers(shape)).to(at::kFloat).view(shape);
    const at::Tensor wrong =
        (at::isfinite(values) & values.ge(allowed.least) & values.le(allowed.most)).logical_not();
    if (wrong.any().item<bool>()) {
      std::ostringstream number;
      number << values.masked_select(wrong)[0].item<float>();
      refuse(name, "holds " + number.str() + ", expected " + allowed.text);
    }
    return values;
  }

 private:
  const at::Tensor& find(const std::string& name, int64_t numbers) const {
    const auto found = tensors_.find(name);
    if (found == tensors_.end() || found->second.numel() != numbers) {
      refuse(name, "is missing or of another shape; it belongs to another model");
    }
    return found->second;
  }

  [[noreturn]] void refuse(const std::string& name, const std::string& why) const {
    throw Error(ErrorKind::kFormat, "'" + file_ + "': tensor '" + name + "' " + why +
                                        "; remove the file or choose another --out");
  }

  const std::map<std::string, at::Tensor>& tensors_;
  const std::string& file_;
};

}  // namespace

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

void Optimizer::load(const std::map<std::string, at::Tensor>& tensors, const std::string& file,
                     int64_t most_steps) {
  const at::NoGradGuard no_grad;
  const StateReader state{tensors, file};
  const int64_t steps = state.steps(most_steps);
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const Allowed any{-kInfinity, kInfinity, "finite numbers"};
  const Allowed square{0, kInfinity, "finite numbers from 0 on"};
  const Allowed count{0, static_cast<double>(steps), "0 to the tensor 'steps'"};
  std::vector<std::pair<at::Tensor, at::Tensor>> copies;  // to, from
  const auto take = [&](const at::Tensor& to, const std::string& name, const Allowed& allowed) {
    copies.emplace_back(to, state.take(name, to.sizes(), allowed));
  };
  for (const Group& group : groups_) {
    for (size_t i = 0; i < group.names.size(); ++i) {
      take(group.parameters[i], "weight/" + group.names[i], any);
      take(group.moments[i], "moment/" + group.names[i], any);
      take(group.squares[i], "square/" + group.names[i], square);
      take(group.counts[i], "count/" + group.names[i], count);
      take(group.averages[i], "average/" + group.names[i], any);
    }
  }
  for (auto& [to, from] : copies) to.copy_(from);
  steps_ = steps;
}

}  // namespace tome::train
