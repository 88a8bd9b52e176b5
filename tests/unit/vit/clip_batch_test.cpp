// Note [A still clip among moving ones]: each gives what it gives alone.
#include "vit/clip_batch.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <vector>

#include "vit_fixtures.h"

namespace tome {
namespace {

constexpr int64_t kClipFrames = 8;

/// Patch rows of three clips: one that stands still between two that do not.
at::Tensor three_clips() {
  at::manual_seed(6);
  const at::Tensor moving = at::randn({2, 3, kClipFrames, 64, 64});
  const at::Tensor still = at::randn({1, 3, 1, 64, 64}).repeat({1, 1, kClipFrames, 1, 1});
  return patchify(at::cat({moving.narrow(0, 0, 1), still, moving.narrow(0, 1, 1)}), 8);
}

void expect_each_as_alone(const VisionTransformer& model, const at::Tensor& patches,
                          const ForwardOptions& options, const ClipBatchOutput& together) {
  for (int64_t i = 0; i < patches.size(0); ++i) {
    const auto place = static_cast<size_t>(i);
    const ForwardOutput alone = model.forward(patches.narrow(0, i, 1), options);
    EXPECT_TRUE(at::allclose(together.logits[i], alone.logits[0], 1e-4, 1e-4)) << i;
    EXPECT_EQ(together.tokens_in, alone.tokens_in);
    EXPECT_EQ(together.tokens_out[place], alone.tokens_out) << i;
    EXPECT_EQ(together.r[place], alone.r) << i;
  }
}

TEST(ClipBatch, RequestsThatStandStillKeepFewerTokens) {
  const c10::InferenceMode inference;
  const VisionTransformer model = testing::random_model(testing::parity_config());
  const at::Tensor patches = three_clips();
  ForwardOptions options;
  options.static_threshold = 0;
  options.r = {32, 32, 32, 32};
  const ClipBatchOutput out = forward_clips(model, patches, options);
  // r is asked for 8 x 64 patches; of the still clip's, an eighth are left, and of r as many.
  EXPECT_EQ(out.tokens_in, 1 + 512);
  EXPECT_EQ(out.tokens_out, (std::vector<int64_t>{1 + 512 - 128, 1 + 64 - 16, 1 + 512 - 128}));
  const std::vector<int64_t> moving(4, 32), still(4, 4);
  EXPECT_EQ(out.r, (std::vector<std::vector<int64_t>>{moving, still, moving}));
  expect_each_as_alone(model, patches, options, out);
}

TEST(ClipBatch, OneGroupWhereNothingIsAskedOfStillPatches) {
  const c10::InferenceMode inference;
  const VisionTransformer model = testing::random_model(testing::parity_config());
  const at::Tensor patches = three_clips();
  ForwardOptions options;
  options.r = {32, 0, 16};
  const ClipBatchOutput out = forward_clips(model, patches, options);
  EXPECT_EQ(out.tokens_out, std::vector<int64_t>(3, 1 + 512 - 48));
  EXPECT_EQ(out.r, std::vector<std::vector<int64_t>>(3, {32, 0, 16, 0}));
  expect_each_as_alone(model, patches, options, out);
}

}  // namespace
}  // namespace tome
