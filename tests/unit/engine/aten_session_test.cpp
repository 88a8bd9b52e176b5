// What a batch asks of the session on LibTorch reaches the model.
#include "engine/aten_session.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <vector>

#include "tiny_model.h"

namespace tome::testing {
namespace {

TEST(AtenSession, ProportionalAttentionIsTheBatchs) {
  const Checkpoint tiny = tiny_checkpoint();
  const auto model = std::make_shared<const VisionTransformer>(tiny.config, tiny.weights);
  AtenSession session(model, tiny.preprocess);
  auto generator = at::make_generator<at::CPUGeneratorImpl>(5);
  const at::Tensor rows = at::randn({16, 3 * 8 * 8}, generator, at::TensorOptions());
  BatchInput input;
  input.batch = 1;
  input.frames = {std::make_shared<const Patches>(Patches{rows})};
  ForwardOptions options;
  options.r = input.r = {4, 4, 4};
  std::vector<std::vector<float>> logits;
  for (const PropAttn wish : {PropAttn::kOn, PropAttn::kOff}) {
    options.prop_attn = input.prop_attn = wish;
    logits.push_back(session.forward(input).logits);
    const at::Tensor expected = model->forward(rows.view({1, 1, 16, -1}), options).logits;
    ASSERT_EQ(logits.back().size(), 5U);
    for (int64_t c = 0; c < 5; ++c) {
      EXPECT_NEAR(logits.back()[static_cast<size_t>(c)], expected[0][c].item<float>(), 1e-5);
    }
  }
  double most = 0;
  for (size_t c = 0; c < 5; ++c)
    most = std::max(most, std::fabs(double{logits[0][c]} - logits[1][c]));
  EXPECT_GT(most, 1e-3);
}

}  // namespace
}  // namespace tome::testing
