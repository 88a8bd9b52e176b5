// config.json as transformers writes it, for vit, deit, siglip, dinov2, dinov2_with_registers,
// videomae and vivit; and mae_st's, whose keys are ours (docs/checkpoints.md).
#include "checkpoint/model_spec.h"
#include "tome_error.h"

namespace tome {
namespace {

// What transformers assumes where a key is missing, by model type.
struct Defaults {
  Naming naming;
  const char* family;
  double eps;
  const char* act;
  int64_t frames;
  int64_t patch = 16;
};

Defaults defaults_of(const std::string& type) {
  if (type == "vit") return {Naming::kHfVit, "hf-vit", 1e-12, "gelu", 1};
  if (type == "deit") return {Naming::kHfDeit, "hf-deit", 1e-12, "gelu", 1};
  if (type == "videomae") return {Naming::kVideoMae, "videomae", 1e-12, "gelu", 16};
  if (type == "siglip") return {Naming::kSiglip, "siglip", 1e-6, "gelu_pytorch_tanh", 1};
  if (type == "dinov2") return {Naming::kDinov2, "dinov2", 1e-6, "gelu", 1, 14};
  if (type == "dinov2_with_registers") {
    return {Naming::kDinov2WithRegisters, "dinov2_with_registers", 1e-6, "gelu", 1};
  }
  return {Naming::kVivit, "vivit", 1e-6, "gelu_fast", 32};
}

void read_size(const ConfigObject& json, ViTConfig& config) {
  const auto image = json.height_width("image_size", {224, 224}, kMaxImageSide);
  config.image_height = image.first;
  config.image_width = image.second;
}

void read_square_patch(const ConfigObject& json, int64_t fallback, ViTConfig& config) {
  const auto patch = json.height_width("patch_size", {fallback, fallback}, kMaxImageSide);
  if (patch.first != patch.second) json.wrong("patch_size", "square patches");
  config.patch = patch.first;
}

// vivit: [frames, height, width].
void read_tubelet_list(const ConfigObject& json, ViTConfig& config) {
  config.tubelet = 2;
  config.patch = 16;
  const auto* size = json.find("tubelet_size");
  if (size == nullptr) return;
  const auto side = [&](size_t index) {
    const auto value = size->is_array() && size->size() == 3
                           ? ConfigObject::integer_of((*size)[index])
                           : std::nullopt;
    if (!value || *value < 1 || *value > kMaxFrames) {
      json.wrong("tubelet_size", "[frames, height, width]");
    }
    return *value;
  };
  if (side(1) != side(2)) json.wrong("tubelet_size", "square patches");
  config.tubelet = side(0);
  config.patch = side(1);
}

void read_width(const ConfigObject& json, ViTConfig& config) {
  config.dim = json.integer("hidden_size", 768, 1, 1 << 16);
  config.depth = json.integer("num_hidden_layers", 12, 1, 4096);
  config.heads = json.integer("num_attention_heads", 12, 1, 4096);
  config.mlp_hidden = json.integer("intermediate_size", 3072, 1, 1 << 20);
  if (json.integer("num_channels", 3, 1, 1024) != 3) json.wrong("num_channels", "3");
}

void read_videomae(const ConfigObject& json, ModelSpec& spec) {
  ViTConfig& config = spec.config;
  config.tubelet = json.integer("tubelet_size", 2, 1, kMaxFrames);
  spec.qkv_bias = json.boolean("qv_bias", spec.qkv_bias);
  spec.key_bias = false;
  if (!json.boolean("use_mean_pooling", true)) json.wrong("use_mean_pooling", "true");
  config.class_token = false;
  config.final_norm = false;
  config.fc_norm = true;
  config.pooling = Pooling::kMean;
}

// The vision tower of a pair. What it was trained with, pooling by attention, is in the files of
// classifiers too, which take the mean.
void read_siglip(const ConfigObject& json, ModelSpec& spec) {
  spec.qkv_bias = true;
  spec.config.class_token = false;
  spec.config.pooling = Pooling::kMean;
  if (!json.boolean("vision_use_head", true)) return;
  for (const char* name :
       {"probe", "attention.in_proj_weight", "attention.in_proj_bias", "attention.out_proj.weight",
        "attention.out_proj.bias", "layernorm.weight", "layernorm.bias", "mlp.fc1.weight",
        "mlp.fc1.bias", "mlp.fc2.weight", "mlp.fc2.bias"}) {
    spec.unused.push_back(std::string("vision_model.head.") + name);
  }
}

void read_dinov2(const ConfigObject& json, const std::string& type, ModelSpec& spec) {
  ViTConfig& config = spec.config;
  const bool with_registers = spec.naming == Naming::kDinov2WithRegisters;
  if (json.boolean("use_swiglu_ffn", false)) {
    json.wrong("use_swiglu_ffn", "false: gated MLPs are not supported");
  }
  config.mlp_hidden = static_cast<int64_t>(static_cast<double>(config.dim) *
                                           json.number("mlp_ratio", 4.0, 0.01, 100));
  config.pooling = Pooling::kTokenAndMean;
  spec.layer_scale = true;
  spec.antialias_positions = with_registers;
  const std::string embeddings = type + ".embeddings.";
  if (with_registers) {
    config.registers = json.integer("num_register_tokens", 4, 0, 1024);
    if (config.registers == 0) spec.unused.push_back(embeddings + "register_tokens");
  }
  if (with_registers || json.boolean("use_mask_token", true)) {
    spec.unused.push_back(embeddings + "mask_token");
  }
  // It says how large the table of positions is; an image's pixels beyond whole patches are cut.
  for (int64_t* side : {&config.image_height, &config.image_width}) {
    if (*side > config.patch) *side -= *side % config.patch;
  }
}

}  // namespace

ModelSpec read_hf_spec(const ConfigObject& top, const std::string& type) {
  const ConfigObject json =
      type != "siglip" ? top
                       : top.object("vision_config")
                             .value_or(ConfigObject::empty(top.what() + ": vision_config"));
  const Defaults defaults = defaults_of(type);
  ModelSpec spec;
  spec.naming = defaults.naming;
  ViTConfig& config = spec.config;
  config.family = defaults.family;
  read_width(json, config);
  read_size(json, config);
  config.norm_eps = json.number("layer_norm_eps", defaults.eps, 0, 1);
  config.fc_norm_eps = 1e-5;  // videomae's fc_norm is a LayerNorm with PyTorch's default
  config.activation = activation_of(json.text("hidden_act", defaults.act), json, "hidden_act");
  spec.qkv_bias = json.boolean("qkv_bias", true);
  config.distill_token = type == "deit";
  if (type == "vivit") {
    read_tubelet_list(json, config);
    config.frames = json.integer("num_frames", defaults.frames, 1, kMaxFrames);
  } else {
    read_square_patch(json, defaults.patch, config);
  }
  if (type == "videomae") {
    config.frames = json.integer("num_frames", defaults.frames, 1, kMaxFrames);
    read_videomae(json, spec);
  }
  if (type == "siglip") read_siglip(json, spec);
  if (spec.size_is_of_positions()) read_dinov2(json, type, spec);
  config.prop_attn_auto = config.pooling != Pooling::kMean;
  config.classes = 0;  // transformers counts id2label; the classifier's shape is surer
  return spec;
}

ModelSpec read_mae_st_spec(const ConfigObject& json) {
  ModelSpec spec;
  spec.naming = Naming::kMaeSt;
  ViTConfig& config = spec.config;
  config.family = "mae_st";
  config.name = json.line("architecture", "mae_st");
  const auto image = json.height_width("img_size", {224, 224}, kMaxImageSide);
  config.image_height = image.first;
  config.image_width = image.second;
  read_square_patch(json, 16, config);
  config.frames = json.integer("num_frames", std::nullopt, 1, kMaxFrames);
  config.tubelet = json.integer("t_patch_size", 2, 1, kMaxFrames);
  config.dim = json.integer("embed_dim", std::nullopt, 1, 1 << 16);
  config.depth = json.integer("depth", std::nullopt, 1, 4096);
  config.heads = json.integer("num_heads", std::nullopt, 1, 4096);
  config.mlp_hidden = static_cast<int64_t>(static_cast<double>(config.dim) *
                                           json.number("mlp_ratio", 4.0, 0.01, 100));
  config.classes = json.integer("num_classes", 0, 0, kMaxClasses);
  spec.qkv_bias = !json.boolean("no_qkv_bias", false);
  spec.separable_positions = json.boolean("sep_pos_embed", true);
  // Without a class token mae_st's mean leaves out the first patch, which is a slip, not a model.
  if (!json.boolean("cls_embed", true)) json.wrong("cls_embed", "true");
  config.norm_eps = config.fc_norm_eps = json.number("norm_eps", 1e-6, 0, 1);
  // mae_st calls it `norm` and applies it to the pooled vector.
  config.final_norm = false;
  config.fc_norm = true;
  config.pooling = Pooling::kMean;
  config.prop_attn_auto = false;
  return spec;
}

}  // namespace tome
