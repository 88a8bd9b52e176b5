#include "checkpoint/weight_reader.h"

#include <ATen/ATen.h>

#include <cmath>

#include "checkpoint/positions.h"
#include "tome_error.h"

namespace tome {
namespace {

// How a family names its tensors. `query` empty: one fused tensor called `qkv`.
struct Names {
  std::string patch, class_token, distill_token, positions, final_norm, head, head_dist;
  std::string blocks, norm1, norm2, qkv, query, key, value, proj, fc1, fc2;
  std::string registers, scale1, scale2;
};

Names timm_names() {
  return {.patch = "patch_embed.proj",
          .class_token = "cls_token",
          .distill_token = "dist_token",
          .positions = "pos_embed",
          .final_norm = "norm",
          .head = "head",
          .head_dist = "head_dist",
          .blocks = "blocks.",
          .norm1 = ".norm1",
          .norm2 = ".norm2",
          .qkv = ".attn.qkv",
          .proj = ".attn.proj",
          .fc1 = ".mlp.fc1",
          .fc2 = ".mlp.fc2",
          .registers = "reg_token",
          .scale1 = ".ls1.gamma",
          .scale2 = ".ls2.gamma"};
}

Names mae_st_names() {
  Names names = timm_names();
  names.query = ".attn.q";
  names.key = ".attn.k";
  names.value = ".attn.v";
  return names;
}

Names hf_names(const std::string& base) {
  return {.patch = base + ".embeddings.patch_embeddings.projection",
          .class_token = base + ".embeddings.cls_token",
          .distill_token = base + ".embeddings.distillation_token",
          .positions = base + ".embeddings.position_embeddings",
          .final_norm = base + ".layernorm",
          .head = "classifier",
          .blocks = base + ".encoder.layer.",
          .norm1 = ".layernorm_before",
          .norm2 = ".layernorm_after",
          .query = ".attention.attention.query",
          .key = ".attention.attention.key",
          .value = ".attention.attention.value",
          .proj = ".attention.output.dense",
          .fc1 = ".intermediate.dense",
          .fc2 = ".output.dense"};
}

Names dinov2_names(const std::string& base) {
  Names names = hf_names(base);
  names.norm1 = ".norm1";
  names.norm2 = ".norm2";
  names.fc1 = ".mlp.fc1";
  names.fc2 = ".mlp.fc2";
  names.registers = base + ".embeddings.register_tokens";
  names.scale1 = ".layer_scale1.lambda1";
  names.scale2 = ".layer_scale2.lambda1";
  return names;
}

Names siglip_names() {
  return {.patch = "vision_model.embeddings.patch_embedding",
          .positions = "vision_model.embeddings.position_embedding.weight",
          .final_norm = "vision_model.post_layernorm",
          .head = "classifier",
          .blocks = "vision_model.encoder.layers.",
          .norm1 = ".layer_norm1",
          .norm2 = ".layer_norm2",
          .query = ".self_attn.q_proj",
          .key = ".self_attn.k_proj",
          .value = ".self_attn.v_proj",
          .proj = ".self_attn.out_proj",
          .fc1 = ".mlp.fc1",
          .fc2 = ".mlp.fc2"};
}

// An HF deit with two heads names them otherwise than one with a single head.
Names names_of(const ModelSpec& spec, const TensorReader& tensors) {
  switch (spec.naming) {
    case Naming::kTimm:
      return timm_names();
    case Naming::kMaeSt:
      return mae_st_names();
    case Naming::kHfVit:
      return hf_names("vit");
    case Naming::kVideoMae:
      return hf_names("videomae");
    case Naming::kVivit:
      return hf_names("vivit");
    case Naming::kSiglip:
      return siglip_names();
    case Naming::kDinov2:
      return dinov2_names("dinov2");
    case Naming::kDinov2WithRegisters:
      return dinov2_names("dinov2_with_registers");
    case Naming::kHfDeit:
      break;
  }
  Names names = hf_names("deit");
  if (tensors.has("cls_classifier.weight") || tensors.has("distillation_classifier.weight")) {
    names.head = "cls_classifier";
    names.head_dist = "distillation_classifier";
  }
  return names;
}

// Reads tensors for one model.
class Reader {
 public:
  Reader(ModelSpec& spec, TensorReader& tensors)
      : spec_(spec), config_(spec.config), tensors_(tensors), names_(names_of(spec, tensors)) {}

