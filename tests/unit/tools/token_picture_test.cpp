// Pictures of what merged, against hand-made maps of tokens.
#include "token_picture.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <vector>

#include "media/frame.h"
#include "media/preprocess.h"

namespace tome::cli {
namespace {

using at::indexing::Slice;

/// Bytes [frames, rows * patch, cols * patch, 3]: each patch of one grey, in reading order.
at::Tensor grey_patches(const std::vector<int64_t>& greys, int64_t frames, int64_t rows,
                        int64_t cols, int64_t patch) {
  return at::tensor(greys)
      .reshape({frames, rows, cols, 1})
      .repeat_interleave(patch, 1)
      .repeat_interleave(patch, 2)
      .expand({-1, -1, -1, 3})
      .to(at::kByte)
      .contiguous();
}

TokenMap map_of(const std::vector<int64_t>& tokens, at::IntArrayRef shape, int64_t tubelet,
                int64_t patch) {
  return {at::tensor(tokens).reshape(shape), tubelet, patch};
}

/// The patch at (row, col) of a frame without its outermost pixels, which edges may take.
at::Tensor inside(const at::Tensor& frame, int64_t row, int64_t col, int64_t patch) {
  return frame.index({Slice(row * patch + 1, (row + 1) * patch - 1),
                      Slice(col * patch + 1, (col + 1) * patch - 1)});
}

bool is_grey(const at::Tensor& pixels, int64_t grey) { return pixels.eq(grey).all().item<bool>(); }

TEST(SeenPixels, AreTheFramesOwn) {
  constexpr int kWidth = 24, kHeight = 16;
  at::Tensor rgb = at::arange(kWidth * kHeight * 3).remainder(251).to(at::kByte);
  rgb = rgb.reshape({kHeight, kWidth, 3}).contiguous();
  Frame frame;
  frame.format = PixelFormat::kRgb;
  frame.width = kWidth;
  frame.height = kHeight;
  frame.planes[0] = {rgb.mutable_data_ptr<uint8_t>(), kWidth * 3, kWidth * kHeight * 3};
  PreprocessSpec spec;
  spec.width = kWidth;
  spec.height = kHeight;
  spec.crop_mode = CropMode::kSquash;
  spec.mean = {0.485F, 0.456F, 0.406F};
  spec.std = {0.229F, 0.224F, 0.225F};
  ViTConfig config;
  config.patch = 8;
  config.image_width = kWidth;
  config.image_height = kHeight;
  at::Tensor patches = at::empty({1, 6, 3 * 8 * 8});
  preprocess_to_patches(frame, spec, 8, patches.mutable_data_ptr<float>());

  const at::Tensor seen = seen_pixels(patches, config, spec);
  EXPECT_TRUE(at::equal(seen[0], rgb.flip(2)));
}

TEST(DrawTokens, MergedPatchesTakeTheirMeanAndLoneOnesStay) {
  const at::Tensor pixels = grey_patches({10, 40, 90, 200}, 1, 2, 2, 4);
  const at::Tensor drawn = draw_tokens(pixels, map_of({7, 7, 2, 3}, {1, 2, 2}, 1, 4), 1)[0];
  EXPECT_TRUE(is_grey(inside(drawn, 0, 0, 4), 25));
  EXPECT_TRUE(is_grey(inside(drawn, 0, 1, 4), 25));
  // To their last pixels: no edge is drawn into a patch that is alone.
  EXPECT_TRUE(at::equal(drawn.index({Slice(4, 8)}), pixels[0].index({Slice(4, 8)})));
}

TEST(DrawTokens, EdgesAreWhereTokensMeet) {
  const at::Tensor pixels = grey_patches({100, 100, 100, 100, 100, 100}, 1, 2, 3, 4);
  const at::Tensor drawn =
      draw_tokens(pixels, map_of({0, 0, 1, 0, 1, 1}, {1, 2, 3}, 1, 4), 1)[0].to(at::kLong);
  const auto edge = [&](int64_t y, int64_t x) { return !is_grey(drawn[y][x], 100); };
  EXPECT_FALSE(edge(2, 3) || edge(2, 4)) << "between two patches of one token";
  EXPECT_FALSE(edge(3, 1) || edge(4, 1)) << "between two patches of one token, downwards";
  EXPECT_TRUE(edge(2, 7) && edge(2, 8)) << "on both sides of two tokens' border";
  EXPECT_TRUE(edge(3, 5) && edge(4, 5)) << "of a border that lies";
  EXPECT_TRUE(edge(0, 1) && edge(7, 1) && edge(1, 0) && edge(6, 11)) << "at the picture's end";
  EXPECT_FALSE(at::equal(drawn[2][7], drawn[2][8])) << "each in the colour of its token";
  EXPECT_TRUE(at::equal(drawn[0][1], drawn[2][7])) << "a token's edges have one colour";
}

TEST(DrawTokens, TokensOfClipsReachThroughTime) {
  // Two tubelets of two frames; the left patch is one token throughout.
  const at::Tensor pixels = grey_patches({10, 5, 20, 6, 30, 7, 40, 8}, 4, 1, 2, 4);
  const at::Tensor drawn = draw_tokens(pixels, map_of({0, 1, 0, 2}, {2, 1, 2}, 2, 4), 1);
  for (int64_t t = 0; t < 4; ++t) {
    EXPECT_TRUE(is_grey(inside(drawn[t], 0, 0, 4), 25)) << t;
    EXPECT_TRUE(is_grey(inside(drawn[t], 0, 1, 4), 5 + t)) << t;
  }
}

TEST(DrawTokens, EdgesStayOnePixelWhenEnlarged) {
  const at::Tensor pixels = grey_patches({100, 100, 100, 100}, 1, 2, 2, 4);
  const at::Tensor drawn = draw_tokens(pixels, map_of({0, 0, 1, 1}, {1, 2, 2}, 1, 4), 3)[0];
  ASSERT_EQ(drawn.sizes(), (std::vector<int64_t>{24, 24, 3}));
  EXPECT_TRUE(is_grey(drawn[10][12], 100));
  EXPECT_FALSE(is_grey(drawn[11][12], 100));
  EXPECT_FALSE(is_grey(drawn[12][12], 100));
  EXPECT_TRUE(is_grey(drawn[13][12], 100));
}

TEST(LargestToken, CountsPatches) {
  EXPECT_EQ(largest_token(map_of({4, 4, 0, 4, 1, 0}, {1, 2, 3}, 1, 16)), 3);
  EXPECT_EQ(largest_token(map_of({0, 1, 2, 3}, {1, 2, 2}, 1, 16)), 1);
}

}  // namespace
}  // namespace tome::cli
