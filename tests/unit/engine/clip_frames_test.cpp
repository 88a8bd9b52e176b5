// How long clips may be.
#include "engine/clip_frames.h"

#include <gtest/gtest.h>

#include <string>

#include "c_api_fixture.h"
#include "tome_error.h"

namespace tome::testing {
namespace {

TEST(ClipFrames, ImageModelsTakeAsManyAsAskedFor) {
  const ViTConfig vit;  // 224 x 224 in patches of 16: 196 tokens
  EXPECT_EQ(clip_frames(vit, 0), 1);
  EXPECT_EQ(clip_frames(vit, 1), 1);
  EXPECT_EQ(clip_frames(vit, 16), 16);
}

TEST(ClipFrames, ClipModelsSayThemselves) {
  ViTConfig vit;
  vit.frames = 16;
  vit.tubelet = 2;
  EXPECT_EQ(clip_frames(vit, 0), 16);
  EXPECT_EQ(clip_frames(vit, 1'000'000), 16);
}

TEST(ClipFrames, AClipHasNoMoreTokensThanAModelMay) {
  const ViTConfig vit;
  EXPECT_EQ(clip_frames(vit, 334), 334);  // 334 x 196 = 65464 of 65536
  try {
    clip_frames(vit, 335);
    FAIL() << "65660 tokens";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kSettings);
    EXPECT_EQ(std::string(error.what()).rfind("clip-length: found 335", 0), 0U) << error.what();
    EXPECT_NE(std::string(error.what()).find("at most 334"), std::string::npos) << error.what();
  }
}

TEST(ClipFrames, AClipHasNoMoreFramesThanAModelMay) {
  ViTConfig vit;
  vit.image_height = vit.image_width = vit.patch;  // one token
  EXPECT_EQ(clip_frames(vit, 4096), 4096);
  EXPECT_THROW(clip_frames(vit, 4097), Error);
}

TEST(ClipFrames, OneFrameIsAlwaysAllowed) {
  ViTConfig vit;
  vit.patch = 1;
  vit.image_height = vit.image_width = 256;  // 65536 tokens, as many as there may be
  EXPECT_EQ(clip_frames(vit, 1), 1);
  EXPECT_THROW(clip_frames(vit, 2), Error);
}

using ClipLength = ApiTest;

TEST_F(ClipLength, OfAnImageModelIsRefusedBeforeItsFirstForward) {
  TomeModelConfig config = model_config(tiny());
  config.input_width = config.input_height = 128;  // 16 x 16 patches of 8
  config.clip_length = 257;                        // 65536 tokens would be 256 frames
  for (const char* precision : {"fp32", "auto"}) {
    config.precision = precision;
    EXPECT_EQ(open(config), nullptr);
    expect_error(TOME_ERROR_SETTINGS, "clip-length: found 257, expected at most 256");
  }
  config.clip_length = 3;
  EXPECT_NE(open(config), nullptr) << error.message;
}

}  // namespace
}  // namespace tome::testing
