// The virtual camera: what the labels say is what the frames show.
#include "train/generator.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <opencv2/imgproc.hpp>
#include <vector>

#include "train/batch.h"
#include "train/camera_path.h"
#include "train/stillness.h"

namespace tome::train {
namespace {

cv::Mat gray(const cv::Mat& rgb) {
  cv::Mat out;
  cv::cvtColor(rgb, out, cv::COLOR_RGB2GRAY);
  out.convertTo(out, CV_64F);
  return out;
}

/// How far the content moved from `a` to `b`, pixels right and down.
cv::Point2d content_shift(const cv::Mat& a, const cv::Mat& b) {
  cv::Mat window;
  cv::createHanningWindow(window, a.size(), CV_64F);
  return cv::phaseCorrelate(gray(a), gray(b), window);
}

cv::Mat textured_background() {
  Random random(3);
  return make_texture(900, 700, random);
}

/// Two views of a path without secondary motions, `frames` apart.
std::pair<cv::Mat, cv::Mat> views(CameraState state, const cv::Mat& background) {
  Random random(11);
  Pose start;
  start.x = 450;
  start.y = 350;
  start.half_width = start.half_height = 120;
  const auto path = make_path(state, start, {4, 0.0, false}, random);
  std::pair<cv::Mat, cv::Mat> out{cv::Mat(240, 240, CV_8UC3), cv::Mat(240, 240, CV_8UC3)};
  render_view(background, path[0], out.first);
  render_view(background, path[1], out.second);
  return out;
}

TEST(CameraPath, PanLeftMovesTheContentToTheRight) {
  const auto [a, b] = views(CameraState::kPanLeft, textured_background());
  const cv::Point2d shift = content_shift(a, b);
  EXPECT_GT(shift.x, 2);
  EXPECT_NEAR(shift.y, 0, 0.5);
}

TEST(CameraPath, PanRightMovesTheContentToTheLeft) {
  const auto [a, b] = views(CameraState::kPanRight, textured_background());
  EXPECT_LT(content_shift(a, b).x, -2);
}

TEST(CameraPath, TiltUpMovesTheContentDown) {
  const auto [a, b] = views(CameraState::kTiltUp, textured_background());
  const cv::Point2d shift = content_shift(a, b);
  EXPECT_GT(shift.y, 2);
  EXPECT_NEAR(shift.x, 0, 0.5);
}

TEST(CameraPath, TiltDownMovesTheContentUp) {
  const auto [a, b] = views(CameraState::kTiltDown, textured_background());
  EXPECT_LT(content_shift(a, b).y, -2);
}

TEST(CameraPath, ZoomInMovesTheContentOutwards) {
  const auto [a, b] = views(CameraState::kZoomIn, textured_background());
  const cv::Rect left(0, 60, 120, 120);
  const cv::Rect right(120, 60, 120, 120);
  EXPECT_LT(content_shift(a(left).clone(), b(left).clone()).x, -0.3);
  EXPECT_GT(content_shift(a(right).clone(), b(right).clone()).x, 0.3);
}

TEST(CameraPath, RollTurnsTheContentAgainstTheCamera) {
  Pose before;
  before.half_width = before.half_height = 100;
  Pose after = before;
  after.angle = 0.1;
  // A camera that turns clockwise: what is right of the centre moves up (v grows downwards).
  const ViewPoint motion = content_motion(before, after, {1, 0});
  EXPECT_NEAR(motion.v, -std::sin(0.1), 1e-12);
  EXPECT_NEAR(motion.u, std::cos(0.1) - 1, 1e-12);
}

TEST(CameraPath, ContentMotionAgreesWithTheRenderedFrames) {
  const cv::Mat background = textured_background();
  Pose before{450, 350, 120, 120, 0};
  Pose after{453.5, 347.25, 120, 120, 0};
  cv::Mat a(240, 240, CV_8UC3);
  cv::Mat b(240, 240, CV_8UC3);
  render_view(background, before, a);
  render_view(background, after, b);
  const ViewPoint motion = content_motion(before, after, {0, 0});
  const cv::Point2d shift = content_shift(a, b);
  EXPECT_NEAR(shift.x, motion.u * 120, 0.3);
  EXPECT_NEAR(shift.y, motion.v * 120, 0.3);
}

TEST(CameraPath, ShakeComesBack) {
  Random random(5);
  for (int i = 0; i < 50; ++i) {
    Pose start{0, 0, 100, 100, 0};
    const auto path = make_path(CameraState::kShake, start, {8, 1.0, true}, random);
    double length = 0;
    for (size_t k = 1; k < path.size(); ++k) {
      length += std::hypot(path[k].x - path[k - 1].x, path[k].y - path[k - 1].y);
    }
    EXPECT_GT(length, 1);
    EXPECT_LT(std::hypot(path.back().x, path.back().y), 0.4 * length);
  }
}

CameraStateGenerator generator(uint64_t seed) {
  GeneratorOptions options;
  options.size = 64;
  options.grid = 4;
  return {options, {}, seed};
}

double mean_difference(const cv::Mat& a, const cv::Mat& b) {
  return cv::norm(a, b, cv::NORM_L1) / static_cast<double>(a.total() * 3);
}

TEST(Generator, SameSeedSameClip) {
  const auto a = generator(4).clip(17);
  const auto b = generator(4).clip(17);
  ASSERT_EQ(a.frames.size(), 8U);
  for (size_t i = 0; i < a.frames.size(); ++i) {
    EXPECT_EQ(cv::norm(a.frames[i], b.frames[i], cv::NORM_INF), 0) << "frame " << i;
  }
  EXPECT_EQ(a.motion, b.motion);
}

TEST(Generator, AnotherSeedOrIndexIsAnotherClip) {
  const auto one = generator(4);
  EXPECT_GT(mean_difference(one.clip(17).frames[0], generator(5).clip(17).frames[0]), 1);
  EXPECT_GT(mean_difference(one.clip(17).frames[0], one.clip(29).frames[0]), 1);
}

ViTConfig clip_config() {
  ViTConfig config;
  config.image_height = config.image_width = 32;
  config.patch = 8;
  config.frames = 4;
  config.tubelet = 2;
  return config;
}

TEST(GeneratorSource, AModelItMakesNoClipsForIsAnError) {
  const auto make = [](const ViTConfig& config) {
    return make_generator_source({"camera-state", {}, {}, 1}, Part::kTrain, config, {}, 2, 0);
  };
  EXPECT_EQ(make(clip_config())->clips(0, 2).patches.sizes(), (at::IntArrayRef{2, 4, 16, 192}));
  ViTConfig tall = clip_config();
  tall.image_height = 64;
  EXPECT_THROW(make(tall), Error);
  ViTConfig image = clip_config();
  image.frames = image.tubelet = 1;
  EXPECT_THROW(make(image), Error);
  ViTConfig small = clip_config();
  small.image_height = small.image_width = small.patch = 2;
  EXPECT_THROW(make(small), Error);
}

TEST(GeneratorSource, ClipsAreNormalisedAsTheModelSays) {
  PreprocessSpec bytes;  // what the default does, written otherwise
  bytes.rescale = 1;
  bytes.mean = bytes.std = {127.5F, 127.5F, 127.5F};
  PreprocessSpec colours;
  colours.std = {0.25F, 0.5F, 1.0F};
  const auto patches = [](const PreprocessSpec& spec) {
    return make_generator_source({"camera-state", {}, {}, 1}, Part::kTrain, clip_config(), spec, 2,
                                 0)
        ->batch(0)
        .patches.view({-1, 3, 64});
  };
  const at::Tensor usual = patches({});
  EXPECT_LE(usual.abs().max().item<float>(), 1);
  EXPECT_TRUE(at::allclose(patches(bytes), usual, 0, 1e-5));
  const at::Tensor gains = at::tensor({2.0F, 1.0F, 0.5F}).view({3, 1});
  EXPECT_TRUE(at::allclose(patches(colours), usual * gains, 0, 1e-5));
}

TEST(Generator, EveryStateInTurn) {
  const auto made = generator(1);
  for (uint64_t i = 0; i < 24; ++i) {
    EXPECT_EQ(static_cast<uint64_t>(made.clip(i).state), i % kCameraStates);
  }
}

TEST(Generator, FrozenFramesRepeatAndLivingOnesDoNot) {
  const auto made = generator(2);
  for (uint64_t i = 0; i < 40; ++i) {
    const auto frozen = made.clip_of(CameraState::kFrozen, i, 1);
    int changes = 0;
    for (size_t k = 1; k < frozen.frames.size(); ++k) {
      changes += mean_difference(frozen.frames[k], frozen.frames[k - 1]) > 0 ? 1 : 0;
    }
    // Encoded anew once at most, or with less flicker than any living camera shows.
    EXPECT_TRUE(changes <= 1 || mean_change(frozen.frames) <= 0.02) << "clip " << i;
    EXPECT_GE(mean_change(made.clip_of(CameraState::kSteady, i, 1).frames), 0.03) << "clip " << i;
    EXPECT_GE(mean_change(made.clip_of(CameraState::kDefocused, i, 1).frames), 0.03)
        << "clip " << i;
  }
}

TEST(Generator, ScenesHaveDetailThatDefocusTakesAway) {
  // Of two backgrounds one is a wall: nobody could tell there what the camera does.
  GeneratorOptions options;
  options.size = 64;
  options.grid = 4;
  options.texture_share = 0;
  const cv::Mat wall(300, 400, CV_8UC3, cv::Scalar(120, 130, 140));
  const CameraStateGenerator made(options, {{{wall}, "wall"}, {{textured_background()}, "texture"}},
                                  7);
  const auto detail = [](const cv::Mat& frame) {
    cv::Mat blurred;
    cv::blur(frame, blurred, {5, 5});
    return mean_difference(frame, blurred);
  };
  for (uint64_t i = 0; i < 30; ++i) {
    const double sharp = detail(made.clip_of(CameraState::kFrozen, i, 1).frames[0]);
    EXPECT_GT(sharp, 1.0) << "clip " << i;
  }
}

TEST(Generator, MotionFieldHasTheSignOfTheState) {
  const auto made = generator(3);
  const auto mean_of = [](const GeneratedClip& clip, size_t axis) {
    double sum = 0;
    for (size_t i = axis; i < clip.motion.size(); i += 2) sum += clip.motion[i];
    return sum * 2 / static_cast<double>(clip.motion.size());
  };
  for (uint64_t i = 0; i < 20; ++i) {
    EXPECT_GT(mean_of(made.clip_of(CameraState::kPanLeft, i, 0), 0), 0.3);
    EXPECT_LT(mean_of(made.clip_of(CameraState::kPanRight, i, 0), 0), -0.3);
    EXPECT_GT(mean_of(made.clip_of(CameraState::kTiltUp, i, 0), 1), 0.3);
    EXPECT_LT(mean_of(made.clip_of(CameraState::kTiltDown, i, 0), 1), -0.3);
    EXPECT_NEAR(mean_of(made.clip_of(CameraState::kSteady, i, 0), 0), 0, 0.1);
    EXPECT_EQ(made.clip_of(CameraState::kZoomIn, i, 0).motion.size(), 4U * 4 * 4 * 2);
  }
}

TEST(Generator, MovingObjectsDoNotMakeSteadyAPan) {
  // The field knows the camera alone, however many objects cross the view.
  const auto made = generator(8);
  for (uint64_t i = 0; i < 40; ++i) {
    for (const float value : made.clip_of(CameraState::kSteady, i, 1).motion) {
      EXPECT_LT(std::abs(value), 0.2F);
    }
  }
}

TEST(Generator, CoveredHidesTheScene) {
  const auto made = generator(6);
  const auto clip = made.clip_of(CameraState::kCovered, 3, 1);
  EXPECT_FALSE(clip.motion_valid);
  EXPECT_TRUE(made.clip_of(CameraState::kPanLeft, 3, 1).motion_valid);
}

TEST(CameraState, NamesParseBackAndUnknownOnesAreErrors) {
  for (int i = 0; i < kCameraStates; ++i) {
    const auto state = static_cast<CameraState>(i);
    EXPECT_EQ(parse_camera_state(kCameraStateNames[static_cast<size_t>(i)]), state);
  }
  EXPECT_THROW(parse_camera_state("pan"), Error);
}

}  // namespace
}  // namespace tome::train