  ViTWeights read() {
    check_classifier();
    ViTWeights weights;
    weights.patch_embed = patch_embed();
    weights.prefix = prefix();
    if (config_.pre_norm) weights.pre_norm = norm("norm_pre");
    for (int64_t i = 0; i < config_.depth; ++i) {
      weights.blocks.push_back(block(names_.blocks + std::to_string(i)));
    }
    // mae_st's `norm` stands behind the pooling; the others call that one fc_norm.
    if (config_.final_norm) weights.norm = norm(names_.final_norm);
    if (config_.fc_norm) {
      weights.fc_norm = norm(spec_.naming == Naming::kMaeSt ? names_.final_norm : "fc_norm");
    }
    heads(weights);
    // Last: a table that is computed is only made when the file has proved that it is this wide.
    weights.pos_embed = positions();
    for (const std::string& name : spec_.unused) tensors_.pass_over(name);
    return weights;
  }

 private:
  // Says so of a backbone, which transformers saves without the family's prefix.
  void check_classifier() const {
    const std::string head = names_.head + ".weight";
    const std::string patch = names_.patch + ".weight";
    const std::string patch_alone = patch.substr(patch.find('.') + 1);
    if (tensors_.has(head) || (!tensors_.has(patch) && !tensors_.has(patch_alone))) return;
    throw Error(ErrorKind::kFormat, tensors_.path().string() + ": has no classifier (tensor " +
                                        head +
                                        " is missing): a backbone, expected a model fine-tuned to "
                                        "classify");
  }

  NormWeights norm(const std::string& name) {
    return {tensors_.take(name + ".weight", {config_.dim}),
            tensors_.take(name + ".bias", {config_.dim})};
  }

  LinearWeights linear(const std::string& name, int64_t out, int64_t in, bool bias = true) {
    LinearWeights weights;
    weights.weight = tensors_.take(name + ".weight", {out, in});
    if (bias) weights.bias = tensors_.take(name + ".bias", {out});
    return weights;
  }

  // A Conv2d or Conv3d kernel [dim, c, (t,) y, x] to columns (t, c, y, x).
  LinearWeights patch_embed() {
    const int64_t dim = config_.dim;
    const int64_t side = config_.patch;
    LinearWeights weights;
    const bool conv3d = spec_.naming == Naming::kMaeSt || spec_.naming == Naming::kVideoMae ||
                        spec_.naming == Naming::kVivit || config_.tubelet > 1;
    if (conv3d) {
      weights.weight =
          tensors_.take(names_.patch + ".weight", {dim, 3, config_.tubelet, side, side})
              .permute({0, 2, 1, 3, 4})
              .reshape({dim, -1});
    } else {
      weights.weight =
          tensors_.take(names_.patch + ".weight", {dim, 3, side, side}).reshape({dim, -1});
    }
    if (spec_.patch_bias) weights.bias = tensors_.take(names_.patch + ".bias", {dim});
    return weights;
  }

  at::Tensor prefix() {
    std::vector<at::Tensor> rows;
    const auto add = [&](const std::string& name, int64_t count) {
      rows.push_back(tensors_.take(name, {1, count, config_.dim}).reshape({count, config_.dim}));
    };
    if (config_.class_token) add(names_.class_token, 1);
    if (config_.distill_token) add(names_.distill_token, 1);
    if (config_.registers > 0) add(names_.registers, config_.registers);
    return rows.empty() ? at::Tensor() : at::cat(rows);
  }

  // Rows of the table without those of prefix tokens, `placed`. As timm does it, a number that is
  // not the model's is that of a square image.
  int64_t stored_patches(int64_t placed) {
    const int64_t own = config_.patch_tokens();
    const auto shape = tensors_.shape(names_.positions);
    if (!spec_.any_square_positions || shape.size() != 3) return own;
    const int64_t patches = shape[1] - placed;
    if (patches == own || patches < 1 || patches > kMaxTokens) return own;
    const int64_t side = std::lround(std::sqrt(static_cast<double>(patches)));
    if (side * side != patches) return own;
    spec_.positions_side = side;
    return patches;
  }

