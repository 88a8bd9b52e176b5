// timm's architecture names: vit_base_patch16_224 and its kin.
#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "checkpoint/model_spec.h"
#include "tome_error.h"

namespace tome {
namespace {

struct Size {
  std::string_view word;
  int64_t dim, depth, heads;
  double mlp_ratio;
};

constexpr std::array<Size, 17> kSizes{{{"tiny", 192, 12, 3, 4},
                                       {"xsmall", 256, 10, 4, 4},
                                       {"wee", 256, 14, 4, 5},
                                       {"little", 320, 14, 5, 5.6},
                                       {"small", 384, 12, 6, 4},
                                       {"medium", 512, 12, 8, 4},
                                       {"mediumd", 512, 20, 8, 4},
                                       {"betwixt", 640, 12, 10, 4},
                                       {"base", 768, 12, 12, 4},
                                       {"so150m", 896, 18, 14, 2.572},
                                       {"so150m2", 832, 21, 13, 34.0 / 13},
                                       {"large", 1024, 24, 16, 4},
                                       {"so400m", 1152, 27, 16, 3.7362},
                                       {"huge", 1280, 32, 16, 4},
                                       {"giant", 1408, 40, 16, 48.0 / 11},
                                       {"giantopt", 1536, 40, 16, 4},
                                       {"gigantic", 1664, 48, 16, 64.0 / 13}}};

std::vector<std::string> split(const std::string& name) {
  std::vector<std::string> words{""};
  for (const char letter : name) {
    if (letter == '_') {
      words.emplace_back();
    } else {
      words.back() += letter;
    }
  }
  return words;
}

// The number at the end of `word` after `head`, or 0 if it is something else.
int64_t number_after(const std::string& word, std::string_view head) {
  if (word.size() <= head.size() || word.size() > head.size() + 5 ||
      word.compare(0, head.size(), head) != 0 ||
      word.find_first_not_of("0123456789", head.size()) != std::string::npos) {
    return 0;
  }
  return std::stol(word.substr(head.size()));
}

// Note [timm's architecture names]
// A name is a kind (vit, deit, deit3), a size, and words that each change a few arguments of timm's
// constructor. They combine almost regularly; the exceptions are spelled out in `exceptions`. The
// test compares every name that is understood with what timm builds for it, and sees to it that
// names of other architectures (hybrids, rope, parallel blocks, map pooling) are refused.
struct Words {
  bool deit = false, deit3 = false, distilled = false, clip = false, quickgelu = false, gap = false,
       dinov2 = false, tips = false, siglip = false, plus = false, miil = false, deep = false,
       flexi = false;
  std::string size;
  int64_t patch = 0, image = 0, registers = 0;
};

// False for a word that belongs to no architecture we know.
bool understand(const std::string& word, Words& out) {
  if (const int64_t patch = number_after(word, "patch"); patch > 0) return (out.patch = patch) > 0;
  if (const int64_t image = number_after(word, ""); image > 0) return (out.image = image) > 0;
  if (const int64_t count = number_after(word, "reg"); count > 0) {
    return (out.registers = count) > 0;
  }
  const std::array<std::pair<std::string_view, bool*>, 10> flags{{{"distilled", &out.distilled},
                                                                  {"clip", &out.clip},
                                                                  {"quickgelu", &out.quickgelu},
                                                                  {"gap", &out.gap},
                                                                  {"dinov2", &out.dinov2},
                                                                  {"tipsv2", &out.tips},
                                                                  {"siglip", &out.siglip},
                                                                  {"plus", &out.plus},
                                                                  {"miil", &out.miil},
                                                                  {"36x1", &out.deep}}};
  const auto* flag = std::find_if(flags.begin(), flags.end(),
                                  [&](const auto& pair) { return pair.first == word; });
  if (flag == flags.end() || *flag->second) return false;
  return *flag->second = true;
}

// FlexiViT was trained with many sizes of patches; these are those that timm saves.
bool understand_flexi(const std::string& size, Words& out) {
  out.flexi = true;
  out.size = size;
  out.patch = 16;
  out.image = 240;
  return size == "small" || size == "base" || size == "large";
}

bool understand_name(const std::string& name, Words& out) {
  const auto words = split(name);
  if (words.size() == 2 && words[0] == "flexivit") return understand_flexi(words[1], out);
  if (words.size() < 3) return false;
  out.deit = words[0] == "deit";
  out.deit3 = words[0] == "deit3";
  if (!out.deit && !out.deit3 && words[0] != "vit") return false;
  out.size = words[1];
  for (size_t i = 2; i < words.size(); ++i) {
    if (!understand(words[i], out)) return false;
  }
  // DINOv2's giant has a gated MLP, SigLIP without gap pools by attention.
  const bool other = (out.dinov2 || out.tips) && out.size == "giant";
  return out.patch > 0 && !other && (out.gap || !out.siglip) && (out.deit || !out.distilled) &&
         (out.size == "base" || !out.plus) && (out.size == "small" || !out.deep);
}

void exceptions(const Words& words, ModelSpec& spec) {
  ViTConfig& config = spec.config;
  const bool so150m = words.size == "so150m" || words.size == "so150m2";
  const bool small_gap = words.size == "medium" || words.size == "betwixt" ||
                         words.size == "mediumd" || words.size == "little" || words.size == "wee";
  if (words.gap && (small_gap || words.size == "so150m2")) spec.layer_scale = true;
  if (words.gap && small_gap && words.registers == 0) spec.qkv_bias = false;
  if (words.size == "so150m2" || words.miil) spec.qkv_bias = false;
  if (words.registers > 0 && !so150m) config.pos_embed_prefix = false;
  config.fc_norm = words.gap && words.registers > 0 && words.size != "so150m";
  config.final_norm = !config.fc_norm;
  if (words.gap && !words.siglip && words.size == "base" && words.registers == 0) config.heads = 16;
  const bool tanh = words.size == "giantopt" || words.patch == 32 ||
                    (words.size == "large" && words.image == 512) ||
                    (words.size == "so400m" && words.patch == 16);
  if (words.siglip && tanh) config.activation = Activation::kGeluTanh;
}

void apply(const Words& words, const Size& size, ModelSpec& spec) {
  ViTConfig& config = spec.config;
  config.dim = size.dim;
  config.depth = words.deep ? 36 : size.depth;
  config.heads = size.heads;
  if (words.plus) {
    config.dim = 896;
    config.heads = 14;
  }
  config.mlp_hidden = static_cast<int64_t>(static_cast<double>(config.dim) * size.mlp_ratio);
  config.patch = words.patch;
  const int64_t usual = words.dinov2 ? 518 : words.tips ? 448 : 224;
  config.image_height = config.image_width = words.image > 0 ? words.image : usual;
  config.family = words.deit || words.deit3 ? "deit" : "vit";
  config.registers = words.registers;
  config.distill_token = config.distilled_head = words.distilled;
  config.pre_norm = words.clip;
  spec.patch_bias = !words.clip;
  config.norm_eps = words.clip ? 1e-5 : 1e-6;
  if (words.quickgelu) config.activation = Activation::kQuickGelu;
  config.class_token = !words.gap;
  config.pooling = words.gap ? Pooling::kMean : Pooling::kToken;
  config.pos_embed_prefix = !words.deit3 && !words.flexi;
  spec.layer_scale =
      words.deit3 || words.dinov2 || words.tips || words.deep || (words.plus && !words.clip);
  exceptions(words, spec);
}

// Behind a dot stands what the weights were trained on, which ended the name before timm 0.8;
// before 0.4.12 deit was called vit_deit.
std::string current_name(std::string name) {
  name.resize(std::min(name.find('.'), name.size()));
  if (name.starts_with("vit_deit_")) name.erase(0, 4);
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 5> kOldEnds{
      {{"_in21k", ""},
       {"_in21ft1k", ""},
       {"_sam", ""},
       {"_dino", ""},
       {"_224_clip_laion2b", "_clip_224"}}};
  for (const auto& [old, current] : kOldEnds) {
    if (name.ends_with(old)) return name.replace(name.size() - old.size(), old.size(), current);
  }
  return name;
}

}  // namespace

ModelSpec timm_architecture(const std::string& name, const ConfigObject& config) {
  const std::string current = current_name(name);
  Words words;
  const Size* size = nullptr;
  if (understand_name(current, words)) {
    size = std::find_if(kSizes.begin(), kSizes.end(),
                        [&](const Size& each) { return each.word == words.size; });
    if (size == kSizes.end()) size = nullptr;
  }
  if (size == nullptr) {
    config.wrong("architecture",
                 "a plain ViT or DeiT of timm: {vit,deit,deit3}_SIZE[_distilled]_patchN[_clip]"
                 "[_quickgelu][_regN][_gap][_dinov2]_IMAGESIZE with SIZE tiny, small, base, large, "
                 "huge, giant, …");
  }
  ModelSpec spec;
  spec.config.name = current;
  apply(words, *size, spec);
  return spec;
}

}  // namespace tome
