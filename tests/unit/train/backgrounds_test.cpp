// What the virtual camera looks at: which files, how large, and of pixels of which shape.
#include "train/backgrounds.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <string>
#include <utility>
#include <vector>

#include "film_writer.h"
#include "frame_pixels.h"
#include "scratch_folder.h"
#include "tome_error.h"

namespace tome::train {
namespace {

namespace fs = std::filesystem;

using Backgrounds = ScratchFolderTest;

TEST_F(Backgrounds, FilesOfOneSideOnlyAreNotCalledUnreadable) {
  int written = 0;
  for (int i = 0; written < 2; ++i) {
    const std::string name = std::to_string(i) + ".png";
    if (is_held_out(name)) continue;
    cv::imwrite((folder_ / name).string(), cv::Mat(20, 20, CV_8UC3, cv::Scalar(9, 99, 199)));
    ++written;
  }
  BackgroundOptions options;
  options.pictures = {folder_};
  EXPECT_EQ(load_backgrounds(options).size(), 2U);
  options.part = Part::kHeldOut;
  try {
    load_backgrounds(options);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("found 2 file(s), none of them for evaluation"), std::string::npos) << text;
  }
}

TEST_F(Backgrounds, ABrokenPictureIsNamedWhateverTheCommand) {
  std::ofstream(folder_ / "b.png") << "no picture";
  BackgroundOptions options;
  options.pictures = {folder_};
  options.part = is_held_out("b.png") ? Part::kHeldOut : Part::kTrain;
  ::testing::internal::CaptureStderr();
  EXPECT_THROW(load_backgrounds(options), Error);
  const std::string said = ::testing::internal::GetCapturedStderr();
  EXPECT_TRUE(said.starts_with("tome: '")) << said;
  EXPECT_NE(said.find("b.png"), std::string::npos) << said;
}

// Held out is a name whose FNV-1a hash, through splitmix64, is a multiple of 8. Under another rule
// models would be evaluated on what they were trained on.
TEST_F(Backgrounds, SplitDependsOnTheNameAlone) {
  for (const char* name :
       {"n05.jpg", "n09.jpg", "n013.jpg", "n022.jpg", "garden.jpg", "road.mp4"}) {
    EXPECT_TRUE(is_held_out(name)) << name;
  }
  for (const char* name : {"n00.jpg", "a.jpg", "b.png", "film.mkv", "clip.mp4", "Katze 猫.png"}) {
    EXPECT_FALSE(is_held_out(name)) << name;
  }
  int held_out = 0;
  for (int i = 0; i < 800; ++i) {
    const std::string name = "n0" + std::to_string(i) + ".jpg";
    held_out += is_held_out(name) ? 1 : 0;
  }
  EXPECT_NEAR(held_out, 100, 35);
}

/// A film of a still camera before a picture as it is stored, grey, of pixels `aspect` wide.
void write_still_film(const fs::path& file, const cv::Mat& picture, AVRational aspect) {
  FilmSpec spec;
  spec.file = file;
  spec.width = picture.cols;
  spec.height = picture.rows;
  spec.pixel_aspect = aspect;
  std::vector<int64_t> times;
  for (int64_t i = 0; i < 16; ++i) times.push_back(40 * i);
  write_film(spec, times, [&](AVFrame& frame, int) {
    for (int y = 0; y < picture.rows; ++y) {
      for (int x = 0; x < picture.cols; ++x) fill(frame, 0, x, y, 1, 1, picture.at<uint8_t>(y, x));
    }
    for (const int plane : {1, 2}) fill(frame, plane, 128);
  });
}

TEST_F(Backgrounds, ClipsHaveTheShapeInWhichTheyAreShown) {
  // 88 x 72 pixels of 16:11 are shown as 128 x 72: there this ellipse is a disc of 44 across.
  cv::Mat picture(72, 88, CV_8UC1, cv::Scalar(40));
  constexpr double kRadius = 22;
  for (int y = 0; y < picture.rows; ++y) {
    for (int x = 0; x < picture.cols; ++x) {
      const double right = (x + 0.5 - 44) * 16 / 11, down = y + 0.5 - 36;
      if (right * right + down * down < kRadius * kRadius) picture.at<uint8_t>(y, x) = 200;
    }
  }
  const std::string name = "film.mkv";
  write_still_film(folder_ / name, picture, {16, 11});
  BackgroundOptions options;
  options.clips = {folder_};
  options.part = is_held_out(name) ? Part::kHeldOut : Part::kTrain;
  for (const auto& [side, size] : {std::pair{216, cv::Size(128, 72)}, {36, cv::Size(64, 36)}}) {
    options.clip_short_side = side;
    const std::vector<Background> all = load_backgrounds(options);
    ASSERT_EQ(all.size(), 1U);
    ASSERT_TRUE(all[0].live());
    for (const cv::Mat& frame : all[0].frames) ASSERT_EQ(frame.size(), size);
    std::vector<cv::Mat> channels;
    cv::split(all[0].frames[0] > 120, channels);
    const cv::Rect disc = cv::boundingRect(channels[0]);
    EXPECT_NEAR(disc.height, 2 * kRadius * size.height / 72, 1) << side;
    EXPECT_NEAR(disc.width, disc.height, 2) << side;
  }
}

TEST(ReducedSize, IsOfThePictureAsItIsShown) {
  const auto reduced = [](int width, int height, PixelAspect aspect, int short_side) {
    Frame frame;
    frame.width = width;
    frame.height = height;
    frame.pixel_aspect = aspect;
    return cli::reduced_size(frame, short_side);
  };
  EXPECT_EQ(reduced(640, 480, {1, 1}, 216), cv::Size(288, 216));
  EXPECT_EQ(reduced(480, 640, {1, 1}, 216), cv::Size(216, 288));
  EXPECT_EQ(reduced(100, 50, {1, 1}, 216), cv::Size(100, 50)) << "grew";
  EXPECT_EQ(reduced(704, 576, {16, 11}, 288), cv::Size(512, 288));
  EXPECT_EQ(reduced(64, 96, {1, 2}, 16), cv::Size(16, 48)) << "the shorter side as it is shown";
  EXPECT_EQ(reduced(2, 2000, {1, 1}, 1), cv::Size(1, 1000));
  for (const PixelAspect none : {PixelAspect{0, 0}, PixelAspect{1, 5}, PixelAspect{5, 1}}) {
    EXPECT_EQ(reduced(640, 480, none, 240), cv::Size(320, 240)) << none.n;
  }
}

}  // namespace
}  // namespace tome::train
