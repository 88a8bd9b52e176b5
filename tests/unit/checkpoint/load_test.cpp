// Model folders: what is read from them, and one clear error for each way they can be wrong.
#include "checkpoint/checkpoint.h"

#include <cmath>
#include <limits>

#include "checkpoint/positions.h"
#include "checkpoint_test_util.h"
#include "shared_data.h"

namespace tome {
namespace {

using testing::expect_error;
using testing::fixtures;
using testing::ModelFolder;
using testing::refuses;
using testing::write_file;

TEST(LoadCheckpoint, RealFolders) {
  for (const char* name : {"vit_tiny_patch16_224", "deit_tiny_patch16_224"}) {
    TOME_NEEDS_SHARED_DATA(std::string("models/") + name);
    const auto loaded = load_checkpoint(testing::shared_data() / "models" / name);
    EXPECT_EQ(loaded.config.name, name);
    EXPECT_EQ(loaded.config.tokens(), 197);
    EXPECT_EQ(loaded.config.heads, 3);
    EXPECT_EQ(loaded.weights.blocks.size(), 12U);
    EXPECT_EQ(loaded.weights.patch_embed.weight.sizes().vec(), (std::vector<int64_t>{192, 768}));
    EXPECT_EQ(loaded.labels.size(), 1000U);
    EXPECT_NE(loaded.labels[795].find("ski"), std::string::npos);
    EXPECT_EQ(loaded.preprocess.resize_short, 248);  // floor(224 / 0.9)
    EXPECT_EQ(loaded.preprocess.interpolation, Interpolation::kBicubic);
    EXPECT_EQ(loaded.activation, ScoreActivation::kSoftmax);
    EXPECT_EQ(loaded.default_schedule, "0");
    const float mean = name[0] == 'v' ? 0.5F : 0.485F;
    EXPECT_EQ(loaded.preprocess.mean[0], mean);
  }
}

TEST(LoadCheckpoint, LabelsComeFromWhereTheyAreMostMeant) {
  ModelFolder model("timm_registers");  // five classes
  const auto labels = [&](const LoadOptions& options = {}) {
    return load_checkpoint(model.write(), options).labels;
  };
  EXPECT_EQ(labels()[4], "class 4");
  write_file(model.path() / "labels.txt",
             "\xEF\xBB\xBF"
             "a\r\nb\nc\nd\ne\n\n");
  EXPECT_EQ(labels(), (std::vector<std::string>{"a", "b", "c", "d", "e"}));
  model.config["pretrained_cfg"]["label_names"] = {"f", "g", "h", "i", "j"};
  EXPECT_EQ(labels()[0], "f");
  model.config["label_names"] = {"k", "l", "m", "n", "o"};
  EXPECT_EQ(labels()[0], "k");
  model.config["id2label"] = {{"0", "p"}, {"1", "q"}, {"2", "r"}, {"3", "s"}, {"4", "t"}};
  EXPECT_EQ(labels()[1], "q");
  LoadOptions options;
  options.labels_file = model.path() / "mine.txt";
  write_file(*options.labels_file, "u\nv\nw\nx\ny");
  EXPECT_EQ(labels(options)[4], "y");
}

TEST(LoadCheckpoint, RefusesLabelsThatDoNotFit) {
  ModelFolder model("timm_registers");
  LoadOptions options;
  options.labels_file = model.path() / "mine.txt";
  refuses(model.write(), ErrorKind::kNotFound, {"mine.txt"}, options);
  const auto refuses_file = [&](const std::string& text, const std::vector<std::string>& words) {
    write_file(*options.labels_file, text);
    refuses(model.path(), ErrorKind::kFormat, words, options);
  };
  refuses_file("a\nb\nc\n", {"mine.txt", "3 labels", "expected 5"});
  refuses_file("", {"mine.txt", "empty"});
  refuses_file("\n\r\n", {"mine.txt", "empty"});
  refuses_file("a\nb\n\nd\ne\n", {"mine.txt", "line 3"});
  refuses_file("a\nb\n\xFF\nd\ne\n", {"mine.txt", "UTF-8"});
  refuses_file(std::string("a\nb\n\0\nd\ne\n", 10), {"mine.txt", "UTF-8"});
  options.labels_file = model.path();
  refuses(model.path(), ErrorKind::kRead, {"not a regular file"}, options);

  model.config["label_names"] = {"a", "b"};
  refuses(model.write(), ErrorKind::kFormat, {"config.json", "label_names", "2 labels", "5"});
  model.config["label_names"] = {"a", "b", "c", "d", 5};
  refuses(model.write(), ErrorKind::kFormat, {"label_names[4] is 5", "a string"});
  model.config["id2label"] = {{"0", "p"}, {"1", "q"}, {"2", "r"}, {"3", "s"}, {"5", "t"}};
  refuses(model.write(), ErrorKind::kFormat, {"id2label", "4", "missing"});
  model.config["id2label"] = {{"0", "p"}};
  refuses(model.write(), ErrorKind::kFormat, {"id2label", "1 labels", "5"});
  model.config["id2label"] = {"p"};
  refuses(model.write(), ErrorKind::kFormat, {"id2label", "object"});
}

TEST(LoadCheckpoint, RefusesFoldersThatHoldNoModel) {
  const testing::TemporaryFolder folder;
  refuses(folder.path() / "none", ErrorKind::kNotFound, {"none", "no such folder"});
  write_file(folder.path() / "file", "x");
  refuses(folder.path() / "file", ErrorKind::kRead, {"file", "not a folder"});
  refuses(folder.path(), ErrorKind::kNotFound, {"config.json"});
  const auto config = folder.path() / "config.json";
  write_file(config, "{\"architecture\": ");
  refuses(folder.path(), ErrorKind::kFormat, {"config.json", "not valid JSON"});
  write_file(config, std::string(200000, '['));
  refuses(folder.path(), ErrorKind::kFormat, {"config.json", "nested deeper than 64"});
  write_file(config, "[]");
  refuses(folder.path(), ErrorKind::kFormat, {"config.json", "array", "object"});
  write_file(config, "");
  refuses(folder.path(), ErrorKind::kFormat, {"config.json", "not valid JSON"});
  write_file(config, R"({"architecture": "vit_tiny_patch16_224"})");
  refuses(folder.path(), ErrorKind::kNotFound, {"model.safetensors"});
  write_file(folder.path() / "pytorch_model.bin", "x");
  refuses(folder.path(), ErrorKind::kNotFound,
          {"model.safetensors", "pytorch_model.bin", "convert_checkpoint"});
  write_file(folder.path() / "model.safetensors", "\x10");
  refuses(folder.path(), ErrorKind::kRead, {"model.safetensors", "truncated"});
  std::filesystem::remove(config);
  std::filesystem::create_directory(config);
  refuses(folder.path(), ErrorKind::kRead, {"config.json", "not a regular file"});
}

TEST(LoadCheckpoint, FollowsSymlinksAsTheHubsCacheHasThem) {
  const testing::TemporaryFolder folder;
  for (const char* name : {"config.json", "model.safetensors"}) {
    std::filesystem::create_symlink(std::filesystem::absolute(fixtures() / "hf/vit" / name),
                                    folder.path() / name);
  }
  EXPECT_EQ(load_checkpoint(folder.path()).config.classes, 3);
}

// Each family: every tensor is needed, none may be too many, each has one shape, all are floats.
class EveryTensor : public ::testing::TestWithParam<const char*> {};

TEST_P(EveryTensor, IsNeeded) {
  ModelFolder model(GetParam());
  load_checkpoint(model.write());
  for (const auto& [name, tensor] : testing::Tensors(model.tensors)) {
    SCOPED_TRACE(name);
    model.tensors.erase(name);
    if (testing::is_unused(name)) {
      load_checkpoint(model.write());
      continue;
    }
    // Without its head's tensors a distilled deit looks like a plain one; other names are left
    // over.
    const bool head = name.find("cls_classifier.weight") != std::string::npos;
    refuses(model.write(), ErrorKind::kFormat,
            {"model.safetensors", head ? "cls_classifier" : name});
    model.tensors[name] = tensor;
  }
}

TEST_P(EveryTensor, HasOneShape) {
  ModelFolder model(GetParam());
  for (const auto& [name, tensor] : testing::Tensors(model.tensors)) {
    SCOPED_TRACE(name);
    if (testing::is_unused(name)) continue;
    model.tensors[name] = at::cat({tensor, tensor}, -1);
    refuses(model.write(), ErrorKind::kFormat, {name, "shape", "expected"});
    model.tensors[name] = tensor.unsqueeze(0);
    refuses(model.write(), ErrorKind::kFormat, {name, "shape", "expected"});
    model.tensors[name] = tensor;
  }
}

TEST_P(EveryTensor, IsFloatingPoint) {
  ModelFolder model(GetParam());
  const auto first = *model.tensors.begin();
  model.tensors[first.first] = first.second.to(at::kInt);
  refuses(model.write(), ErrorKind::kFormat, {first.first, "Int", "F32"});
  for (const auto type : {at::kHalf, at::kBFloat16, at::kDouble}) {
    model.tensors[first.first] = first.second.to(type);
    load_checkpoint(model.write());
  }
}

TEST_P(EveryTensor, IsFinite) {
  ModelFolder model(GetParam());
  const float infinity = std::numeric_limits<float>::infinity();
  for (const auto& [name, tensor] : testing::Tensors(model.tensors)) {
    SCOPED_TRACE(name);
    if (testing::is_unused(name)) continue;
    at::Tensor spoilt = tensor.clone();
    spoilt.view(-1)[-1] = std::nan("");
    model.tensors[name] = spoilt;
    const std::string last = " at place " + std::to_string(tensor.numel() - 1);
    refuses(model.write(), ErrorKind::kFormat, {"model.safetensors: tensor " + name, "nan" + last});
    spoilt.view(-1)[-1] = -infinity;
    model.tensors[name] = spoilt.to(at::kHalf);
    refuses(model.write(), ErrorKind::kFormat, {name + " holds -inf" + last, "finite"});
    model.tensors[name] = tensor;
  }
}

// What float32 has no number for, among numbers that a sum or a maximum would hide it in.
TEST(LoadCheckpoint, RefusesNumbersBeyondFloat32) {
  ModelFolder model("vit");
  at::Tensor& weight = model.tensors.at("vit.encoder.layer.0.intermediate.dense.weight");
  const auto most = static_cast<double>(std::numeric_limits<float>::max());
  weight = weight.to(at::kDouble);
  weight[0][0] = most;
  weight[0][1] = -most;
  EXPECT_EQ(load_checkpoint(model.write()).weights.blocks[0].fc1.weight[0][1].item<double>(),
            -most);
  weight[1][0] = 1e300;
  refuses(model.write(), ErrorKind::kFormat,
          {"intermediate.dense.weight", "1e+300 at place 32", "float32"});
  weight = weight.to(at::kFloat);
  refuses(model.write(), ErrorKind::kFormat, {"intermediate.dense.weight", "inf at place 32"});
}

// Tensors are read in blocks.
TEST(LoadCheckpoint, ReadsLongTensorsWhole) {
  ModelFolder model("timm_registers");
  at::Tensor& weight = model.tensors.at("head.weight");
  const int64_t classes = 1500;  // 48000 numbers: two blocks and a part
  model.config["num_classes"] = classes;
  model.tensors["head.bias"] = at::randn({classes});
  for (const auto type : {at::kFloat, at::kHalf, at::kBFloat16, at::kDouble}) {
    weight = at::randn({classes, 32}).to(type);
    EXPECT_TRUE(
        at::equal(load_checkpoint(model.write()).weights.head.weight, weight.to(at::kFloat)));
    for (const int64_t row : {int64_t{0}, int64_t{511}, int64_t{512}, classes - 1}) {
      const at::Tensor kept = weight.clone();
      weight[row][31] = std::nan("");
      refuses(model.write(), ErrorKind::kFormat,
              {"head.weight", "nan at place " + std::to_string(32 * row + 31)});
      weight = kept;
    }
  }
}

TEST_P(EveryTensor, HasAPlace) {
  ModelFolder model(GetParam());
  model.tensors["surprise.weight"] = at::ones({1});
  refuses(model.write(), ErrorKind::kFormat, {"surprise.weight", "left over"});
}

INSTANTIATE_TEST_SUITE_P(Families, EveryTensor, ::testing::ValuesIn(testing::kFamilies));

TEST(LoadCheckpoint, SiglipMayHaveTheHeadThatItWasTrainedWith) {
  ModelFolder model("siglip");
  EXPECT_FALSE(load_checkpoint(model.write()).config.prop_attn_auto);
  model.config["vision_config"]["vision_use_head"] = false;
  refuses(model.write(), ErrorKind::kFormat,
          {"11 tensors", "vision_model.head.attention.in_proj_bias", "left over"});
  for (const auto& [name, tensor] : testing::Tensors(model.tensors)) {
    if (testing::is_unused(name)) model.tensors.erase(name);
  }
  load_checkpoint(model.write());
  model.config["vision_config"].erase("vision_use_head");
  load_checkpoint(model.write());
  model.tensors["vision_model.head.surprise"] = at::ones({1});
  refuses(model.write(), ErrorKind::kFormat, {"vision_model.head.surprise", "left over"});
  model.tensors.erase("vision_model.head.surprise");
  model.tensors["text_model.embeddings.token_embedding.weight"] = at::ones({2, 32});
  refuses(model.write(), ErrorKind::kFormat, {"text_model.embeddings", "left over"});
  model.tensors.erase("classifier.weight");  // the pair, which compares pictures with texts
  refuses(model.write(), ErrorKind::kFormat, {"no classifier", "classifier.weight"});
  model.config["vision_config"] = 3;
  refuses(model.write(), ErrorKind::kFormat, {"vision_config", "expected an object"});
}

TEST(LoadCheckpoint, Dinov2ComesAsLargeAsItsPreprocessingMakesImages) {
  for (const char* name : {"dinov2", "dinov2_with_registers"}) {
    ModelFolder model(name);
    const auto loaded = load_checkpoint(model.write());
    EXPECT_EQ(loaded.config.image_height, 32);
    EXPECT_EQ(loaded.config.patch_tokens(), 16);
    EXPECT_EQ(loaded.config.head_inputs(), 64);
    EXPECT_TRUE(loaded.config.prop_attn_auto);
    EXPECT_EQ(loaded.preprocess.width, 32);
    EXPECT_EQ(loaded.preprocess.resize_short, 40);
    model.preprocess["crop_size"] = {{"height", 48}, {"width", 48}};
    EXPECT_EQ(load_checkpoint(model.write()).config.patch_tokens(), 36);
    model.preprocess["crop_size"] = 36;
    refuses(model.write(), ErrorKind::kFormat,
            {"preprocessor_config.json", "36x36", "patches of 8"});
    LoadOptions options;
    options.image_height = options.image_width = 72;
    EXPECT_EQ(load_checkpoint(model.path(), options).preprocess.resize_short, 80);  // 40 for 36
    model.preprocess["crop_size"] = {{"height", 32768}, {"width", 8}};
    refuses(model.write(), ErrorKind::kFormat, {"crop_size", "16384"});
    model.preprocess["do_center_crop"] = false;
    refuses(model.write(), ErrorKind::kFormat, {"do_center_crop is false", "true"});
    model.preprocess["size"] = {{"height", 24}, {"width", 40}};
    EXPECT_EQ(load_checkpoint(model.write()).config.patch_tokens(), 15);
  }
}

TEST(LoadCheckpoint, Dinov2WithAPreprocessingOfOursComesAsLargeAsThatSays) {
  ModelFolder model("dinov2");
  model.config["preprocess"] = {{"width", 48}, {"height", 24}, {"resize_short", 30}};
  const auto loaded = load_checkpoint(model.write());
  EXPECT_EQ(loaded.config.image_height, 24);
  EXPECT_EQ(loaded.config.image_width, 48);
  EXPECT_EQ(loaded.preprocess.width, 48);
  EXPECT_EQ(loaded.preprocess.resize_short, 30);
  model.config["preprocess"]["width"] = 36;
  refuses(model.write(), ErrorKind::kFormat, {"config.json: preprocess", "24x36", "patches of 8"});
  model.config["preprocess"].erase("width");  // as the other file says
  EXPECT_EQ(load_checkpoint(model.write()).config.image_width, 32);
}

TEST(LoadCheckpoint, ScheduleIsForDinov2AsItsImagesAre) {
  ModelFolder model("dinov2_with_registers");
  model.config["tome_r"] = "keep=0.64";
  refuses(model.write(), ErrorKind::kFormat, {"tome_r", "can keep is 0.65"});
  model.preprocess["crop_size"] = 48;  // more tokens, of which a larger part may merge
  EXPECT_EQ(load_checkpoint(model.write()).default_schedule, "keep=0.64");
}

TEST(LoadCheckpoint, Dinov2WithRegistersGivesThemNoPositions) {
  ModelFolder model("dinov2_with_registers");
  model.preprocess["crop_size"] = 48;
  const auto loaded = load_checkpoint(model.write());
  const at::Tensor stored =
      model.tensors.at("dinov2_with_registers.embeddings.position_embeddings");
  ASSERT_EQ(loaded.weights.pos_embed.size(0), 1 + 3 + 36);
  EXPECT_TRUE(at::equal(loaded.weights.pos_embed[0], stored[0][0]));
  EXPECT_TRUE(at::equal(loaded.weights.pos_embed.slice(0, 1, 4), at::zeros({3, 32})));
  EXPECT_TRUE(at::equal(loaded.weights.pos_embed.slice(0, 4), stored[0].slice(0, 1)));
  model.config["num_register_tokens"] = 2;
  refuses(model.write(), ErrorKind::kFormat, {"register_tokens", "[1, 3, 32]", "[1, 2, 32]"});
  model.config["num_register_tokens"] = 0;
  model.tensors["dinov2_with_registers.embeddings.register_tokens"] = at::ones({1, 0, 32});
  EXPECT_EQ(load_checkpoint(model.write()).config.prefix_tokens(), 1);
}

TEST(LoadCheckpoint, Dinov2HeadSeesTwoVectors) {
  ModelFolder model("dinov2");
  model.tensors["classifier.weight"] = at::ones({4, 32});
  refuses(model.write(), ErrorKind::kFormat, {"classifier.weight", "[4, 32]", "[any, 64]"});
  model.config["use_mask_token"] = false;
  model.tensors["classifier.weight"] = at::ones({4, 64});
  refuses(model.write(), ErrorKind::kFormat, {"dinov2.embeddings.mask_token", "left over"});
}

TEST(LoadCheckpoint, ConfigurationAndTensorsMustAgree) {
  ModelFolder model("timm_average");
  model.config["num_classes"] = 6;
  refuses(model.write(), ErrorKind::kFormat, {"head.weight", "[5, 32]", "[6, 32]"});
  model.config["num_classes"] = 5;
  model.config["model_args"]["depth"] = 3;
  refuses(model.write(), ErrorKind::kFormat, {"blocks.2.norm1.weight", "missing"});
  model.config["model_args"]["depth"] = 1;
  refuses(model.write(), ErrorKind::kFormat, {"blocks.1.", "left over"});
  model.config["model_args"]["depth"] = 2;
  model.config["model_args"]["init_values"] = nullptr;
  refuses(model.write(), ErrorKind::kFormat, {"4 tensors", "ls1.gamma", "left over"});
  model.config["model_args"]["init_values"] = 0.1;
  model.config["model_args"]["qkv_bias"] = false;
  refuses(model.write(), ErrorKind::kFormat, {"attn.qkv.bias", "left over"});
}

TEST(LoadCheckpoint, TellsWhatTheModelIsFor) {
  ModelFolder model("vit");
  model.config["problem_type"] = "multi_label_classification";
  model.config["tome_r"] = "16:-1";
  auto loaded = load_checkpoint(model.write());
  EXPECT_EQ(loaded.activation, ScoreActivation::kSigmoid);
  EXPECT_EQ(loaded.default_schedule, "16:-1");
  model.config["problem_type"] = "regression";
  model.config["tome_r"] = 8;
  loaded = load_checkpoint(model.write());
  EXPECT_EQ(loaded.activation, ScoreActivation::kNone);
  EXPECT_EQ(loaded.default_schedule, "8");
  EXPECT_EQ(loaded.labels, (std::vector<std::string>{"vit 0", "vit 1", "vit 2"}));
  model.config["problem_type"] = "poetry";
  refuses(model.write(), ErrorKind::kFormat, {"problem_type", "poetry"});
  model.config.erase("problem_type");
  model.config["tome_r"] = true;
  refuses(model.write(), ErrorKind::kFormat, {"tome_r", "true"});
}

TEST(LoadCheckpoint, RefusesSizesThatDoNotFit) {
  const auto image = fixtures() / "hf" / "timm_registers";
  LoadOptions options;
  options.image_height = 48;
  refuses(image, ErrorKind::kSettings, {"height and width"}, options);
  options.image_width = 44;
  refuses(image, ErrorKind::kSettings, {"48x44", "patches of 8"}, options);
  options.image_width = 0;
  refuses(image, ErrorKind::kSettings, {"input size 0"}, options);
  options.image_height = options.image_width = 1 << 20;
  refuses(image, ErrorKind::kSettings, {"1048576"}, options);
  options = {};
  options.frames = 4;
  refuses(image, ErrorKind::kSettings, {"clip length 4", "image model"}, options);
  const auto clip = fixtures() / "hf" / "videomae";
  options.frames = 5;
  refuses(clip, ErrorKind::kSettings, {"clip-length: found 5", "a multiple of 2"}, options);
  options.frames = 0;
  refuses(clip, ErrorKind::kSettings, {"clip length 0"}, options);
}

TEST(Positions, SinusoidIsTheDefinition) {
  const at::Tensor table = sinusoid_positions(5, 6);
  for (int pos = 0; pos < 5; ++pos) {
    for (int j = 0; j < 6; ++j) {
      const double angle = pos / std::pow(10000.0, 2 * (j / 2) / 6.0);
      EXPECT_NEAR(table[pos][j].item<double>(), j % 2 == 0 ? std::sin(angle) : std::cos(angle),
                  1e-6);
    }
  }
}

TEST(Positions, SeparableAddsSpaceAndTime) {
  const at::Tensor space = at::randn({1, 6, 4});
  const at::Tensor time = at::randn({1, 3, 4});
  const at::Tensor table = separable_positions(space, time);
  for (int t = 0; t < 3; ++t) {
    for (int cell = 0; cell < 6; ++cell) {
      EXPECT_TRUE(at::equal(table[t * 6 + cell], space[0][cell] + time[0][t]));
    }
  }
}

TEST(Positions, OtherNumberOfFramesIsLinearInTime) {
  // 2 frames to 4 with half-pixel centres: old places 0, 0.25, 0.75, 1.
  const at::Tensor prefix = at::randn({1, 3});
  const at::Tensor a = at::randn({4, 3});
  const at::Tensor b = at::randn({4, 3});
  const at::Tensor table = at::cat({prefix, a, b});
  const at::Tensor out = resample_positions(table, 1, {2, 2, 2}, {4, 2, 2});
  const at::Tensor expected = at::cat({prefix, a, 0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b, b});
  EXPECT_TRUE(at::allclose(out, expected, 1e-6, 1e-6));
  EXPECT_TRUE(at::equal(resample_positions(table, 1, {2, 2, 2}, {2, 2, 2}), table));
}

TEST(Positions, ClipModelsTakeAnotherLength) {
  LoadOptions options;
  options.frames = 8;
  const auto loaded = load_checkpoint(fixtures() / "hf" / "vivit", options);
  EXPECT_EQ(loaded.config.frames, 8);
  EXPECT_EQ(loaded.weights.pos_embed.size(0), loaded.config.tokens());
  LoadOptions asked;
  asked.clip_length = 8;
  const auto same = load_checkpoint(fixtures() / "hf" / "vivit", asked);
  EXPECT_TRUE(at::equal(same.weights.pos_embed, loaded.weights.pos_embed));
  EXPECT_EQ(load_checkpoint(fixtures() / "hf" / "timm_registers", asked).config.frames, 1)
      << "an image model takes any length as it is";
  const auto native = load_checkpoint(fixtures() / "hf" / "vivit");
  EXPECT_TRUE(at::equal(loaded.weights.pos_embed[0], native.weights.pos_embed[0]));
  EXPECT_TRUE(at::allclose(loaded.weights.pos_embed[1], native.weights.pos_embed[1]));
}

}  // namespace
}  // namespace tome
