// timm's folders whose position table is that of another image than config.json's.
#include <c10/core/InferenceMode.h>
#include <sys/resource.h>

#include <cmath>

#include "checkpoint/checkpoint.h"
#include "checkpoint_test_util.h"
#include "shared_data.h"
#include "vit/model.h"

namespace tome {
namespace {

using testing::ModelFolder;
using Size = std::array<int64_t, 2>;  // height and width

LoadOptions asking(const Size& size) {
  LoadOptions options;
  options.image_height = size[0];
  options.image_width = size[1];
  return options;
}

// As timm writes it for a model made with `img_size`.
void set_size(nlohmann::json& config, const Size& size) {
  config["model_args"]["img_size"] = size;
  config["pretrained_cfg"]["input_size"] = {3, size[0], size[1]};
}

void expect_same(const Checkpoint& found, const Checkpoint& expected) {
  EXPECT_EQ(found.config.image_height, expected.config.image_height);
  EXPECT_EQ(found.config.image_width, expected.config.image_width);
  EXPECT_EQ(found.preprocess.height, expected.preprocess.height);
  EXPECT_EQ(found.preprocess.resize_short, expected.preprocess.resize_short);
  EXPECT_EQ(found.weights.pos_embed.size(0), found.config.tokens());
  EXPECT_TRUE(at::equal(found.weights.pos_embed, expected.weights.pos_embed));
  ASSERT_EQ(found.weights.prefix.defined(), expected.weights.prefix.defined());
  if (!found.weights.prefix.defined()) return;
  EXPECT_TRUE(at::equal(found.weights.prefix, expected.weights.prefix));
}

// fixtures/make_hf_fixtures.py: timm's own checkpoint_filter_fn put the weights into a model of
// that size.
TEST(StoredPositions, AreResampledAsTimmDoes) {
  ModelFolder model("timm_registers");
  const auto io = SafetensorsFile::open(testing::fixtures() / "hf/timm_registers/io.safetensors");
  const auto expect_logits = [&] {
    const Checkpoint loaded = load_checkpoint(model.write());
    EXPECT_EQ(loaded.config.grid_rows(), 6);
    EXPECT_EQ(loaded.config.grid_cols(), 5);
    EXPECT_EQ(loaded.preprocess.height, 48);
    EXPECT_EQ(loaded.preprocess.width, 40);
    const c10::InferenceMode inference;
    const at::Tensor logits = VisionTransformer(loaded.config, loaded.weights)
                                  .forward_pixels(io.tensor("resized_pixels"), {})
                                  .logits;
    EXPECT_TRUE(at::allclose(logits, io.tensor("resized_logits"), 0, 1e-4));
  };
  model.config["model_args"]["img_size"] = {48, 40};
  expect_logits();
  model.config["model_args"].erase("img_size");
  model.config["pretrained_cfg"]["input_size"] = {3, 48, 40};
  expect_logits();
}

// Models of 4x4 patches; what their tables have rows for.
struct Stored {
  const char* name;
  int64_t rows;  // of prefix tokens
  std::function<void(ModelFolder&)> change;
  const char* fixture = "timm_registers";
};

void PrintTo(const Stored& stored, std::ostream* out) { *out << stored.name; }

void with_rows_for_registers(ModelFolder& model) {
  model.config["model_args"]["no_embed_class"] = false;
  model.tensors["pos_embed"] = at::cat({at::randn({1, 4, 32}), model.tensors["pos_embed"]}, 1);
}

void without_class_token(ModelFolder& model) {
  model.config["model_args"]["class_token"] = false;
  model.config["model_args"]["global_pool"] = "avg";
  model.config["global_pool"] = "avg";
  model.config["model_args"]["fc_norm"] = false;
  model.config["model_args"].erase("reg_tokens");
  model.tensors.erase("cls_token");
  model.tensors.erase("reg_token");
}

void distilled(ModelFolder& model) {
  model.config["architecture"] = "deit_tiny_distilled_patch16_224";
  model.config["model_args"].erase("reg_tokens");
  model.config["model_args"].erase("no_embed_class");
  model.tensors.erase("reg_token");
  model.tensors["dist_token"] = at::randn({1, 1, 32});
  model.tensors["head_dist.weight"] = at::randn({5, 32});
  model.tensors["head_dist.bias"] = at::randn({5});
  model.tensors["pos_embed"] = at::cat({at::randn({1, 2, 32}), model.tensors["pos_embed"]}, 1);
}

class StoredPositionsOf : public ::testing::TestWithParam<Stored> {
 protected:
  StoredPositionsOf() : model_(GetParam().fixture) { GetParam().change(model_); }

