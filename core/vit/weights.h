// The weights of a Vision Transformer in one canonical form, whatever names a checkpoint gave them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tome {

/// LayerNorm; both undefined where the model has none.
struct NormWeights {
  at::Tensor weight, bias;  // [dim]
};

/// y = x W^T + b; an undefined bias is none.
struct LinearWeights {
  at::Tensor weight;  // [out, in]
  at::Tensor bias;    // [out]
};

struct BlockWeights {
  NormWeights norm1, norm2;
  LinearWeights qkv;   // [3 * dim, dim]: queries, keys, values, each heads x head_dim
  LinearWeights proj;  // [dim, dim]
  LinearWeights fc1, fc2;
  at::Tensor scale1, scale2;  // layer scale [dim], undefined where there is none
};

struct ViTWeights {
  /// weight [dim, tubelet * 3 * patch * patch], columns ordered (frame of the tubelet, channel, y,
  /// x), so that a tubelet's row is the concatenation of its frames' patch rows.
  LinearWeights patch_embed;
  at::Tensor prefix;  // [prefix_tokens, dim]: class, distillation, registers; undefined if none
  /// [prefix_tokens + patch_tokens, dim]; rows of prefix tokens without a position are zero.
  at::Tensor pos_embed;
  NormWeights pre_norm, norm, fc_norm;
  std::vector<BlockWeights> blocks;
  LinearWeights head, head_dist;
};

/// Which of a model's tensors one is.
struct WeightPlace {
  std::string_view part;        ///< member of ViTWeights or BlockWeights: "qkv", "pos_embed"
  std::string_view field = {};  ///< "weight" or "bias"; empty where the part is one tensor
  int64_t block = -1;           ///< -1: of no block
  bool matrix = false;          ///< the weight of a linear layer

  /// "blocks.3.qkv.weight", "pos_embed"
  std::string name() const {
    std::string out = block < 0 ? "" : "blocks." + std::to_string(block) + ".";
    out += part;
    if (!field.empty()) out.append(".").append(field);
    return out;
  }
};

/// Calls visit(tensor, place) on each tensor of the weights, undefined ones too, always in the same
/// order. What treats all tensors alike goes by it; reading, saving, packing and making them know
/// each by itself.
/// @param weights  ViTWeights, const or not; so are the tensors
template <class Weights, class Visit>
void for_each_tensor(Weights& weights, Visit&& visit) {
  const auto linear = [&](auto& layer, std::string_view part, int64_t block = -1) {
    visit(layer.weight, WeightPlace{part, "weight", block, /*matrix=*/true});
    visit(layer.bias, WeightPlace{part, "bias", block});
  };
  const auto norm = [&](auto& layer, std::string_view part, int64_t block = -1) {
    visit(layer.weight, WeightPlace{part, "weight", block});
    visit(layer.bias, WeightPlace{part, "bias", block});
  };
  linear(weights.patch_embed, "patch_embed");
  visit(weights.prefix, WeightPlace{"prefix"});
  visit(weights.pos_embed, WeightPlace{"pos_embed"});
  norm(weights.pre_norm, "pre_norm");
  norm(weights.norm, "norm");
  norm(weights.fc_norm, "fc_norm");
  int64_t i = 0;
  for (auto& block : weights.blocks) {
    norm(block.norm1, "norm1", i);
    norm(block.norm2, "norm2", i);
    linear(block.qkv, "qkv", i);
    linear(block.proj, "proj", i);
    linear(block.fc1, "fc1", i);
    linear(block.fc2, "fc2", i);
    visit(block.scale1, WeightPlace{"scale1", "", i});
    visit(block.scale2, WeightPlace{"scale2", "", i});
    ++i;
  }
  linear(weights.head, "head");
  linear(weights.head_dist, "head_dist");
}

}  // namespace tome
