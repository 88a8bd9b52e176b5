// config.json of the folders that save_checkpoint writes: every field of ViTConfig by its own key.
#include "checkpoint/tome_spec.h"

#include <algorithm>
#include <array>

#include "checkpoint/model_spec.h"
#include "tome_error.h"

namespace tome {
namespace {

struct NamedPooling {
  const char* name;
  Pooling value;
};
// timm's words; its "catavgmax" is two poolings one behind the other, so here is "cattokenavg".
constexpr std::array<NamedPooling, 3> kPoolings{
    {{"token", Pooling::kToken}, {"avg", Pooling::kMean}, {"cattokenavg", Pooling::kTokenAndMean}}};

Pooling read_pooling(const ConfigObject& json) {
  const std::string name = json.text("global_pool", "token");
  for (const NamedPooling& each : kPoolings) {
    if (name == each.name) return each.value;
  }
  json.wrong("global_pool", "token, avg or cattokenavg");
}

std::string pooling_name(Pooling pooling) {
  const auto* const found = std::find_if(kPoolings.begin(), kPoolings.end(),
                                         [&](const auto& each) { return each.value == pooling; });
  return found->name;
}

void read_shape(const ConfigObject& json, ViTConfig& config) {
  const auto image = json.height_width("image_size", {0, 0}, kMaxImageSide);
  if (image.first == 0) json.wrong("image_size", "an integer or [height, width]");
  config.image_height = image.first;
  config.image_width = image.second;
  config.patch = json.integer("patch_size", std::nullopt, 1, kMaxImageSide);
  config.frames = json.integer("num_frames", 1, 1, kMaxFrames);
  config.tubelet = json.integer("tubelet_size", 1, 1, kMaxFrames);
  config.dim = json.integer("embed_dim", std::nullopt, 1, 1 << 16);
  config.depth = json.integer("depth", std::nullopt, 1, 4096);
  config.heads = json.integer("num_heads", std::nullopt, 1, 4096);
  config.mlp_hidden = json.integer("mlp_hidden", std::nullopt, 1, 1 << 20);
  config.classes = json.integer("num_classes", std::nullopt, 1, kMaxClasses);
}

}  // namespace

ModelSpec read_tome_spec(const ConfigObject& json) {
  ModelSpec spec;
  spec.naming = Naming::kTimm;
  ViTConfig& config = spec.config;
  config.family = json.line("family", config.family);
  config.name = json.line("name", "");
  read_shape(json, config);
  config.norm_eps = json.number("norm_eps", 1e-6, 0, 1);
  config.fc_norm_eps = json.number("fc_norm_eps", config.norm_eps, 0, 1);
  config.class_token = json.boolean("class_token", true);
  config.distill_token = json.boolean("distill_token", false);
  config.registers = json.integer("reg_tokens", 0, 0, 1024);
  config.pos_embed_prefix = !json.boolean("no_embed_class", false);
  config.pre_norm = json.boolean("pre_norm", false);
  config.final_norm = json.boolean("final_norm", true);
  config.fc_norm = json.boolean("fc_norm", false);
  config.distilled_head = json.boolean("distilled_head", false);
  config.pooling = read_pooling(json);
  config.prop_attn_auto = json.boolean("prop_attn", config.pooling != Pooling::kMean);
  config.weighted_pool = json.boolean("weighted_pool", true);
  config.activation = activation_of(json.text("act_layer", "gelu"), json, "act_layer");
  spec.qkv_bias = json.boolean("qkv_bias", true);
  spec.patch_bias = json.boolean("patch_bias", true);
  spec.layer_scale = json.boolean("layer_scale", false);
  return spec;
}

nlohmann::ordered_json tome_spec_json(const ModelSpec& spec) {
  const ViTConfig& config = spec.config;
  return {{"model_type", "gst-tome"},
          {"family", config.family},
          {"name", config.name},
          {"image_size", {config.image_height, config.image_width}},
          {"patch_size", config.patch},
          {"num_frames", config.frames},
          {"tubelet_size", config.tubelet},
          {"embed_dim", config.dim},
          {"depth", config.depth},
          {"num_heads", config.heads},
          {"mlp_hidden", config.mlp_hidden},
          {"num_classes", config.classes},
          {"norm_eps", config.norm_eps},
          {"fc_norm_eps", config.fc_norm_eps},
          {"class_token", config.class_token},
          {"distill_token", config.distill_token},
          {"reg_tokens", config.registers},
          {"no_embed_class", !config.pos_embed_prefix},
          {"pre_norm", config.pre_norm},
          {"final_norm", config.final_norm},
          {"fc_norm", config.fc_norm},
          {"distilled_head", config.distilled_head},
          {"global_pool", pooling_name(config.pooling)},
          {"prop_attn", config.prop_attn_auto},
          {"weighted_pool", config.weighted_pool},
          {"act_layer", activation_name(config.activation)},
          {"qkv_bias", spec.qkv_bias},
          {"patch_bias", spec.patch_bias},
          {"layer_scale", spec.layer_scale}};
}

}  // namespace tome
