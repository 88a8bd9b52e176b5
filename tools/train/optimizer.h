// AdamW with a moving average of the weights, and its state as named tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "train/parameters.h"

namespace tome::train {

struct OptimizerOptions {
  double beta1 = 0.9, beta2 = 0.98, eps = 1e-8;
  double weight_decay = 0.05;
  double clip_norm = 1.0;  ///< of the whole gradient; 0: none
  double ema = 0.999;      ///< decay of the moving average; shorter in the first steps
};

/// AdamW (Loshchilov and Hutter 2019) over leaf tensors that require a gradient.
class Optimizer {
 public:
  Optimizer(std::vector<Parameter> parameters, OptimizerOptions options);

  /// One step from the tensors' gradients, which are dropped. Returns the gradient's norm before
  /// clipping; a norm that is not finite skips the step.
  double step(double learning_rate);

  /// Averages by name, as the parameters' names.
  std::map<std::string, at::Tensor> averages() const;

  void save(std::map<std::string, at::Tensor>& tensors) const;
  /// @param file  where the tensors are from, for errors
  /// @param most_steps  that may have been done
  /// @throws Error kFormat naming the tensor if one is missing, of another shape, or holds what no
  ///   training leaves; then nothing is loaded
  void load(const std::map<std::string, at::Tensor>& tensors, const std::string& file,
            int64_t most_steps);

  int64_t steps() const { return steps_; }

 private:
  struct Group {
    std::vector<at::Tensor> parameters, moments, squares, counts, averages;
    std::vector<std::string> names;
    double weight_decay = 0, rate = 1;
  };
  Group& group_of(const Parameter& parameter);
  OptimizerOptions options_;
  std::vector<Group> groups_;
  int64_t steps_ = 0;
};

}  // namespace tome::train
