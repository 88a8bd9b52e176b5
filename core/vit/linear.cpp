#include "vit/linear.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/GradMode.h>

#include <optional>
#include <string_view>

#include "vit/cpu_kernels.h"

namespace tome {
namespace {

using Scalars = c10::List<std::optional<at::Scalar>>;

at::Tensor reorder_weight(const at::Tensor& weight, int64_t rows) {
  using Signature = at::Tensor(const at::Tensor&, std::optional<c10::SymInt>);
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("mkldnn::_reorder_linear_weight", "")
                             .typed<Signature>();
  return op.call(weight, c10::SymInt(rows));
}

at::Tensor linear_pointwise(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                            std::string_view attribute, std::optional<std::string_view> algorithm) {
  using Signature =
      at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&,
                 std::string_view, Scalars, std::optional<std::string_view>);
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("mkldnn::_linear_pointwise", "")
                             .typed<Signature>();
  const auto optional_bias = bias.defined() ? std::optional<at::Tensor>(bias) : std::nullopt;
  return op.call(x, weight, optional_bias, attribute, Scalars(), algorithm);
}

at::Tensor linear_add(const at::Tensor& x, const at::Tensor& residual, const at::Tensor& weight,
                      const at::Tensor& bias) {
  using Signature = at::Tensor(const at::Tensor&, const at::Tensor&, const at::Tensor&,
                               const std::optional<at::Tensor>&, std::string_view);
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("mkldnn::_linear_pointwise", "binary")
                             .typed<Signature>();
  const auto optional_bias = bias.defined() ? std::optional<at::Tensor>(bias) : std::nullopt;
  return op.call(x, residual, weight, optional_bias, "add");
}

}  // namespace

at::Tensor activate(const at::Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::kGelu:
      return at::gelu(x);
    case Activation::kGeluTanh:
      return at::gelu(x, "tanh");
    case Activation::kQuickGelu:
      return x * at::sigmoid(1.702 * x);
    case Activation::kRelu:
      return at::relu(x);
  }
  return x;
}

void Linear::pack(int64_t rows) {
  const at::Tensor& weight = weights_.weight;
  const bool supported = weight.defined() && weight.device().is_cpu() && !packed_.defined() &&
                         !weight.requires_grad() &&
                         (weight.scalar_type() == at::kFloat ||
                          (weight.scalar_type() == at::kBFloat16 && has_wide_vectors()));
  if (supported) packed_ = reorder_weight(weight.detach(), rows);
}

bool Linear::use_packed(const at::Tensor& x) const {
  if (!packed_.defined()) return false;
  return !c10::GradMode::is_enabled() || !(x.requires_grad() || weights_.weight.requires_grad());
}

at::Tensor Linear::forward(const at::Tensor& x) const {
  if (use_packed(x)) return linear_pointwise(x, packed_, weights_.bias, "none", std::nullopt);
  return at::linear(x, weights_.weight, weights_.bias);
}

at::Tensor Linear::forward(const at::Tensor& x, Activation activation) const {
  if (use_packed(x)) {
    if (activation == Activation::kGelu) {
      return linear_pointwise(x, packed_, weights_.bias, "gelu", "none");
    }
    if (activation == Activation::kGeluTanh) {
      return linear_pointwise(x, packed_, weights_.bias, "gelu", "tanh");
    }
    if (activation == Activation::kRelu) {
      return linear_pointwise(x, packed_, weights_.bias, "relu", std::nullopt);
    }
  }
  return activate(forward(x), activation);
}

at::Tensor Linear::forward_add(const at::Tensor& x, const at::Tensor& residual) const {
  if (use_packed(x)) return linear_add(x, residual, packed_, weights_.bias);
  return at::linear(x, weights_.weight, weights_.bias) + residual;
}

}  // namespace tome
