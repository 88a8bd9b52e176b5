#include "checkpoint/model_spec.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "tome_error.h"

namespace tome {
namespace {

// timm's and Hugging Face's names; the first of each is ours.
constexpr std::array<std::pair<std::string_view, Activation>, 9> kActivations{
    {{"gelu", Activation::kGelu},
     {"gelu_python", Activation::kGelu},
     {"gelu_tanh", Activation::kGeluTanh},
     {"gelu_fast", Activation::kGeluTanh},
     {"gelu_new", Activation::kGeluTanh},
     {"gelu_pytorch_tanh", Activation::kGeluTanh},
     {"quick_gelu", Activation::kQuickGelu},
     {"quickgelu", Activation::kQuickGelu},
     {"relu", Activation::kRelu}}};

constexpr std::array<std::string_view, 7> kHfTypes{
    "vit", "deit", "siglip", "dinov2", "dinov2_with_registers", "videomae", "vivit"};

void require(bool good, const std::string& what, const std::string& text) {
  if (!good) throw Error(ErrorKind::kFormat, what + ": " + text);
}

std::string number(int64_t value) { return std::to_string(value); }

}  // namespace

Activation activation_of(const std::string& name, const ConfigObject& config, const char* key) {
  std::string known;
  for (const auto& [each, activation] : kActivations) {
    if (name == each) return activation;
    known += (known.empty() ? "" : ", ") + std::string(each);
  }
  config.wrong(key, "one of " + known);
}

std::string activation_name(Activation activation) {
  const auto* const found =
      std::find_if(kActivations.begin(), kActivations.end(),
                   [&](const auto& each) { return each.second == activation; });
  return std::string(found->first);
}

void check_geometry(const ViTConfig& config, const std::string& what) {
  require(config.image_height % config.patch == 0 && config.image_width % config.patch == 0, what,
          "image size " + number(config.image_height) + "x" + number(config.image_width) +
              " does not divide into patches of " + number(config.patch));
  require(
      config.frames % config.tubelet == 0, what,
      number(config.frames) + " frames do not divide into tubelets of " + number(config.tubelet));
  require(
      config.dim % config.heads == 0, what,
      "width " + number(config.dim) + " does not divide into " + number(config.heads) + " heads");
  require(config.patch_tokens() <= kMaxTokens, what,
          number(config.patch_tokens()) + " tokens, expected at most " + number(kMaxTokens));
  require(config.mlp_hidden >= 1, what, "an MLP of width " + number(config.mlp_hidden));
  require(config.class_token || !config.distill_token, what,
          "a distillation token in a model without class token");
  require(config.distill_token || !config.distilled_head, what,
          "a head for the distillation token in a model without one");
  require(config.class_token || config.pooling == Pooling::kMean, what,
          "pooling by class token in a model without one");
  require(config.pooling != Pooling::kTokenAndMean || (!config.fc_norm && !config.distilled_head),
          what, "fc_norm or a second head where class token and mean are pooled");
}

ModelSpec read_model_spec(const ConfigObject& config) {
  const std::string type = config.text("model_type", "");
  ModelSpec spec;
  if (type == "gst-tome") {
    spec = read_tome_spec(config);
  } else if (type == "mae_st") {
    spec = read_mae_st_spec(config);
  } else if (std::find(kHfTypes.begin(), kHfTypes.end(), type) != kHfTypes.end()) {
    spec = read_hf_spec(config, type);
  } else if (config.has("architecture")) {
    spec = read_timm_spec(config);
  } else if (config.has("model_type")) {
    std::string known;
    for (const std::string_view each : kHfTypes) known += std::string(each) + ", ";
    config.wrong("model_type", known + "mae_st or gst-tome");
  } else {
    throw Error(ErrorKind::kFormat, config.what() +
                                        ": neither \"architecture\" (timm) nor \"model_type\" "
                                        "(Hugging Face) is there to say what the model is");
  }
  check_geometry(spec.config, config.what());
  return spec;
}

}  // namespace tome
