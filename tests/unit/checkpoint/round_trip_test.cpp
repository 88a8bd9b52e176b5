// save_checkpoint, then load_checkpoint: the same model again.
#include "checkpoint/checkpoint.h"
#include "checkpoint_test_util.h"

namespace tome {
namespace {

using testing::expect_error;
using testing::fixtures;
using testing::TemporaryFolder;

void expect_same(const at::Tensor& a, const at::Tensor& b, const std::string& what) {
  ASSERT_EQ(a.defined(), b.defined()) << what;
  if (a.defined()) {
    EXPECT_EQ(b.scalar_type(), at::kFloat) << what;
    EXPECT_TRUE(at::equal(a, b)) << what;
  }
}

void expect_same(const ViTWeights& a, const ViTWeights& b) {
  std::map<std::string, at::Tensor> of_b;
  for_each_tensor(
      b, [&](const at::Tensor& tensor, const WeightPlace& place) { of_b[place.name()] = tensor; });
  ASSERT_EQ(a.blocks.size(), b.blocks.size());
  // Each by a name of its own, and none that ViTWeights has but the walk has not.
  ASSERT_EQ(of_b.size(), 14 + 14 * b.blocks.size());
  for_each_tensor(a, [&](const at::Tensor& tensor, const WeightPlace& place) {
    expect_same(tensor, of_b[place.name()], place.name());
  });
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
  const TemporaryFolder folder;
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
  const TemporaryFolder folder;
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
  const TemporaryFolder folder;
  save_checkpoint(saved, folder.path());
  const Checkpoint loaded = load_checkpoint(folder.path());
  expect_same(saved.config, loaded.config);
  expect_same(saved.weights, loaded.weights);
  expect_same(saved.preprocess, loaded.preprocess);
}

INSTANTIATE_TEST_SUITE_P(Families, RoundTrip, ::testing::ValuesIn(testing::kFamilies));

TEST(SaveCheckpoint, SaysWhatTheHeadSees) {
  const TemporaryFolder folder;
  for (const auto& [name, pool] : std::map<std::string, std::string>{
           {"vit", "token"}, {"siglip", "avg"}, {"dinov2", "cattokenavg"}}) {
    save_checkpoint(load_checkpoint(fixtures() / "hf" / name), folder.path());
    const auto json = nlohmann::json::parse(testing::read_file(folder.path() / "config.json"));
    EXPECT_EQ(json["global_pool"], pool);
  }
}

TEST(SaveCheckpoint, LeavesTheOldFolderWholeWhenItCannotWrite) {
  const Checkpoint saved = load_checkpoint(fixtures() / "hf" / "vit");
  const TemporaryFolder folder;
  testing::write_file(folder.path() / "file", "x");
  expect_error([&] { save_checkpoint(saved, folder.path() / "file"); }, ErrorKind::kFailed,
               {"file"});
  expect_error([&] { save_checkpoint(saved, folder.path(), at::kInt); }, ErrorKind::kSettings,
               {"Int"});
  EXPECT_EQ(testing::read_file(folder.path() / "file"), "x");
}

}  // namespace
}  // namespace tome
