#include "vit/cpu_weights.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace tome {
namespace {

std::vector<float> floats(const at::Tensor& tensor) {
  if (!tensor.defined()) return {};
  const at::Tensor values = tensor.detach().to(at::kFloat).contiguous();
  const float* data = values.const_data_ptr<float>();
  return {data, data + values.numel()};
}

CpuLinear pack(const LinearWeights& weights, const at::Tensor& scale, const CpuKernels& kernels,
               bool bytes = false) {
  CpuLinear linear;
  if (!weights.weight.defined()) return linear;
  linear.columns = weights.weight.size(0);
  linear.inner = weights.weight.size(1);
  linear.steps = bytes ? CpuKernels::byte_steps(linear.inner) : kernels.steps(linear.inner);
  const auto padded = static_cast<size_t>(kernels.padded(linear.columns));
  linear.packed = CpuBuffer(kernels.padded(linear.columns) * linear.steps * 4);
  const at::Tensor rows = weights.weight.detach().to(at::kFloat).contiguous();
  const std::vector<float> scales = floats(scale);
  const float* row_scale = scales.empty() ? nullptr : scales.data();
  if (bytes) {
    linear.column_scale.resize(padded);
    linear.column_sum.resize(padded);
    kernels.bytes->pack_weights(rows.const_data_ptr<float>(), row_scale, linear.columns,
                                linear.inner, linear.packed.at<void>(), linear.column_scale.data(),
                                linear.column_sum.data());
  } else {
    kernels.pack_weights(rows.const_data_ptr<float>(), row_scale, linear.columns, linear.inner,
                         linear.packed.at<void>());
  }
  linear.bias = floats(weights.bias);
  linear.bias.resize(padded, 0.0F);
  for (size_t i = 0; i < scales.size(); ++i) linear.bias[i] *= scales[i];
  return linear;
}

CpuNorm norm_of(const NormWeights& weights, int64_t dim) {
  CpuNorm norm{floats(weights.weight), floats(weights.bias)};
  if (norm.weight.empty()) norm.weight.assign(static_cast<size_t>(dim), 1.0F);
  norm.bias.resize(static_cast<size_t>(dim), 0.0F);
  return norm;
}

std::vector<float> start_of(const ViTConfig& config, const ViTWeights& weights) {
  std::vector<float> start = floats(weights.pos_embed);
  const auto prefix = floats(weights.prefix);
  for (size_t i = 0; i < prefix.size(); ++i) start[i] += prefix[i];
  const auto bias = floats(weights.patch_embed.bias);
  const auto dim = static_cast<size_t>(config.dim);
  for (size_t i = static_cast<size_t>(config.prefix_tokens()) * dim;
       !bias.empty() && i < start.size(); ++i) {
    start[i] += bias[i % dim];
  }
  return start;
}

}  // namespace

CpuWeights::CpuWeights(const ViTConfig& config, const ViTWeights& weights,
                       const CpuKernels& kernels, bool bytes)
    : patch_embed(pack({weights.patch_embed.weight, {}}, {}, kernels)),
      start(start_of(config, weights)),
      pre_norm(norm_of(weights.pre_norm, config.dim)),
      norm(norm_of(weights.norm, config.dim)),
      fc_norm(norm_of(weights.fc_norm, config.dim)),
      head(pack(weights.head, {}, kernels)),
      head_dist(pack(weights.head_dist, {}, kernels)) {
  for (const BlockWeights& block : weights.blocks) {
    blocks.push_back(
        {norm_of(block.norm1, config.dim), norm_of(block.norm2, config.dim),
         pack(block.qkv, {}, kernels, bytes), pack(block.proj, block.scale1, kernels, bytes),
         pack(block.fc1, {}, kernels, bytes), pack(block.fc2, block.scale2, kernels, bytes)});
  }
}

}  // namespace tome
