// Checkpoints of every family, from the folder to the logits, against the Python originals.
#include <c10/core/InferenceMode.h>

#include "checkpoint/checkpoint.h"
#include "checkpoint_test_util.h"
#include "shared_data.h"
#include "vit/model.h"

namespace tome {
namespace {

using testing::fixtures;
using testing::ModelFolder;
using Json = nlohmann::json;

at::Tensor logits_of(const Checkpoint& checkpoint, const at::Tensor& pixels,
                     const ForwardOptions& options = {}) {
  const c10::InferenceMode inference;
  const VisionTransformer model(checkpoint.config, checkpoint.weights);
  return model.forward_pixels(pixels, options).logits;
}

void expect_close(const at::Tensor& found, const at::Tensor& expected, double tolerance = 1e-4) {
  ASSERT_EQ(found.sizes(), expected.sizes());
  EXPECT_LE((found - expected).abs().max().item<double>(), tolerance) << found << expected;
}

class Family : public ::testing::TestWithParam<const char*> {};

TEST_P(Family, LogitsAgreeWithTheOriginal) {
  const auto folder = fixtures() / "hf" / GetParam();
  const auto io = SafetensorsFile::open(folder / "io.safetensors");
  const Checkpoint checkpoint = load_checkpoint(folder);
  expect_close(logits_of(checkpoint, io.tensor("pixels")), io.tensor("logits"), 1e-5);
}

// What users run against the definition in LibTorch's operators.
TEST_P(Family, MergesAlikeInKernelsOfOurs) {
  const auto folder = fixtures() / "hf" / GetParam();
  const auto io = SafetensorsFile::open(folder / "io.safetensors");
  const Checkpoint checkpoint = load_checkpoint(folder);
  ForwardOptions options;
  options.r = {3, 2};
  const at::Tensor ours = logits_of(checkpoint, io.tensor("pixels"), options);
  EXPECT_FALSE(at::allclose(ours, io.tensor("logits"), 1e-4, 1e-4)) << "or nothing merges";
  options.plain = true;
  expect_close(ours, logits_of(checkpoint, io.tensor("pixels"), options), 1e-5);
}

TEST_P(Family, PreprocessingAgreesWithTheOriginal) {
  const auto folder = fixtures() / "hf" / GetParam();
  const auto io = SafetensorsFile::open(folder / "io.safetensors");
  const PreprocessSpec spec = load_checkpoint(folder).preprocess;
  const at::Tensor image = io.tensor("image");
  Frame frame;
  frame.format = PixelFormat::kRgb;
  frame.height = static_cast<int32_t>(image.size(0));
  frame.width = static_cast<int32_t>(image.size(1));
  frame.planes[0] = {image.const_data_ptr<uint8_t>(), 3 * frame.width, image.nbytes()};
  at::Tensor out = at::empty({3, spec.height, spec.width});
  preprocess_to_planes(frame, spec, out.mutable_data_ptr<float>());
  const at::Tensor expected = io.tensor("processed");
  ASSERT_EQ(out.sizes(), expected.sizes());
  // timm resizes with PIL, whose bits we have. transformers resizes with torchvision, which rounds
  // once and not after each pass: one grey level apart in places, the same on average.
  const at::Tensor deviation = at::tensor(at::ArrayRef<float>(spec.std)).view({3, 1, 1});
  const at::Tensor apart = (out - expected).abs() * deviation / spec.rescale;
  const bool pil = std::string(GetParam()).rfind("timm", 0) == 0;
  EXPECT_LE(apart.max().item<double>(), pil ? 1e-3 : 1.01);
  EXPECT_LE(apart.mean().item<double>(), pil ? 1e-3 : 0.3);
}

INSTANTIATE_TEST_SUITE_P(Fixtures, Family, ::testing::ValuesIn(testing::kFamilies));

TEST(Logits, PositionsAreResampledAsTimmDoes) {
  const auto folder = fixtures() / "hf" / "timm_registers";
  const auto io = SafetensorsFile::open(folder / "io.safetensors");
  LoadOptions options;
  options.image_height = 48;
  options.image_width = 40;
  const Checkpoint checkpoint = load_checkpoint(folder, options);
  EXPECT_EQ(checkpoint.config.grid_cols(), 5);
  expect_close(logits_of(checkpoint, io.tensor("resized_pixels")), io.tensor("resized_logits"));
}

// Larger than the images that their pre-processing makes, and not square: transformers resamples
// positions in every forward, dinov2's without antialiasing.
TEST(Logits, PositionsOfDinov2AreResampledAsTransformersDoes) {
  for (const char* name : {"dinov2", "dinov2_with_registers"}) {
    SCOPED_TRACE(name);
    const auto folder = fixtures() / "hf" / name;
    const auto io = SafetensorsFile::open(folder / "io.safetensors");
    LoadOptions options;
    options.image_height = 40;
    options.image_width = 56;
    const Checkpoint checkpoint = load_checkpoint(folder, options);
    expect_close(logits_of(checkpoint, io.tensor("resized_pixels")), io.tensor("resized_logits"),
                 1e-5);
    EXPECT_EQ(checkpoint.preprocess.resize_short, 50);  // 40 for 32
  }
}

// Merged tokens count in the mean by their size, and not at all in the class token.
TEST(Logits, Dinov2PoolsTheClassTokenBesideTheMean) {
  const c10::InferenceMode inference;
  const auto folder = fixtures() / "hf" / "dinov2_with_registers";
  const auto io = SafetensorsFile::open(folder / "io.safetensors");
  const Checkpoint checkpoint = load_checkpoint(folder);
  const ViTWeights& weights = checkpoint.weights;
  ForwardOptions options;
  options.r = {6, 3};
  options.trace = true;
  const VisionTransformer model(checkpoint.config, weights);
  const ForwardOutput out = model.forward_pixels(io.tensor("pixels"), options);
  const BlockTrace& last = out.trace.back();
  ASSERT_EQ(last.x.size(1), 1 + 3 + 16 - 9);
  const at::Tensor tokens =
      at::layer_norm(last.x, {32}, weights.norm.weight, weights.norm.bias, 1e-6);
  const at::Tensor size = last.size.slice(1, 4).unsqueeze(-1);
  EXPECT_GT(size.max().item<double>(), 1);
  const at::Tensor mean = (tokens.slice(1, 4) * size).sum(1) / 16;
  const at::Tensor expected =
      at::linear(at::cat({tokens.select(1, 0), mean}, 1), weights.head.weight, weights.head.bias);
  expect_close(out.logits, expected, 1e-5);
}

// Where a key is missing, what transformers' configuration classes assume.
TEST(Logits, DefaultsAreTransformers) {
  ModelFolder vivit("vivit");
  vivit.config.erase("hidden_act");  // "gelu_fast"
  const auto io = SafetensorsFile::open(fixtures() / "hf" / "vivit" / "io.safetensors");
  const Checkpoint fast = load_checkpoint(vivit.write());
  EXPECT_EQ(fast.config.activation, Activation::kGeluTanh);
  expect_close(logits_of(fast, io.tensor("pixels")), io.tensor("logits"), 1e-5);
  ModelFolder videomae("videomae");  // its positions are computed, for any number of frames
  videomae.config.erase("num_frames");
  EXPECT_EQ(load_checkpoint(videomae.write()).config.frames, 16);
}

// timm builds a model for its pictures' size where `fixed_input_size` says so, else for its name's.
TEST(Logits, TimmsInputSizeCountsWhereItIsFixed) {
  ModelFolder model("timm_registers");  // "vit_tiny_patch16_224"
  model.config["model_args"].erase("img_size");
  EXPECT_EQ(load_checkpoint(model.write()).config.image_height, 32);
  model.config["pretrained_cfg"]["fixed_input_size"] = false;
  EXPECT_EQ(load_checkpoint(model.write()).config.image_height, 224);
}

Json parity_args() {
  return {{"img_size", 64}, {"patch_size", 8}, {"embed_dim", 64}, {"depth", 4}, {"num_heads", 4}};
}

// The parity files' models as folders: timm 0.4.12's names.
struct ParityModel {
  const char* file;
  Json config;
  bool prop_attn;
};

class ParityFolder : public ::testing::TestWithParam<ParityModel> {};

TEST_P(ParityFolder, LogitsAgreeWithTheReference) {
  const std::string file = std::string(GetParam().file) + ".safetensors";
  TOME_NEEDS_SHARED_DATA("parity/" + file);
  const auto io = SafetensorsFile::open(testing::shared_data() / "parity" / file);
  ModelFolder model(GetParam().config,
                    testing::read_tensors(testing::shared_data() / "parity" / file, "weights."));
  const Checkpoint checkpoint = load_checkpoint(model.write());
  EXPECT_EQ(checkpoint.config.classes, 10);
  EXPECT_EQ(checkpoint.config.prop_attn_auto, GetParam().prop_attn);
  expect_close(logits_of(checkpoint, io.tensor("input")), io.tensor("unpatched.logits"));
}

INSTANTIATE_TEST_SUITE_P(Models, ParityFolder,
                         ::testing::Values(ParityModel{"vit_tiny",
                                                       {{"architecture", "vit_tiny_patch16_224"},
                                                        {"model_args", parity_args()}},
                                                       true},
                                           ParityModel{
                                               "vit_tiny_distilled",
                                               {{"architecture", "deit_tiny_distilled_patch16_224"},
                                                {"model_args", parity_args()}},
                                               true},
                                           ParityModel{"vit_tiny_mae_pool",
                                                       {{"architecture", "vit_tiny_patch16_224"},
                                                        {"global_pool", "avg"},
                                                        {"model_args", parity_args()}},
                                                       false}));

Json mae_st_config() {
  return {{"model_type", "mae_st"}, {"img_size", 32},  {"patch_size", 8}, {"num_frames", 8},
          {"t_patch_size", 2},      {"embed_dim", 64}, {"depth", 4},      {"num_heads", 4},
          {"num_classes", 10}};
}

TEST(Logits, MaeStAgreesWithItsOwnCodeAndMerged) {
  TOME_NEEDS_SHARED_DATA("parity/video_tiny.safetensors");
  const auto path = testing::shared_data() / "parity" / "video_tiny.safetensors";
  const auto io = SafetensorsFile::open(path);
  ModelFolder model(mae_st_config(), testing::read_tensors(path, "weights."));
  const Checkpoint checkpoint = load_checkpoint(model.write());
  EXPECT_EQ(checkpoint.config.tokens(), 65);
  EXPECT_FALSE(checkpoint.config.prop_attn_auto);
  EXPECT_EQ(checkpoint.preprocess.mean, (std::array<float, 3>{0.45F, 0.45F, 0.45F}));
  EXPECT_EQ(checkpoint.preprocess.std, (std::array<float, 3>{0.225F, 0.225F, 0.225F}));
  EXPECT_EQ(checkpoint.preprocess.interpolation, Interpolation::kBilinear);
  expect_close(logits_of(checkpoint, io.tensor("input")), io.tensor("mae_st_unmerged.logits"));
  for (const int64_t r : {4, 8, 14}) {
    ForwardOptions options;  // proportional attention stays on auto, which is off here
    options.partition = Partition::kAlternating;  // the reference's; the default for clips is not
    options.r.assign(4, r);
    expect_close(logits_of(checkpoint, io.tensor("input"), options),
                 io.tensor("r" + std::to_string(r) + "_prop0.logits"));
  }
}

TEST(Logits, MaeStHasTubeletsOfTwoFramesUnlessItSaysOtherwise) {
  TOME_NEEDS_SHARED_DATA("parity/video_tiny.safetensors");
  const auto path = testing::shared_data() / "parity" / "video_tiny.safetensors";
  const auto io = SafetensorsFile::open(path);
  ModelFolder model(mae_st_config(), testing::read_tensors(path, "weights."));
  model.config.erase("t_patch_size");
  expect_close(logits_of(load_checkpoint(model.write()), io.tensor("input")),
               io.tensor("mae_st_unmerged.logits"));
}

TEST(Logits, MaeStWithOneTableOfPositions) {
  TOME_NEEDS_SHARED_DATA("parity/video_tiny.safetensors");
  const auto path = testing::shared_data() / "parity" / "video_tiny.safetensors";
  const auto io = SafetensorsFile::open(path);
  ModelFolder model(mae_st_config(), testing::read_tensors(path, "weights."));
  auto& tensors = model.tensors;
  tensors["pos_embed"] = at::cat(
      {tensors["pos_embed_class"], tensors["pos_embed_spatial"].repeat({1, 4, 1}) +
                                       tensors["pos_embed_temporal"].repeat_interleave(16, 1)},
      1);
  for (const char* part : {"pos_embed_class", "pos_embed_spatial", "pos_embed_temporal"}) {
    tensors.erase(part);
  }
  model.config["sep_pos_embed"] = false;
  expect_close(logits_of(load_checkpoint(model.write()), io.tensor("input")),
               io.tensor("mae_st_unmerged.logits"));
}

}  // namespace
}  // namespace tome
