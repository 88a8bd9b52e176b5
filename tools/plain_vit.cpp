#include "plain_vit.h"

#include <ATen/ATen.h>

#include <optional>

#include "vit/linear.h"

namespace tome::cli {
namespace {

at::Tensor apply(const at::Tensor& x, const LinearWeights& linear) {
  return at::linear(x, linear.weight,
                    linear.bias.defined() ? std::optional(linear.bias) : std::nullopt);
}

}  // namespace

PlainViT::PlainViT(ViTConfig config, const ViTWeights& weights, at::Device device,
                   at::ScalarType precision)
    : config_(std::move(config)), weights_(weights), device_(device), precision_(precision) {
  for_each_tensor(weights_, [&](at::Tensor& t, const WeightPlace&) {
    if (t.defined()) t = t.to(device_, precision_);
  });
}

at::Tensor PlainViT::forward(const at::Tensor& patches) const {
  at::Tensor x = embed(patches);
  if (config_.pre_norm) x = norm(x, weights_.pre_norm, config_.norm_eps);
  for (const BlockWeights& block : weights_.blocks) x = run_block(x, block);
  return head(x).to(at::kFloat);
}

at::Tensor PlainViT::embed(const at::Tensor& patches) const {
  const int64_t batch = patches.size(0), n = patches.size(2), width = patches.size(3);
  const int64_t tubelets = patches.size(1) / config_.tubelet;
  at::Tensor rows = patches.to(device_, precision_)
                        .reshape({batch, tubelets, config_.tubelet, n, width})
                        .transpose(2, 3)
                        .reshape({batch, tubelets * n, config_.tubelet * width});
  at::Tensor x = apply(rows, weights_.patch_embed);
  if (weights_.prefix.defined()) {
    x = at::cat({weights_.prefix.unsqueeze(0).expand({batch, -1, -1}), x}, 1);
  }
  return x + weights_.pos_embed;
}

at::Tensor PlainViT::run_block(const at::Tensor& x, const BlockWeights& block) const {
  const int64_t batch = x.size(0), tokens = x.size(1), head_dim = config_.dim / config_.heads;
  const at::Tensor qkv = apply(norm(x, block.norm1, config_.norm_eps), block.qkv)
                             .reshape({batch, tokens, 3, config_.heads, head_dim})
                             .permute({2, 0, 3, 1, 4});
  at::Tensor attended = at::scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
                            .transpose(1, 2)
                            .reshape({batch, tokens, config_.dim});
  attended = apply(attended, block.proj);
  if (block.scale1.defined()) attended = attended * block.scale1;
  const at::Tensor y = x + attended;
  at::Tensor mlp =
      apply(activate(apply(norm(y, block.norm2, config_.norm_eps), block.fc1), config_.activation),
            block.fc2);
  if (block.scale2.defined()) mlp = mlp * block.scale2;
  return y + mlp;
}

at::Tensor PlainViT::head(const at::Tensor& tokens) const {
  const at::Tensor x = config_.final_norm ? norm(tokens, weights_.norm, config_.norm_eps) : tokens;
  const auto mean = [&] { return x.slice(1, config_.prefix_tokens()).mean(1); };
  at::Tensor pooled = config_.pooling == Pooling::kMean ? mean() : x.select(1, 0);
  if (config_.pooling == Pooling::kTokenAndMean) pooled = at::cat({pooled, mean()}, 1);
  if (config_.fc_norm) pooled = norm(pooled, weights_.fc_norm, config_.fc_norm_eps);
  const at::Tensor logits = apply(pooled, weights_.head);
  if (!config_.distilled_head) return logits;
  return (logits + apply(x.select(1, 1), weights_.head_dist)) / 2;
}

at::Tensor PlainViT::norm(const at::Tensor& x, const NormWeights& weights, double eps) const {
  return at::layer_norm(x, {config_.dim}, weights.weight, weights.bias, eps);
}

}  // namespace tome::cli
