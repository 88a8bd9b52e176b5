// Tokens before block 0, by their definition in docs/clips.md: an image model runs all frames of a
// clip at once, with one class token; a clip model has the tubelets it was made for.
#include "vit/token_geometry.h"

#include <gtest/gtest.h>

#include "vit_fixtures.h"

namespace tome {
namespace {

using testing::on_clips;
using testing::parity_config;

TEST(TokenGeometry, OfAnImageModel) {
  const TokenGeometry geometry = token_geometry(parity_config(), 1);  // 8 x 8 patches
  EXPECT_EQ(geometry.depth, 4);
  EXPECT_EQ(geometry.tokens, 1 + 64);
  EXPECT_EQ(geometry.protected_tokens, 1);
  EXPECT_EQ(geometry.dim, 64);
  EXPECT_EQ(geometry.mlp_hidden, 256);
}

TEST(TokenGeometry, OfAnImageModelOnAClip) {
  ViTConfig config = parity_config(Pooling::kToken, true);
  config.registers = 4;
  const TokenGeometry geometry = token_geometry(config, 8);
  EXPECT_EQ(geometry.tokens, 2 + 4 + 8 * 64);
  EXPECT_EQ(geometry.protected_tokens, 2 + 4);
}

TEST(TokenGeometry, OfAClipModelWhateverItIsGiven) {
  const ViTConfig config = on_clips(parity_config(), 4);  // two tubelets, no class token
  for (const int64_t frames : {1, 4, 100}) {
    const TokenGeometry geometry = token_geometry(config, frames);
    EXPECT_EQ(geometry.tokens, 2 * 64);
    EXPECT_EQ(geometry.protected_tokens, 0);
  }
}

}  // namespace
}  // namespace tome
