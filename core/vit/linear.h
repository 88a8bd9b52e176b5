// y = activation(x W^T + b) [+ residual], by the fastest product the device has.
#pragma once

#include <ATen/core/Tensor.h>

#include "vit/config.h"
#include "vit/weights.h"

namespace tome {

/// A linear layer that can be packed for oneDNN's fused products on the CPU.
///
/// Note [Packed products]: torch's own F.linear goes to MKL, which on AMD processors with AVX-512
/// reaches half of what oneDNN does, and runs bias, activation and residual as passes of their own.
/// The operators that torch's compiler uses (`mkldnn::_linear_pointwise`) take pre-packed weights
/// and fuse all three; they are reached through the dispatcher. They have no gradient, so a layer
/// whose input or weights want one takes ATen's way.
class Linear {
 public:
  Linear() = default;
  explicit Linear(LinearWeights weights) : weights_(std::move(weights)) {}

  /// Makes the packed copy, where the device and type have one. `rows`: the usual number of rows of
  /// x, which the packing is chosen for; others work too. Weights that
  /// require a gradient are being trained, and are not packed: the copy would go stale.
  void pack(int64_t rows);

  /// @param x  [..., in] -> [..., out]
  at::Tensor forward(const at::Tensor& x) const;
  at::Tensor forward(const at::Tensor& x, Activation activation) const;
  /// forward(x) + residual; residual [..., out]
  at::Tensor forward_add(const at::Tensor& x, const at::Tensor& residual) const;

 private:
  bool use_packed(const at::Tensor& x) const;
  LinearWeights weights_;
  at::Tensor packed_;  // opaque oneDNN layout; undefined if not packed
};

/// The activation on its own.
at::Tensor activate(const at::Tensor& x, Activation activation);

}  // namespace tome
