#include "vit/fused_weights.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include "merging/merge_launch.h"
#include "vit/attention_cuda.h"

namespace tome {
namespace {

at::Tensor wide(const at::Tensor& t) { return t.to(at::kCPU, at::kFloat).contiguous(); }

class Fuser {
 public:
  Fuser(const ViTConfig& config, cuda::ElementType type, const TensorPlacer& place)
      : config_(config), type_(scalar_type(type)), place_(place) {}

  const float* floats(const at::Tensor& t) const {
    return t.defined() ? static_cast<const float*>(place_(wide(t))) : nullptr;
  }

  FusedNorm norm(const NormWeights& w) const { return {floats(w.weight), floats(w.bias)}; }

  /// @param bias_type  of the product's result
  FusedLinear linear(const LinearWeights& w, at::ScalarType bias_type) const {
    FusedLinear out;
    if (!w.weight.defined()) return out;
    out.out = w.weight.size(0);
    out.in = w.weight.size(1);
    out.weight = place_(wide(w.weight).to(type_));
    if (w.bias.defined()) out.bias = place_(wide(w.bias).to(bias_type));
    return out;
  }
  FusedLinear linear(const LinearWeights& w) const { return linear(w, type_); }

  /// scale * (x W^T + b), scaled before anything is rounded.
  FusedLinear scaled(const LinearWeights& w, const at::Tensor& scale) const {
    return linear(scaled_weights(w, scale));
  }

  FusedBlock block(const BlockWeights& w) const {
    FusedBlock out;
    out.norm1 = norm(w.norm1);
    out.norm2 = norm(w.norm2);
    out.qkv = linear(with_metric(w.qkv));
    out.proj = scaled(w.proj, w.scale1);
    out.fc1 = linear(w.fc1);
    out.fc2 = scaled(w.fc2, w.scale2);
    return out;
  }

  static LinearWeights halved(const LinearWeights& w) {
    return {w.weight.defined() ? wide(w.weight) / 2 : w.weight,
            w.bias.defined() ? wide(w.bias) / 2 : w.bias};
  }

 private:
  static LinearWeights scaled_weights(const LinearWeights& w, const at::Tensor& scale) {
    if (!scale.defined()) return w;
    const at::Tensor factor = wide(scale);
    return {wide(w.weight) * factor.unsqueeze(1),
            w.bias.defined() ? wide(w.bias) * factor : w.bias};
  }

  /// Note [The metric rides on the QKV product]
  LinearWeights with_metric(const LinearWeights& qkv) const {
    const int64_t dim = config_.dim;
    const auto extend = [&](const at::Tensor& t) {
      const at::Tensor rows = wide(t);
      const at::Tensor keys = rows.narrow(0, dim, dim);
      return at::cat({rows, keys.unflatten(0, {config_.heads, dim / config_.heads}).mean(0)});
    };
    return {extend(qkv.weight), qkv.bias.defined() ? extend(qkv.bias) : qkv.bias};
  }

  const ViTConfig& config_;
  at::ScalarType type_;
  const TensorPlacer& place_;
};

}  // namespace

at::ScalarType scalar_type(cuda::ElementType type) {
  switch (type) {
    case cuda::ElementType::kFloat32:
      return at::kFloat;
    case cuda::ElementType::kBfloat16:
      return at::kBFloat16;
    case cuda::ElementType::kFloat16:
      return at::kHalf;
  }
  return at::kFloat;
}

cuda::ElementType element_type(at::ScalarType type) {
  if (type == at::kFloat) return cuda::ElementType::kFloat32;
  return type == at::kHalf ? cuda::ElementType::kFloat16 : cuda::ElementType::kBfloat16;
}

std::string why_not_fused(const ViTConfig& config, cuda::ElementType type) {
  const auto head_dim = static_cast<int>(config.dim / config.heads);
  if (type == cuda::ElementType::kFloat32) return "its attention is for bf16 and fp16";
  if (!cuda::has_attention_kernel(type, head_dim)) {
    return "no attention kernel for heads of " + std::to_string(head_dim) + " channels";
  }
  if (config.dim > cuda::kMergeMaxChannels) {
    return std::to_string(config.dim) + " channels are more than " +
           std::to_string(cuda::kMergeMaxChannels);
  }
  if (config.activation == Activation::kQuickGelu) return "no product ends with QuickGELU";
  if (config.fc_norm && config.pooling != Pooling::kMean) return "fc_norm after token pooling";
  if (config.distilled_head && config.pooling != Pooling::kToken) return "two heads that pool";
  return {};
}

FusedWeights fuse_weights(const ViTConfig& config, const ViTWeights& weights,
                          cuda::ElementType type, const TensorPlacer& place) {
  const c10::InferenceMode inference;
  const Fuser fuser(config, type, place);
  const int64_t prefix = config.prefix_tokens();
  FusedWeights out;
  out.config = config;
  out.type = type;
  out.patch_embed = fuser.linear(weights.patch_embed);
  const at::Tensor positions = wide(weights.pos_embed);
  if (prefix > 0) out.first = fuser.floats(wide(weights.prefix) + positions.narrow(0, 0, prefix));
  out.position = fuser.floats(positions.narrow(0, prefix, config.patch_tokens()));
  out.pre_norm = fuser.norm(weights.pre_norm);
  out.norm = fuser.norm(weights.norm);
  out.fc_norm = fuser.norm(weights.fc_norm);
  for (const BlockWeights& block : weights.blocks) out.blocks.push_back(fuser.block(block));
  const bool two = config.distilled_head;
  out.head = fuser.linear(two ? Fuser::halved(weights.head) : weights.head, at::kFloat);
  if (two) out.head_dist = fuser.linear(Fuser::halved(weights.head_dist), at::kFloat);
  return out;
}

}  // namespace tome
