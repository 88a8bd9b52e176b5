// save_checkpoint, then load_checkpoint: the same model again.
#include "checkpoint/checkpoint.h"
#include "checkpoint_test_util.h"

namespace tome {
namespace {

using testing::expect_error;
using testing::fixtures;
using testing::TempFolder;

void expect_same(const at::Tensor& a, const at::Tensor& b, const std::string& what) {
  ASSERT_EQ(a.defined(), b.defined()) << what;
  if (a.defined()) {
    EXPECT_EQ(b.scalar_type(), at::kFloat) << what;
    EXPECT_TRUE(at::equal(a, b)) << what;
  }
}

void expect_same(const LinearWeights& a, const LinearWeights& b, const std::string& what) {
  expect_same(a.weight, b.weight, what + ".weight");
  expect_same(a.bias, b.bias, what + ".bias");
}

void expect_same(const NormWeights& a, const NormWeights& b, const std::string& what) {
  expect_same(a.weight, b.weight, what + ".weight");
  expect_same(a.bias, b.bias, what + ".bias");
}

void expect_same(const ViTWeights& a, const ViTWeights& b) {
  expect_same(a.patch_embed, b.patch_embed, "patch_embed");
  expect_same(a.prefix, b.prefix, "prefix");
  expect_same(a.pos_embed, b.pos_embed, "pos_embed");
  expect_same(a.pre_norm, b.pre_norm, "pre_norm");
  expect_same(a.norm, b.norm, "norm");
  expect_same(a.fc_norm, b.fc_norm, "fc_norm");
  expect_same(a.head, b.head, "head");
  expect_same(a.head_dist, b.head_dist, "head_dist");
  ASSERT_EQ(a.blocks.size(), b.blocks.size());
  for (size_t i = 0; i < a.blocks.size(); ++i) {
    const std::string block = "block " + std::to_string(i);
    expect_same(a.blocks[i].norm1, b.blocks[i].norm1, block + " norm1");
    expect_same(a.blocks[i].norm2, b.blocks[i].norm2, block + " norm2");
    expect_same(a.blocks[i].qkv, b.blocks[i].qkv, block + " qkv");
    expect_same(a.blocks[i].proj, b.blocks[i].proj, block + " proj");
    expect_same(a.blocks[i].fc1, b.blocks[i].fc1, block + " fc1");
    expect_same(a.blocks[i].fc2, b.blocks[i].fc2, block + " fc2");
    expect_same(a.blocks[i].scale1, b.blocks[i].scale1, block + " scale1");
    expect_same(a.blocks[i].scale2, b.blocks[i].scale2, block + " scale2");
  }
}

void expect_same(const ViTConfig& a, const ViTConfig& b) {
  const auto fields = [](const ViTConfig& c) {
    return std::make_tuple(
        c.family, c.name, c.image_height, c.image_width, c.patch, c.channels, c.frames, c.tubelet,
        c.dim, c.depth, c.heads, c.mlp_hidden, c.classes, c.norm_eps, c.fc_norm_eps, c.class_token,
        c.distill_token, c.registers, c.pos_embed_prefix, c.pre_norm, c.final_norm, c.fc_norm,
        c.distilled_head, c.pooling, c.prop_attn_auto, c.weighted_pool, c.activation);
  };
  EXPECT_TRUE(fields(a) == fields(b));
}

void expect_same(const PreprocessSpec& a, const PreprocessSpec& b) {
  const auto fields = [](const PreprocessSpec& s) {
    return std::make_tuple(s.width, s.height, s.resize_short, s.scale_width, s.scale_height,
                           s.crop_mode, s.crop_rounds_down, s.interpolation, s.antialias, s.mean,
                           s.std, s.rescale);
  };
  EXPECT_TRUE(fields(a) == fields(b));
}

class RoundTrip : public ::testing::TestWithParam<const char*> {};

TEST_P(RoundTrip, LoadsBackEqual) {
  Checkpoint saved = load_checkpoint(fixtures() / "hf" / GetParam());
  saved.default_schedule = "16,8";
  saved.activation = ScoreActivation::kSigmoid;
  saved.labels[0] = "ein \"Kätzchen\"\\";
  const TempFolder folder;
  save_checkpoint(saved, folder.path() / "new" / "model");
  const Checkpoint loaded = load_checkpoint(folder.path() / "new" / "model");
  expect_same(saved.config, loaded.config);
  expect_same(saved.weights, loaded.weights);
  expect_same(saved.preprocess, loaded.preprocess);
  EXPECT_EQ(saved.labels, loaded.labels);
  EXPECT_EQ(saved.activation, loaded.activation);
  EXPECT_EQ(saved.default_schedule, loaded.default_schedule);
}

TEST_P(RoundTrip, Bf16HalvesTheFileAndRoundsOnce) {
  const Checkpoint saved = load_checkpoint(fixtures() / "hf" / GetParam());
  const TempFolder folder;
  save_checkpoint(saved, folder.path(), at::kBFloat16);
  const auto file = SafetensorsFile::open(folder.path() / "model.safetensors");
  for (const auto& name : file.names()) EXPECT_EQ(file.dtype(name), at::kBFloat16) << name;
  const Checkpoint loaded = load_checkpoint(folder.path());
  expect_same(saved.weights.head.weight.to(at::kBFloat16).to(at::kFloat),
              loaded.weights.head.weight, "head");
  // A second time nothing is lost any more.
  save_checkpoint(loaded, folder.path(), at::kBFloat16);
  expect_same(loaded.weights, load_checkpoint(folder.path()).weights);
}

TEST_P(RoundTrip, AnotherSizeIsSavedAsItIs) {
  LoadOptions options;
  options.image_height = 48;
  options.image_width = 64;
  const Checkpoint saved = load_checkpoint(fixtures() / "hf" / GetParam(), options);
  const TempFolder folder;
  save_checkpoint(saved, folder.path());
  const Checkpoint loaded = load_checkpoint(folder.path());
  expect_same(saved.config, loaded.config);
  expect_same(saved.weights, loaded.weights);
  expect_same(saved.preprocess, loaded.preprocess);
}

INSTANTIATE_TEST_SUITE_P(Families, RoundTrip, ::testing::ValuesIn(testing::kFamilies));

TEST(SaveCheckpoint, SaysWhatTheHeadSees) {
  const TempFolder folder;
  for (const auto& [name, pool] : std::map<std::string, std::string>{
           {"vit", "token"}, {"siglip", "avg"}, {"dinov2", "cattokenavg"}}) {
    save_checkpoint(load_checkpoint(fixtures() / "hf" / name), folder.path());
    const auto json = nlohmann::json::parse(testing::read_file(folder.path() / "config.json"));
    EXPECT_EQ(json["global_pool"], pool);
  }
}

TEST(SaveCheckpoint, LeavesTheOldFolderWholeWhenItCannotWrite) {
  const Checkpoint saved = load_checkpoint(fixtures() / "hf" / "vit");
  const TempFolder folder;
  testing::write_file(folder.path() / "file", "x");
  expect_error([&] { save_checkpoint(saved, folder.path() / "file"); }, ErrorKind::kFailed,
               {"file"});
  expect_error([&] { save_checkpoint(saved, folder.path(), at::kInt); }, ErrorKind::kSettings,
               {"Int"});
  EXPECT_EQ(testing::read_file(folder.path() / "file"), "x");
}

}  // namespace
}  // namespace tome