  at::Tensor positions() {
    const int64_t dim = config_.dim;
    const int64_t patches = config_.patch_tokens();
    const int64_t prefix = config_.prefix_tokens();
    if (spec_.naming == Naming::kVideoMae) return sinusoid_positions(patches, dim);
    if (spec_.separable_positions) {
      const auto space = tensors_.take(names_.positions + "_spatial",
                                       {1, config_.grid_rows() * config_.grid_cols(), dim});
      const auto time =
          tensors_.take(names_.positions + "_temporal", {1, config_.grid_frames(), dim});
      const auto first = tensors_.take(names_.positions + "_class", {1, prefix, dim});
      return at::cat({first.reshape({prefix, dim}), separable_positions(space, time)});
    }
    // DINOv2's registers have no positions.
    const bool but_registers = spec_.naming == Naming::kDinov2WithRegisters;
    const int64_t placed = but_registers ? 1 : config_.pos_embed_prefix ? prefix : 0;
    const int64_t stored = placed + stored_patches(placed);
    at::Tensor table;
    if (spec_.naming == Naming::kSiglip) {
      table = tensors_.take(names_.positions, {stored, dim});
    } else {
      table = tensors_.take(names_.positions, {1, stored, dim}).reshape({stored, dim});
    }
    if (placed == prefix) return table;
    return at::cat({table.slice(0, 0, placed), at::zeros({prefix - placed, dim}, at::kFloat),
                    table.slice(0, placed)});
  }

  LinearWeights qkv(const std::string& block) {
    const int64_t dim = config_.dim;
    if (names_.query.empty()) return linear(block + names_.qkv, 3 * dim, dim, spec_.qkv_bias);
    LinearWeights weights;
    std::vector<at::Tensor> rows;
    for (const std::string& name : {names_.query, names_.key, names_.value}) {
      rows.push_back(tensors_.take(block + name + ".weight", {dim, dim}));
    }
    weights.weight = at::cat(rows);
    if (!spec_.qkv_bias) return weights;
    if (spec_.key_bias) {
      weights.bias = at::cat({tensors_.take(block + names_.query + ".bias", {dim}),
                              tensors_.take(block + names_.key + ".bias", {dim}),
                              tensors_.take(block + names_.value + ".bias", {dim})});
    } else {
      weights.bias = at::cat({tensors_.take(block + ".attention.attention.q_bias", {dim}),
                              at::zeros({dim}, at::kFloat),
                              tensors_.take(block + ".attention.attention.v_bias", {dim})});
    }
    return weights;
  }

  BlockWeights block(const std::string& name) {
    BlockWeights weights;
    weights.norm1 = norm(name + names_.norm1);
    weights.qkv = qkv(name);
    weights.proj = linear(name + names_.proj, config_.dim, config_.dim);
    weights.norm2 = norm(name + names_.norm2);
    weights.fc1 = linear(name + names_.fc1, config_.mlp_hidden, config_.dim);
    weights.fc2 = linear(name + names_.fc2, config_.dim, config_.mlp_hidden);
    if (spec_.layer_scale) {
      weights.scale1 = tensors_.take(name + names_.scale1, {config_.dim});
      weights.scale2 = tensors_.take(name + names_.scale2, {config_.dim});
    }
    return weights;
  }

  void heads(ViTWeights& weights) {
    if (spec_.naming == Naming::kHfDeit) config_.distilled_head = !names_.head_dist.empty();
    const int64_t classes = config_.classes > 0 ? config_.classes : -1;
    weights.head.weight = tensors_.take(names_.head + ".weight", {classes, config_.head_inputs()});
    config_.classes = weights.head.weight.size(0);
    weights.head.bias = tensors_.take(names_.head + ".bias", {config_.classes});
    if (config_.distilled_head) {
      weights.head_dist = linear(names_.head_dist, config_.classes, config_.dim);
    }
  }

  ModelSpec& spec_;
  ViTConfig& config_;
  TensorReader& tensors_;
  Names names_;
};

}  // namespace

ViTWeights read_weights(ModelSpec& spec, TensorReader& tensors) {
  return Reader(spec, tensors).read();
}

}  // namespace tome