  ModelFolder model_;
};

TEST_P(StoredPositionsOf, LoadAsIfTheSizeHadBeenAskedFor) {
  const at::Tensor stored = model_.tensors.at("pos_embed").clone();
  ASSERT_EQ(stored.size(1), GetParam().rows + 16);
  for (const Size& size : {Size{48, 48}, Size{24, 24}, Size{24, 64}, Size{72, 16}, Size{8, 8}}) {
    SCOPED_TRACE(::testing::PrintToString(size));
    set_size(model_.config, {32, 32});
    const Checkpoint asked = load_checkpoint(model_.write(), asking(size));
    set_size(model_.config, size);
    const Checkpoint loaded = load_checkpoint(model_.write());
    expect_same(loaded, asked);
    // Rows of prefix tokens are the file's.
    EXPECT_TRUE(
        at::equal(loaded.weights.pos_embed.slice(0, loaded.config.prefix_tokens() - GetParam().rows,
                                                 loaded.config.prefix_tokens()),
                  stored[0].slice(0, 0, GetParam().rows)));
    const testing::TemporaryFolder saved;
    save_checkpoint(loaded, saved.path());
    expect_same(load_checkpoint(saved.path()), loaded);
  }
}

// Not by way of the configuration's size.
TEST_P(StoredPositionsOf, GoToTheSizeAskedForAtOnce) {
  set_size(model_.config, {32, 32});
  const Checkpoint own = load_checkpoint(model_.write());
  const Checkpoint larger = load_checkpoint(model_.path(), asking({64, 40}));
  set_size(model_.config, {48, 48});
  expect_same(load_checkpoint(model_.write(), asking({32, 32})), own);
  expect_same(load_checkpoint(model_.path(), asking({64, 40})), larger);
}

TEST_P(StoredPositionsOf, MustBeThoseOfASquare) {
  const at::Tensor stored = model_.tensors.at("pos_embed").clone();
  set_size(model_.config, {48, 40});
  const int64_t rows = GetParam().rows;
  const auto refuses = [&](const at::Tensor& table, int64_t patches = 30) {
    const std::string expected = "expected [1, " + std::to_string(rows + patches) + ", 32]";
    model_.tensors["pos_embed"] = table;
    std::string shape = "pos_embed has shape [";
    for (const int64_t size : table.sizes()) shape += std::to_string(size) + ", ";
    testing::expect_error([&] { load_checkpoint(model_.write()); }, ErrorKind::kFormat,
                          {shape.substr(0, shape.size() - 2) + "]", expected});
  };
  const auto table = [](int64_t count) { return at::zeros({1, count, 32}, at::kHalf); };
  for (const int64_t patches : {2, 15, 17, 20, 29, 31, 35}) refuses(table(rows + patches));
  for (int64_t count = 0; count <= rows; ++count) refuses(table(count));
  refuses(table(rows + 257 * 257));  // more than any model has
  refuses(at::cat({stored, stored}, 2), 16);
  refuses(at::cat({stored, stored}, 0), 16);
  refuses(stored.unsqueeze(0));
  refuses(stored[0]);
}

TEST_P(StoredPositionsOf, AreCheckedAsAllTensorsAre) {
  const at::Tensor stored = model_.tensors.at("pos_embed").clone();
  set_size(model_.config, {48, 40});
  const auto refuses = [&](const at::Tensor& table, const std::string& word) {
    model_.tensors["pos_embed"] = table;
    testing::expect_error([&] { load_checkpoint(model_.write()); }, ErrorKind::kFormat,
                          {"pos_embed", word});
  };
  refuses(stored.to(at::kInt), "of type Int");
  at::Tensor spoilt = stored.clone();
  spoilt.view(-1)[7] = std::nan("");
  refuses(spoilt, "holds nan at place 7");
  model_.tensors.erase("pos_embed");
  testing::expect_error([&] { load_checkpoint(model_.write()); }, ErrorKind::kFormat,
                        {"pos_embed is missing"});
}

INSTANTIATE_TEST_SUITE_P(Models, StoredPositionsOf,
                         ::testing::Values(Stored{"class_token", 1, [](ModelFolder&) {},
                                                  "timm_pre_norm"},
                                           Stored{"no_embed_class", 0, [](ModelFolder&) {}},
                                           Stored{"registers", 4, with_rows_for_registers},
                                           Stored{"no_class_token", 0, without_class_token},
                                           Stored{"distilled", 2, distilled}),
                         [](const auto& each) { return std::string(each.param.name); });

// Keys' cubic with a = -0.5, as wide as the step between new samples where those are fewer.
std::vector<double> bicubic(const std::vector<double>& from, size_t count) {
  const double step = static_cast<double>(from.size()) / static_cast<double>(count);
  const double wide = std::max(step, 1.0);
  const auto cubic = [](double x) {
    x = std::abs(x);
    if (x < 1) return 1.5 * x * x * x - 2.5 * x * x + 1;
    return x < 2 ? -0.5 * x * x * x + 2.5 * x * x - 4 * x + 2 : 0;
  };
  std::vector<double> out;
  for (size_t i = 0; i < count; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * step;
    double sum = 0;
    double weights = 0;
    for (size_t j = 0; j < from.size(); ++j) {
      const double weight = cubic((static_cast<double>(j) + 0.5 - centre) / wide);
      sum += weight * from[j];
      weights += weight;
    }
    out.push_back(sum / weights);
  }
  return out;
}

// Channel 0 of `table` is x's values at each x plus, channel 1, times y's at each y.
TEST(StoredPositions, AreResampledByTheDefinition) {
  ModelFolder model("timm_pre_norm");
  const std::vector<double> x{0.5, -1, 2, 0.25};
  const std::vector<double> y{1, 3, -2, 0.5};
  at::Tensor& table = model.tensors.at("pos_embed");
  for (int64_t cell = 0; cell < 16; ++cell) {
    table[0][1 + cell][0] = x[cell % 4] + y[cell / 4];
    table[0][1 + cell][1] = x[cell % 4] * y[cell / 4];
  }
  for (const Size& size : {Size{56, 24}, Size{16, 80}}) {
    set_size(model.config, size);
    const at::Tensor found = load_checkpoint(model.write()).weights.pos_embed;
    const auto rows = bicubic(y, size[0] / 8);
    const auto columns = bicubic(x, size[1] / 8);
    for (size_t cell = 0; cell < rows.size() * columns.size(); ++cell) {
      const double at_x = columns[cell % columns.size()];
      const double at_y = rows[cell / columns.size()];
      const auto place = static_cast<int64_t>(1 + cell);
      EXPECT_NEAR(found[place][0].item<double>(), at_x + at_y, 1e-5);
      EXPECT_NEAR(found[place][1].item<double>(), at_x * at_y, 1e-5);
    }
  }
}

TEST(StoredPositions, OfARectangleFitThatImageAlone) {
  ModelFolder model("timm_average");  // 4x6 patches
  load_checkpoint(model.write());
  set_size(model.config, {40, 40});
  testing::expect_error([&] { load_checkpoint(model.write()); }, ErrorKind::kFormat,
                        {"pos_embed", "[1, 24, 32]", "[1, 25, 32]"});
}

TEST(StoredPositions, OfOtherFamiliesMustFit) {
  ModelFolder vit("vit");
  vit.config["image_size"] = 48;
  testing::expect_error([&] { load_checkpoint(vit.write()); }, ErrorKind::kFormat,
                        {"position_embeddings", "[1, 17, 32]", "[1, 37, 32]"});
  const testing::TemporaryFolder ours;
  save_checkpoint(load_checkpoint(testing::fixtures() / "hf/timm_pre_norm"), ours.path());
  auto config = nlohmann::json::parse(testing::read_file(ours.path() / "config.json"));
  config["image_size"] = {48, 48};
  testing::write_file(ours.path() / "config.json", config.dump());
  testing::expect_error([&] { load_checkpoint(ours.path()); }, ErrorKind::kFormat,
                        {"pos_embed", "[1, 17, 32]", "[1, 37, 32]"});
}

TEST(StoredPositions, OfARealModel) {
  TOME_NEEDS_SHARED_DATA("models/vit_tiny_patch16_224");
  const auto real = testing::shared_data() / "models" / "vit_tiny_patch16_224";
  const testing::TemporaryFolder folder;
  std::filesystem::create_symlink(std::filesystem::absolute(real / "model.safetensors"),
                                  folder.path() / "model.safetensors");
  auto config = nlohmann::json::parse(testing::read_file(real / "config.json"));
  config["pretrained_cfg"]["input_size"] = {3, 384, 384};
  testing::write_file(folder.path() / "config.json", config.dump());
  const Checkpoint loaded = load_checkpoint(folder.path());
  EXPECT_EQ(loaded.config.tokens(), 577);
  expect_same(loaded, load_checkpoint(real, asking({384, 384})));
}

// The table becomes 16000 columns of 4 rows: with its own 256 rows that would be half a GiB.
TEST(StoredPositions, OfASquareBecomeALineInLittleMemory) {
  ModelFolder model("timm_registers");
  model.config["model_args"]["patch_size"] = 1;
  model.tensors["patch_embed.proj.weight"] = at::zeros({32, 3, 1, 1});
  model.tensors["pos_embed"] = at::ones({1, 65536, 32}, at::kHalf);
  set_size(model.config, {256, 256});
  const testing::TemporaryFolder folder;
  testing::write_file(folder.path() / "config.json", model.config.dump());
  set_size(model.config, {4, 16000});
  std::filesystem::create_symlink(model.write() / "model.safetensors",
                                  folder.path() / "model.safetensors");
  rusage before{};
  ::getrusage(RUSAGE_SELF, &before);
  const Checkpoint loaded = load_checkpoint(model.path());
  const Checkpoint asked = load_checkpoint(folder.path(), asking({4, 16000}));
  rusage after{};
  ::getrusage(RUSAGE_SELF, &after);
  EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 256 * 1024) << "KiB";
  EXPECT_EQ(loaded.weights.pos_embed.size(0), 4 + 64000);
  expect_same(loaded, asked);
}

}  // namespace
}  // namespace tome
