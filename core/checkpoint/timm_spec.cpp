// config.json as timm writes it.
#include <algorithm>
#include <array>
#include <string_view>

#include "checkpoint/model_spec.h"
#include "excerpt.h"
#include "tome_error.h"

namespace tome {
namespace {

// Arguments of timm's constructor that do not change inference.
constexpr std::array<std::string_view, 11> kIgnored{
    "drop_rate",        "pos_drop_rate",   "patch_drop_rate", "proj_drop_rate",
    "attn_drop_rate",   "drop_path_rate",  "weight_init",     "fix_init",
    "dynamic_img_size", "strict_img_size", "num_classes"};

constexpr std::array<std::string_view, 16> kKnown{
    "img_size", "patch_size",  "embed_dim",   "depth",          "num_heads",  "mlp_ratio",
    "qkv_bias", "init_values", "class_token", "no_embed_class", "reg_tokens", "pre_norm",
    "fc_norm",  "final_norm",  "global_pool", "act_layer"};

// Arguments of which only the usual value is supported.
struct Fixed {
  std::string_view key;
  const char* value;
};
constexpr std::array<Fixed, 7> kFixed{{{"in_chans", "3"},
                                       {"qk_norm", "false"},
                                       {"scale_attn_norm", "false"},
                                       {"scale_mlp_norm", "false"},
                                       {"pool_include_prefix", "false"},
                                       {"proj_bias", "true"},
                                       {"pos_embed", "\"learn\""}}};

void check_keys(const ConfigObject& args) {
  const auto holds = [](const auto& list, const std::string& key) {
    return std::find(list.begin(), list.end(), key) != list.end();
  };
  for (const auto& [key, value] : args.json().items()) {
    if (value.is_null() || holds(kIgnored, key) || holds(kKnown, key)) continue;
    const auto* fixed = std::find_if(kFixed.begin(), kFixed.end(),
                                     [&key = key](const Fixed& each) { return each.key == key; });
    if (fixed == kFixed.end()) {
      throw Error(ErrorKind::kFormat, args.what() + ": found " + excerpt(key) +
                                          ", expected only arguments that are supported");
    }
    if (value.dump() != fixed->value) args.wrong(key, fixed->value);
  }
}

// With timm, average pooling moves the last norm behind the pooling unless fc_norm says otherwise.
void read_head(const ConfigObject& args, const std::string& global_pool, ModelSpec& spec) {
  ViTConfig& config = spec.config;
  if (!global_pool.empty()) {
    if (global_pool != "token" && global_pool != "avg") {
      throw Error(ErrorKind::kFormat, args.what() + ": global_pool is \"" + excerpt(global_pool) +
                                          "\", expected token or avg");
    }
    const Pooling pooling = global_pool == "avg" ? Pooling::kMean : Pooling::kToken;
    if (pooling != config.pooling) {
      config.pooling = pooling;
      config.fc_norm = pooling == Pooling::kMean;
      config.final_norm = !config.fc_norm;
    }
  }
  config.fc_norm = args.boolean("fc_norm", config.fc_norm);
  const bool last_norm = args.boolean("final_norm", true);
  config.final_norm = last_norm && !config.fc_norm;
  config.fc_norm = last_norm && config.fc_norm;
}

void read_blocks(const ConfigObject& args, ModelSpec& spec) {
  ViTConfig& config = spec.config;
  const double ratio = static_cast<double>(config.mlp_hidden) / static_cast<double>(config.dim);
  const int64_t dim = config.dim;
  config.dim = args.integer("embed_dim", dim, 1, 1 << 16);
  config.depth = args.integer("depth", config.depth, 1, 4096);
  config.heads = args.integer("num_heads", config.heads, 1, 4096);
  if (args.has("mlp_ratio") || config.dim != dim) {
    config.mlp_hidden = static_cast<int64_t>(static_cast<double>(config.dim) *
                                             args.number("mlp_ratio", ratio, 0.01, 100));
  }
  spec.qkv_bias = args.boolean("qkv_bias", spec.qkv_bias);
  if (const auto* value =
          args.json().contains("init_values") ? &args.json()["init_values"] : nullptr) {
    spec.layer_scale = !value->is_null() && args.number("init_values", 0, -1e6, 1e6) != 0;
  }
  if (args.has("act_layer")) {
    config.activation = activation_of(args.text("act_layer", ""), args, "act_layer");
  }
}

void read_tokens(const ConfigObject& args, ModelSpec& spec) {
  ViTConfig& config = spec.config;
  const auto patch = args.height_width("patch_size", {config.patch, config.patch}, kMaxImageSide);
  if (patch.first != patch.second) args.wrong("patch_size", "square patches");
  config.patch = patch.first;
  const auto image =
      args.height_width("img_size", {config.image_height, config.image_width}, kMaxImageSide);
  config.image_height = image.first;
  config.image_width = image.second;
  config.class_token = args.boolean("class_token", config.class_token);
  config.registers = args.integer("reg_tokens", config.registers, 0, 1024);
  config.pos_embed_prefix = !args.boolean("no_embed_class", !config.pos_embed_prefix);
  config.pre_norm = args.boolean("pre_norm", config.pre_norm);
  if (args.has("pre_norm")) spec.patch_bias = !config.pre_norm;
}

// timm builds a model for the size its weights were trained at (`fixed_input_size`).
void read_input_size(const ConfigObject& pretrained, ViTConfig& config) {
  const auto* size = pretrained.find("input_size");
  if (size == nullptr || !pretrained.boolean("fixed_input_size", true)) return;
  const auto side = [&](size_t index) {
    const auto value = size->is_array() && size->size() == 3
                           ? ConfigObject::integer_of((*size)[index])
                           : std::nullopt;
    if (!value || *value < 1 || *value > kMaxImageSide) {
      pretrained.wrong("input_size",
                       "[3, height, width], each side from 1 to " + std::to_string(kMaxImageSide));
    }
    return *value;
  };
  if (side(0) != 3) pretrained.wrong("input_size", "three channels");
  config.image_height = side(1);
  config.image_width = side(2);
}

}  // namespace

ModelSpec read_timm_spec(const ConfigObject& config) {
  ModelSpec spec = timm_architecture(config.text("architecture", ""), config);
  // Before timm 0.9 the pretrained_cfg's keys stood in config.json itself.
  const auto pretrained = config.object("pretrained_cfg").value_or(config);
  read_input_size(pretrained, spec.config);
  const ConfigObject args =
      config.object("model_args").value_or(ConfigObject::empty(config.what() + ": model_args"));
  check_keys(args);
  read_blocks(args, spec);
  read_tokens(args, spec);
  read_head(args, args.text("global_pool", config.text("global_pool", "")), spec);
  spec.config.prop_attn_auto = spec.config.pooling == Pooling::kToken;
  spec.config.fc_norm_eps = spec.config.norm_eps;
  spec.config.classes = config.integer("num_classes", 0, 0, kMaxClasses);
  spec.any_square_positions = true;
  return spec;
}

}  // namespace tome
