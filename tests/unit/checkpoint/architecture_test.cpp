// timm's architecture names and arguments against what timm itself builds.
#include "checkpoint/model_spec.h"

#include "checkpoint_test_util.h"

namespace tome {
namespace {

using testing::expect_error;
using Json = nlohmann::json;

ModelSpec read(const Json& json) { return read_model_spec(ConfigObject(json, "config.json")); }

Activation activation_named(const std::string& timm_class) {
  if (timm_class == "QuickGELU") return Activation::kQuickGelu;
  return timm_class == "GELUTanh" ? Activation::kGeluTanh : Activation::kGelu;
}

void expect_equal(const ModelSpec& spec, const Json& timm) {
  const ViTConfig& config = spec.config;
  EXPECT_EQ(config.image_height, timm["image"]);
  EXPECT_EQ(config.patch, timm["patch"]);
  EXPECT_EQ(config.dim, timm["dim"]);
  EXPECT_EQ(config.depth, timm["depth"]);
  EXPECT_EQ(config.heads, timm["heads"]);
  EXPECT_EQ(config.mlp_hidden, timm["mlp"]);
  EXPECT_DOUBLE_EQ(config.norm_eps, timm["eps"].get<double>());
  EXPECT_EQ(config.activation, activation_named(timm["act"]));
  EXPECT_EQ(spec.qkv_bias, timm["qkv_bias"]);
  EXPECT_EQ(spec.patch_bias, timm["patch_bias"]);
  EXPECT_EQ(spec.layer_scale, timm["layer_scale"]);
  EXPECT_EQ(config.class_token, timm["class_token"]);
  EXPECT_EQ(config.distill_token, timm["distilled"]);
  EXPECT_EQ(config.distilled_head, timm["distilled"]);
  EXPECT_EQ(config.registers, timm["registers"]);
  EXPECT_EQ(config.pre_norm, timm["pre_norm"]);
  EXPECT_EQ(config.final_norm, timm["norm"]);
  EXPECT_EQ(config.fc_norm, timm["fc_norm"]);
  EXPECT_EQ(config.pooling == Pooling::kMean, timm["pool"] == "avg");
  const int64_t rows =
      config.patch_tokens() + (config.pos_embed_prefix ? config.prefix_tokens() : 0);
  EXPECT_EQ(rows, timm["pos_embed_rows"]);
}

// Every vit and deit name of timm: understood as timm builds it, or refused. None is misread.
TEST(TimmArchitecture, AgreesWithTimmOrRefuses) {
  const Json table =
      Json::parse(testing::read_file(testing::fixtures() / "timm_architectures.json"));
  int understood = 0;
  std::vector<std::string> refused;
  for (const auto& [name, timm] : table.items()) {
    SCOPED_TRACE(name);
    ModelSpec spec;
    try {
      const Json json{{"architecture", name}};
      spec = timm_architecture(name, ConfigObject(json, "config.json"));
    } catch (const Error&) {
      if (!timm.is_null()) refused.push_back(name);
      continue;
    }
    ++understood;
    ASSERT_FALSE(timm.is_null()) << "no plain ViT in timm";
    expect_equal(spec, timm);
  }
  EXPECT_GE(understood, 110);
  // Backbones without a classifier's norm, which nobody classifies with.
  for (const auto& name : refused) {
    EXPECT_TRUE(name.find("radio") != std::string::npos || name.find("intern") != std::string::npos)
        << name;
  }
}

// timm's register_model_deprecations, of plain models; vit_deit_* is what timm 0.4.5 had.
const std::map<std::string, std::string> kOldNames{
    {"vit_tiny_patch16_224_in21k", "vit_tiny_patch16_224"},
    {"vit_small_patch32_224_in21k", "vit_small_patch32_224"},
    {"vit_small_patch16_224_in21k", "vit_small_patch16_224"},
    {"vit_base_patch32_224_in21k", "vit_base_patch32_224"},
    {"vit_base_patch16_224_in21k", "vit_base_patch16_224"},
    {"vit_base_patch8_224_in21k", "vit_base_patch8_224"},
    {"vit_large_patch32_224_in21k", "vit_large_patch32_224"},
    {"vit_large_patch16_224_in21k", "vit_large_patch16_224"},
    {"vit_huge_patch14_224_in21k", "vit_huge_patch14_224"},
    {"vit_base_patch32_224_sam", "vit_base_patch32_224"},
    {"vit_base_patch16_224_sam", "vit_base_patch16_224"},
    {"vit_small_patch16_224_dino", "vit_small_patch16_224"},
    {"vit_small_patch8_224_dino", "vit_small_patch8_224"},
    {"vit_base_patch16_224_dino", "vit_base_patch16_224"},
    {"vit_base_patch8_224_dino", "vit_base_patch8_224"},
    {"vit_base_patch16_224_miil_in21k", "vit_base_patch16_224_miil"},
    {"vit_base_patch32_224_clip_laion2b", "vit_base_patch32_clip_224"},
    {"vit_large_patch14_224_clip_laion2b", "vit_large_patch14_clip_224"},
    {"vit_huge_patch14_224_clip_laion2b", "vit_huge_patch14_clip_224"},
    {"vit_giant_patch14_224_clip_laion2b", "vit_giant_patch14_clip_224"},
    {"deit3_small_patch16_224_in21ft1k", "deit3_small_patch16_224"},
    {"deit3_small_patch16_384_in21ft1k", "deit3_small_patch16_384"},
    {"deit3_medium_patch16_224_in21ft1k", "deit3_medium_patch16_224"},
    {"deit3_base_patch16_224_in21ft1k", "deit3_base_patch16_224"},
    {"deit3_base_patch16_384_in21ft1k", "deit3_base_patch16_384"},
    {"deit3_large_patch16_224_in21ft1k", "deit3_large_patch16_224"},
    {"deit3_large_patch16_384_in21ft1k", "deit3_large_patch16_384"},
    {"deit3_huge_patch14_224_in21ft1k", "deit3_huge_patch14_224"},
    {"vit_deit_tiny_patch16_224", "deit_tiny_patch16_224"},
    {"vit_deit_small_patch16_224", "deit_small_patch16_224"},
    {"vit_deit_base_patch16_224", "deit_base_patch16_224"},
    {"vit_deit_base_patch16_384", "deit_base_patch16_384"},
    {"vit_deit_tiny_distilled_patch16_224", "deit_tiny_distilled_patch16_224"},
    {"vit_deit_small_distilled_patch16_224", "deit_small_distilled_patch16_224"},
    {"vit_deit_base_distilled_patch16_224", "deit_base_distilled_patch16_224"},
    {"vit_deit_base_distilled_patch16_384", "deit_base_distilled_patch16_384"}};

TEST(TimmArchitecture, OldNamesAndTagsAreTheSameModels) {
  const Json table =
      Json::parse(testing::read_file(testing::fixtures() / "timm_architectures.json"));
  std::map<std::string, std::string> names = kOldNames;
  names["vit_tiny_patch16_224.augreg_in21k_ft_in1k"] = "vit_tiny_patch16_224";
  names["deit3_base_patch16_224.fb_in22k_ft_in1k"] = "deit3_base_patch16_224";
  names["vit_base_patch16_224.a.b\n"] = "vit_base_patch16_224";
  for (const auto& [name, current] : names) {
    SCOPED_TRACE(name);
    const ModelSpec spec = read({{"architecture", name}});
    expect_equal(spec, table.at(current));
    EXPECT_EQ(spec.config.name, current) << "which results print";
    EXPECT_EQ(spec.config.family, current[0] == 'd' ? "deit" : "vit");
  }
}

// What timm 1.0.31 builds for these names.
TEST(TimmArchitecture, FlexiViT) {
  Json timm{
      {"image", 240},       {"patch", 16},        {"dim", 384},           {"depth", 12},
      {"heads", 6},         {"mlp", 1536},        {"eps", 1e-6},          {"act", "GELU"},
      {"qkv_bias", true},   {"patch_bias", true}, {"layer_scale", false}, {"class_token", true},
      {"distilled", false}, {"registers", 0},     {"pre_norm", false},    {"norm", true},
      {"fc_norm", false},   {"pool", "token"},    {"pos_embed_rows", 225}};
  expect_equal(read({{"architecture", "flexivit_small.1200ep_in1k"}}), timm);
  timm.update({{"dim", 768}, {"heads", 12}, {"mlp", 3072}});
  expect_equal(read({{"architecture", "flexivit_base"}}), timm);
  timm.update({{"dim", 1024}, {"heads", 16}, {"mlp", 4096}, {"depth", 24}});
  expect_equal(read({{"architecture", "flexivit_large"}}), timm);
}

// transformers' ACT2FN and timm's; gelu_python is the exact one, written out.
TEST(Activations, HaveManyNames) {
  const std::map<std::string, Activation> names{{"gelu", Activation::kGelu},
                                                {"gelu_python", Activation::kGelu},
                                                {"gelu_tanh", Activation::kGeluTanh},
                                                {"gelu_fast", Activation::kGeluTanh},
                                                {"gelu_new", Activation::kGeluTanh},
                                                {"gelu_pytorch_tanh", Activation::kGeluTanh},
                                                {"quick_gelu", Activation::kQuickGelu},
                                                {"relu", Activation::kRelu}};
  for (const auto& [name, activation] : names) {
    EXPECT_EQ(read({{"model_type", "vit"}, {"hidden_act", name}}).config.activation, activation)
        << name;
    const Json ours{{"act_layer", activation_name(activation)}};
    EXPECT_EQ(activation_of(ours["act_layer"], ConfigObject(ours, ""), "act_layer"), activation);
  }
}

TEST(TimmArchitecture, ArgumentsOverrideTheName) {
  const auto spec = read({{"architecture", "vit_base_patch16_224"},
                          {"num_classes", 7},
                          {"model_args",
                           {{"img_size", {64, 96}},
                            {"patch_size", 8},
                            {"embed_dim", 48},
                            {"depth", 3},
                            {"num_heads", 6},
                            {"mlp_ratio", 2.5},
                            {"qkv_bias", false},
                            {"init_values", 1e-5},
                            {"no_embed_class", true},
                            {"reg_tokens", 2},
                            {"drop_path_rate", 0.1},
                            {"act_layer", "gelu_tanh"},
                            {"global_pool", "avg"}}}});
  const ViTConfig& config = spec.config;
  EXPECT_EQ(config.image_height, 64);
  EXPECT_EQ(config.image_width, 96);
  EXPECT_EQ(config.patch_tokens(), 8 * 12);
  EXPECT_EQ(config.prefix_tokens(), 3);
  EXPECT_EQ(config.mlp_hidden, 120);
  EXPECT_EQ(config.classes, 7);
  EXPECT_FALSE(spec.qkv_bias);
  EXPECT_TRUE(spec.layer_scale);
  EXPECT_FALSE(config.pos_embed_prefix);
  EXPECT_EQ(config.activation, Activation::kGeluTanh);
  EXPECT_EQ(config.pooling, Pooling::kMean);
  EXPECT_TRUE(config.fc_norm);
  EXPECT_FALSE(config.final_norm);
  EXPECT_FALSE(config.prop_attn_auto);
}

TEST(TimmArchitecture, PoolingMovesTheNormUnlessToldOtherwise) {
  const Json base{{"architecture", "vit_tiny_patch16_224"}};
  EXPECT_TRUE(read(base).config.prop_attn_auto);
  Json top = base;
  top["global_pool"] = "avg";  // as timm writes a model that was built with average pooling
  EXPECT_TRUE(read(top).config.fc_norm);
  top["model_args"] = {{"fc_norm", false}};
  EXPECT_FALSE(read(top).config.fc_norm);
  EXPECT_TRUE(read(top).config.final_norm);
  top["model_args"] = {{"final_norm", false}};
  EXPECT_FALSE(read(top).config.fc_norm);
  EXPECT_FALSE(read(top).config.final_norm);
}

TEST(TimmArchitecture, SizeComesFromArgumentsThenTrainingThenName) {
  Json json{{"architecture", "vit_base_patch14_dinov2"}};
  EXPECT_EQ(read(json).config.image_height, 518);
  json["pretrained_cfg"] = {{"input_size", {3, 224, 448}}};
  EXPECT_EQ(read(json).config.image_height, 224);
  EXPECT_EQ(read(json).config.image_width, 448);
  json["model_args"] = {{"img_size", 28}};
  EXPECT_EQ(read(json).config.image_width, 28);
}

TEST(HfSpec, DefaultsAreTransformers) {
  const ModelSpec siglip = read({{"model_type", "siglip"}});
  EXPECT_EQ(siglip.config.image_height, 224);
  EXPECT_EQ(siglip.config.patch, 16);
  EXPECT_EQ(siglip.config.activation, Activation::kGeluTanh);
  EXPECT_EQ(siglip.config.pooling, Pooling::kMean);
  EXPECT_TRUE(siglip.config.final_norm);
  EXPECT_FALSE(siglip.config.class_token);
  EXPECT_FALSE(siglip.config.prop_attn_auto);
  EXPECT_DOUBLE_EQ(siglip.config.norm_eps, 1e-6);
  const Json tower{{"hidden_size", 64}, {"num_attention_heads", 4}, {"image_size", 32}};
  EXPECT_EQ(
      read({{"model_type", "siglip"}, {"hidden_size", 7}, {"vision_config", tower}}).config.dim,
      64);
  const ModelSpec dinov2 = read({{"model_type", "dinov2"}, {"image_size", 518}});
  EXPECT_EQ(dinov2.config.patch, 14);
  EXPECT_EQ(dinov2.config.patch_tokens(), 37 * 37);
  EXPECT_EQ(dinov2.config.mlp_hidden, 3072);
  EXPECT_EQ(dinov2.config.pooling, Pooling::kTokenAndMean);
  EXPECT_EQ(dinov2.config.registers, 0);
  EXPECT_EQ(dinov2.config.activation, Activation::kGelu);
  EXPECT_TRUE(dinov2.config.prop_attn_auto);
  EXPECT_TRUE(dinov2.layer_scale);
  EXPECT_FALSE(dinov2.antialias_positions);
  const ModelSpec registers = read({{"model_type", "dinov2_with_registers"}});
  EXPECT_EQ(registers.config.patch, 16);
  EXPECT_EQ(registers.config.prefix_tokens(), 5);
  EXPECT_TRUE(registers.antialias_positions);
}

struct BadConfig {
  Json json;
  std::vector<std::string> words;
};

class RefusedConfig : public ::testing::TestWithParam<BadConfig> {};

TEST_P(RefusedConfig, NamesTheKeyAndWhatItExpected) {
  SCOPED_TRACE(GetParam().json.dump());
  auto words = GetParam().words;
  words.push_back("config.json");
  expect_error([&] { read(GetParam().json); }, ErrorKind::kFormat, words);
}

Json timm_with(const Json& args) {
  return {{"architecture", "vit_tiny_patch16_224"}, {"model_args", args}};
}

Json tome_with(const Json& keys) {
  Json json{{"model_type", "gst-tome"}, {"image_size", 32}, {"patch_size", 8},
            {"embed_dim", 32},          {"depth", 1},       {"num_heads", 4},
            {"mlp_hidden", 64},         {"num_classes", 5}};
  json.update(keys);
  return json;
}

INSTANTIATE_TEST_SUITE_P(
    Keys, RefusedConfig,
    ::testing::Values(
        BadConfig{Json::object(), {"architecture", "model_type"}},
        BadConfig{{{"architecture", "resnet50"}}, {"resnet50", "expected"}},
        BadConfig{{{"architecture", "vit_relpos_base_patch16_224"}}, {"vit_relpos"}},
        BadConfig{{{"architecture", "vit_base_patch99999999999_224"}}, {"architecture"}},
        BadConfig{{{"architecture", 7}}, {"architecture", "string"}},
        BadConfig{{{"architecture", "flexivit_tiny"}}, {"flexivit_tiny"}},
        BadConfig{{{"architecture", "flexivit_base_240"}}, {"flexivit_base_240"}},
        BadConfig{{{"architecture", "vit_base_r50_s16_224_in21k"}}, {"vit_base_r50"}},
        BadConfig{{{"architecture", "vit_deit3_base_patch16_224"}}, {"vit_deit3"}},
        BadConfig{{{"architecture", ".augreg_in21k"}}, {"is \".augreg_in21k\""}},
        BadConfig{{{"model_type", "bert"}}, {"bert", "videomae", "dinov2_with_registers"}},
        BadConfig{{{"model_type", "siglip2"}}, {"siglip2", "expected vit, deit, siglip,"}},
        BadConfig{{{"model_type", "siglip"}, {"vision_config", {{"hidden_act", "swish"}}}},
                  {"vision_config: hidden_act", "swish"}},
        BadConfig{{{"model_type", "siglip"},
                   {"vision_config", {{"image_size", 384}, {"patch_size", 14}}}},
                  {"384x384", "patches of 14"}},
        BadConfig{{{"model_type", "dinov2"}, {"use_swiglu_ffn", true}},
                  {"use_swiglu_ffn is true", "gated MLPs"}},
        BadConfig{{{"model_type", "dinov2"}, {"image_size", 7}}, {"7x7", "patches of 14"}},
        BadConfig{{{"model_type", "dinov2_with_registers"}, {"num_register_tokens", -1}},
                  {"num_register_tokens"}},
        BadConfig{{{"model_type", "vit"}, {"hidden_size", "wide"}}, {"hidden_size", "wide"}},
        BadConfig{{{"model_type", "vit"}, {"num_channels", 1}}, {"num_channels"}},
        BadConfig{{{"model_type", "vit"}, {"hidden_act", "swish"}}, {"hidden_act", "swish"}},
        BadConfig{{{"model_type", "vit"}, {"image_size", 225}}, {"225", "patches"}},
        BadConfig{{{"model_type", "vit"}, {"num_attention_heads", 7}}, {"768", "7 heads"}},
        BadConfig{{{"model_type", "videomae"}, {"num_frames", 15}}, {"15 frames", "tubelets"}},
        BadConfig{{{"model_type", "videomae"}, {"use_mean_pooling", false}}, {"use_mean_pooling"}},
        BadConfig{{{"model_type", "vivit"}, {"tubelet_size", {2, 16, 8}}}, {"tubelet_size"}},
        BadConfig{{{"model_type", "mae_st"}}, {"num_frames", "missing"}},
        BadConfig{{{"model_type", "gst-tome"}}, {"image_size", "missing"}},
        BadConfig{{{"model_type", "vit"}, {"image_size", 16384}, {"patch_size", 1}}, {"tokens"}},
        BadConfig{timm_with({{"qk_norm", true}}), {"model_args", "qk_norm"}},
        BadConfig{timm_with({{"global_pool", "map"}}), {"global_pool", "map"}},
        BadConfig{timm_with({{"class_token", false}}), {"class token"}},
        BadConfig{timm_with({{"depth", 1e300}}), {"depth"}},
        BadConfig{timm_with({{"depth", -1}}), {"depth", "-1"}},
        BadConfig{timm_with({{"patch_size", {16, 8}}}), {"patch_size"}},
        BadConfig{timm_with({{"img_size", 0}}), {"img_size", "0"}},
        BadConfig{timm_with({{"surprise", 1}}), {"surprise"}},
        BadConfig{timm_with({{"mlp_ratio", 0.01}, {"embed_dim", 32}, {"num_heads", 4}}),
                  {"MLP of width 0"}},
        BadConfig{tome_with({{"distilled_head", true}}), {"head", "distillation token"}},
        BadConfig{tome_with({{"global_pool", "map"}}), {"global_pool", "cattokenavg"}},
        BadConfig{tome_with({{"global_pool", "cattokenavg"}, {"class_token", false}}),
                  {"class token"}},
        BadConfig{tome_with({{"global_pool", "cattokenavg"}, {"fc_norm", true}}), {"fc_norm"}},
        BadConfig{
            tome_with({{"class_token", false}, {"distill_token", true}, {"global_pool", "avg"}}),
            {"distillation token", "without class token"}},
        BadConfig{{{"architecture", "vit_tiny_patch16_224"}, {"model_args", 3}}, {"model_args"}},
        BadConfig{{{"architecture", "vit_tiny_patch16_224"},
                   {"pretrained_cfg", {{"input_size", {1, 224, 224}}}}},
                  {"input_size"}}));

}  // namespace
}  // namespace tome
