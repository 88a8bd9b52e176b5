// The forward pass against the numbers of the reference implementation of Token Merging.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "checkpoint/safetensors.h"
#include "merging/schedule.h"
#include "shared_data.h"
#include "vit/model.h"
#include "vit_fixtures.h"

namespace tome {
namespace {

using testing::parity_model;

struct ModelCase {
  const char* file;
  Pooling pooling;
  bool distilled;
};

class ImageParity : public ::testing::TestWithParam<ModelCase> {
 protected:
  static void expect_case(const SafetensorsFile& file, const VisionTransformer& model,
                          const nlohmann::json& about) {
    const std::string key = about["key"];
    SCOPED_TRACE(key);
    ForwardOptions options;
    options.r = about["r_per_layer"].get<std::vector<int64_t>>();
    options.prop_attn = about["prop_attn"].get<bool>() ? PropAttn::kOn : PropAttn::kOff;
    options.track_source = options.trace = true;
    const ForwardOutput out = model.forward_pixels(file.tensor("input"), options);
    EXPECT_TRUE(at::allclose(out.logits, file.tensor(key + ".logits"), 1e-4, 1e-4));
    for (size_t i = 0; i < out.trace.size(); ++i) {
      const std::string block = key + ".block" + std::to_string(i);
      if (!file.has(block + ".x")) continue;
      EXPECT_TRUE(at::allclose(out.trace[i].x, file.tensor(block + ".x"), 1e-4, 1e-4)) << block;
      EXPECT_TRUE(at::allclose(out.trace[i].metric, file.tensor(block + ".metric"), 1e-4, 1e-4));
      if (file.has(block + ".size")) {
        EXPECT_TRUE(at::equal(out.trace[i].size, file.tensor(block + ".size").squeeze(-1)));
      }
    }
    if (file.has(key + ".source")) {
      EXPECT_TRUE(at::equal(out.source, file.tensor(key + ".source").argmax(1)));
    }
    options.trace = false;  // now by the CPU's own kernels, where it has them
    const ForwardOutput fast = model.forward_pixels(file.tensor("input"), options);
    EXPECT_TRUE(at::allclose(fast.logits, file.tensor(key + ".logits"), 1e-4, 1e-4));
    EXPECT_TRUE(at::equal(fast.source, out.source));
  }
};

TEST_P(ImageParity, LogitsBlocksSizesAndSources) {
  const std::string name = GetParam().file;
  TOME_NEEDS_SHARED_DATA("parity/" + name + ".safetensors");
  const auto file =
      SafetensorsFile::open(testing::shared_data() / "parity" / (name + ".safetensors"));
  const VisionTransformer model = parity_model(file, GetParam().pooling, GetParam().distilled);
  std::ifstream json(testing::shared_data() / "parity" / (name + ".json"));
  const auto cases = nlohmann::json::parse(json);
  ASSERT_GE(cases.size(), 8U);
  {  // both ways through the plain forward's linear layers: packed without gradients, ATen's with
    const c10::InferenceMode inference;
    EXPECT_TRUE(at::allclose(model.forward_pixels(file.tensor("input")).logits,
                             file.tensor("unpatched.logits"), 1e-4, 1e-4));
    for (const auto& about : cases) expect_case(file, model, about);
  }
  for (const auto& about : cases) expect_case(file, model, about);
}

INSTANTIATE_TEST_SUITE_P(Models, ImageParity,
                         ::testing::Values(ModelCase{"vit_tiny", Pooling::kToken, false},
                                           ModelCase{"vit_tiny_distilled", Pooling::kToken, true},
                                           ModelCase{"vit_tiny_mae_pool", Pooling::kMean, false}),
                         [](const auto& info) { return std::string(info.param.file); });

}  // namespace
}  // namespace tome
