// Pre-processing configurations: keys, defaults, other sizes, nonsense.
#include "checkpoint/preprocess_config.h"

#include "checkpoint_test_util.h"

namespace tome {
namespace {

using testing::expect_error;
using Json = nlohmann::json;

constexpr InputSize kNative{224, 224};

PreprocessSpec timm(const Json& json, const InputSize& input = kNative) {
  return read_timm_preprocess(ConfigObject(json, "pretrained_cfg"), input);
}

PreprocessSpec hf(const std::string& type, const Json& json, const InputSize& input = kNative) {
  return read_hf_preprocess(ConfigObject(json, "preprocessor_config.json"), type, kNative, input);
}

TEST(TimmPreprocess, SizesAreFloored) {
  EXPECT_EQ(timm({{"crop_pct", 0.9}}).resize_short, 248);    // 248.9
  EXPECT_EQ(timm({{"crop_pct", 0.875}}).resize_short, 256);  // 256.0
  EXPECT_EQ(timm({{"crop_pct", 0.95}}).resize_short, 235);   // 235.8
  EXPECT_EQ(timm({{"crop_pct", 1}}, {384, 384}).resize_short, 384);
  EXPECT_EQ(timm(Json::object()).resize_short, 256);  // timm's default is 0.875
  EXPECT_EQ(timm({{"crop_pct", 0.9}}).scale_width, 0);
}

TEST(TimmPreprocess, DefaultsAreImageNets) {
  const auto none = timm(Json::object());
  EXPECT_EQ(none.mean, (std::array<float, 3>{0.485F, 0.456F, 0.406F}));
  EXPECT_EQ(none.std, (std::array<float, 3>{0.229F, 0.224F, 0.225F}));
  EXPECT_EQ(none.interpolation, Interpolation::kBicubic);
  EXPECT_EQ(none.crop_mode, CropMode::kCenter);
}

TEST(TimmPreprocess, SidesOfTheirOwnWhereOneNumberCannotSayIt) {
  const auto wide = timm({{"crop_pct", 0.9}}, {224, 336});
  EXPECT_EQ(wide.crop_mode, CropMode::kCenter);
  EXPECT_EQ(wide.scale_height, 248);
  EXPECT_EQ(wide.scale_width, 373);
  const auto squash = timm({{"crop_pct", 0.8}, {"crop_mode", "squash"}});
  EXPECT_EQ(squash.crop_mode, CropMode::kSquash);
  EXPECT_EQ(squash.scale_width, 280);
  EXPECT_EQ(timm({{"crop_mode", "border"}}).crop_mode, CropMode::kBorder);
}

TEST(HfPreprocess, SizeInEverySpelling) {
  EXPECT_EQ(hf("vit", {{"size", 224}}).crop_mode, CropMode::kSquash);
  EXPECT_EQ(hf("vit", {{"size", {{"height", 224}, {"width", 224}}}}).scale_width, 0);
  const auto deit = hf("deit", {{"size", 256}, {"crop_size", 224}});
  EXPECT_EQ(deit.crop_mode, CropMode::kSquash);
  EXPECT_EQ(deit.scale_height, 256);
  const auto clip = hf("videomae", {{"size", 240}});  // a number is the short edge here
  EXPECT_EQ(clip.crop_mode, CropMode::kCenter);
  EXPECT_EQ(clip.resize_short, 240);
  EXPECT_EQ(hf("videomae", {{"size", {{"shortest_edge", 230}}}}).resize_short, 230);
  EXPECT_EQ(hf("vit", {{"do_resize", false}, {"size", 7}}).crop_mode, CropMode::kSquash);
}

TEST(HfPreprocess, DefaultsAreTransformers) {
  const auto none = [](const std::string& type) {
    return read_hf_preprocess(std::nullopt, type, kNative, kNative);
  };
  EXPECT_EQ(none("vit").interpolation, Interpolation::kBilinear);
  EXPECT_EQ(none("vit").crop_mode, CropMode::kSquash);
  EXPECT_EQ(none("deit").interpolation, Interpolation::kBicubic);
  EXPECT_EQ(none("deit").scale_width, 256);
  EXPECT_EQ(none("siglip").interpolation, Interpolation::kBicubic);
  EXPECT_EQ(none("siglip").crop_mode, CropMode::kSquash);
  EXPECT_EQ(none("siglip").mean[0], 0.5F);
  EXPECT_EQ(none("dinov2").interpolation, Interpolation::kBicubic);
  EXPECT_EQ(none("dinov2").resize_short, 224);  // BitImageProcessor's; the hub's files say 256
  EXPECT_FLOAT_EQ(none("dinov2_with_registers").mean[2], 0.40821073F);  // and ImageNet's
  EXPECT_EQ(none("dinov2").mean, (std::array<float, 3>{0.48145466F, 0.4578275F, 0.40821073F}));
  EXPECT_EQ(none("dinov2").std, (std::array<float, 3>{0.26862954F, 0.26130258F, 0.27577711F}));
  EXPECT_EQ(none("videomae").resize_short, 224);
  EXPECT_EQ(none("vivit").resize_short, 256);
  EXPECT_FLOAT_EQ(none("vivit").rescale, 1.0F / 127.5F);
  EXPECT_FLOAT_EQ(none("vivit").mean[0], 1.5F);  // offset: pixel / 127.5 - 1 before (x - 0.5) / 0.5
}

// DINOv2 takes images of any size; that of its positions, 518, is not the images'.
TEST(HfPreprocess, SizeOfImagesWhereTheModelTakesAny) {
  const auto size = [](const Json& json) {
    return hf_input_size(ConfigObject(json, "preprocessor_config.json"), "dinov2", {518, 518});
  };
  EXPECT_EQ(hf_input_size(std::nullopt, "dinov2", {518, 518}), kNative);
  EXPECT_EQ(size({{"size", {{"shortest_edge", 256}}}}), kNative);
  EXPECT_EQ(size({{"size", 256}, {"crop_size", 240}}), (InputSize{240, 240}));
  EXPECT_EQ(size({{"crop_size", {{"height", 112}, {"width", 224}}}}), (InputSize{112, 224}));
  EXPECT_EQ(size({{"do_center_crop", false}, {"size", {{"height", 28}, {"width", 56}}}}),
            (InputSize{28, 56}));
  EXPECT_EQ(size({{"do_center_crop", false}, {"do_resize", false}}), (InputSize{518, 518}));
  const auto hub = hf("dinov2", {{"size", {{"shortest_edge", 256}}},
                                 {"crop_size", {{"height", 224}, {"width", 224}}},
                                 {"image_mean", {0.485, 0.456, 0.406}}});
  EXPECT_EQ(hub.crop_mode, CropMode::kCenter);
  EXPECT_EQ(hub.resize_short, 256);
  EXPECT_EQ(hub.mean[0], 0.485F);
  EXPECT_EQ(hf("dinov2", {{"size", 256}}).crop_mode, CropMode::kCenter);  // the short edge
  expect_error(
      [&] {
        size({{"do_center_crop", false}});
      },
      ErrorKind::kFormat, {"preprocessor_config.json", "do_center_crop"});
}

TEST(HfPreprocess, StepsCanBeSwitchedOff) {
  const auto spec = hf("vit", {{"do_rescale", false}, {"do_normalize", false}});
  EXPECT_EQ(spec.rescale, 1.0F);
  EXPECT_EQ(spec.mean[1], 0.0F);
  EXPECT_EQ(spec.std[2], 1.0F);
  EXPECT_EQ(hf("vivit", {{"offset", false}}).mean[0], 0.5F);
  EXPECT_EQ(hf("vit", {{"resample", 1}}).interpolation, Interpolation::kLanczos);
}

TEST(Preprocess, ScalesAlongWithTheInput) {
  EXPECT_EQ(hf("deit", {{"size", 256}}, {448, 448}).scale_width, 512);
  EXPECT_EQ(hf("videomae", {{"size", 256}}, {112, 112}).resize_short, 128);
  EXPECT_EQ(hf("videomae", {{"size", 256}}, {160, 160}).resize_short, 183);  // 182.9
  EXPECT_EQ(timm({{"crop_pct", 0.9}}, {448, 448}).resize_short, 497);
}

TEST(Preprocess, OwnKeysReadBack) {
  auto spec = hf("vivit", {{"size", {{"shortest_edge", 300}}}});
  const Json json = preprocess_json(spec);
  const auto again = read_tome_preprocess(ConfigObject(json, "preprocess"), kNative);
  EXPECT_EQ(again.resize_short, 300);
  EXPECT_EQ(again.mean, spec.mean);
  EXPECT_EQ(again.rescale, spec.rescale);
  EXPECT_TRUE(again.crop_rounds_down);
}

TEST(Preprocess, RefusesNonsense) {
  const auto refuses_timm = [](const Json& json, const std::string& word) {
    expect_error([&] { timm(json); }, ErrorKind::kFormat, {"pretrained_cfg", word});
  };
  refuses_timm({{"crop_pct", 0}}, "crop_pct");
  refuses_timm({{"crop_pct", 1e-9}}, "crop_pct");
  refuses_timm({{"crop_mode", "round"}}, "round");
  refuses_timm({{"interpolation", "random"}}, "random");
  refuses_timm({{"std", {0.5, 0, 0.5}}}, "std");
  refuses_timm({{"mean", {0.5, 0.5}}}, "mean");
  refuses_timm({{"mean", "grey"}}, "mean");
  const auto refuses_hf = [](const std::string& type, const Json& json, const std::string& word) {
    expect_error([&] { hf(type, json); }, ErrorKind::kFormat, {"preprocessor_config.json", word});
  };
  refuses_hf("vit", {{"size", 225}}, "224x224");
  refuses_hf("vit", {{"size", -1}}, "size");
  refuses_hf("vit", {{"size", {{"height", 224}}}}, "width");
  refuses_hf("videomae", {{"size", {{"shortest_edge", 224}, {"longest_edge", 300}}}}, "size");
  refuses_hf("deit", {{"crop_size", 200}}, "224x224");
  refuses_hf("siglip", {{"size", {{"height", 256}, {"width", 256}}}}, "224x224");
  refuses_hf("vit", {{"resample", 4}}, "resample");
  refuses_hf("vit", {{"rescale_factor", 0}}, "rescale_factor");
  refuses_hf("vit", {{"do_resize", "yes"}}, "do_resize");
}

}  // namespace
}  // namespace tome
