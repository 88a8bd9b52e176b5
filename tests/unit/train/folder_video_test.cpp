// Clips out of videos: where their frames come from, short, long, damaged and broken ones.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "folder_fixture.h"
#include "media_reader.h"
#include "tome_error.h"

namespace tome::train {
namespace {

TEST_F(FolderTest, EvaluationSpreadsTheFramesOverTheVideo) {
  write_video("v.avi", 8, false);
  write_labels("file,label,split\nv.avi,x,train\n");
  const Batch batch = make(false, {"x"}).batch(0);
  ASSERT_EQ(batch.labels.size(0), 1);  // the last batch of an evaluation is not filled up
  for (int64_t i = 0; i < 4; ++i) {    // frames 1, 3, 5, 7: grey 40, 80, 120, 160
    EXPECT_NEAR(grey_of(batch.patches[0][i]), 40 + 40 * static_cast<double>(i), 4);
  }
}

TEST_F(FolderTest, AVideoThatEndsInTheMiddleRepeatsItsLastFrame) {
  const fs::path file = folder_ / "v.avi";
  write_video("v.avi", 40, false, 6);
  fs::resize_file(file, fs::file_size(file) * 2 / 3);
  write_labels("file,label,split\nv.avi,x,train\n");
  std::vector<double> levels;  // of what is left of it
  cli::for_each_frame(file, [&](const Frame& frame, int64_t, double) {
    const auto* first = static_cast<const uint8_t*>(frame.planes[0].data);
    levels.push_back(first[0]);
    return true;
  });
  ASSERT_GT(levels.size(), 6U);
  ASSERT_LT(levels.size(), 40U);
  const auto left = static_cast<int64_t>(levels.size());
  FolderOptions options;
  options.folder = folder_;
  options.augment = false;
  options.frame_stride = left * 2 / 3;
  const Batch batch = FolderSource(options, {"x"}, config_, preprocess_, 2, 3).batch(0);
  EXPECT_NEAR(grey_of(batch.patches[0][0]), 20, 2);
  EXPECT_NEAR(grey_of(batch.patches[0][1]), 20 + 6 * static_cast<double>(left * 2 / 3), 2);
  EXPECT_NEAR(grey_of(batch.patches[0][2]), levels.back(), 2);
  EXPECT_GT(grey_of(batch.patches[0][2]), grey_of(batch.patches[0][1]) + 6);
  EXPECT_TRUE(at::equal(batch.patches[0][2], batch.patches[0][3]));
}

TEST_F(FolderTest, FramesOfALongVideoComeFromAllOfIt) {
  write_video("v.avi", 600, false, 0.4);
  write_labels("file,label,split\nv.avi,x,train\n");
  const Batch batch = make(false, {"x"}).batch(0);
  for (int64_t i = 0; i < 4; ++i) {  // frames 75, 225, 375, 525
    EXPECT_NEAR(grey_of(batch.patches[0][i]), 20 + 0.4 * (75 + 150 * static_cast<double>(i)), 3);
  }
}

TEST_F(FolderTest, ClipsOfALongVideoKeepTheirStrideAndBeginAnywhere) {
  write_video("v.avi", 600, false, 0.4);
  const FolderSource source = with_stride(50);
  double latest = 0;
  for (int64_t index = 0; index < 8; ++index) {
    const Batch batch = source.batch(index);
    for (int64_t i = 1; i < 4; ++i) {
      EXPECT_NEAR(grey_of(batch.patches[0][i]) - grey_of(batch.patches[0][i - 1]), 20, 3);
    }
    latest = std::max(latest, grey_of(batch.patches[0][0]));
  }
  EXPECT_GT(latest, 20 + 0.4 * 256);
}

TEST_F(FolderTest, ACutVideoIsNamedOnce) {
  write_video("v.avi", 1100, false, 0.2);
  const FolderSource source = with_stride(1);
  ::testing::internal::CaptureStderr();
  source.batch(0);
  source.batch(1);
  const std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
  EXPECT_NE(text.find("v.avi"), std::string::npos) << text;
  EXPECT_NE(text.find("only its first 1024 frames"), std::string::npos) << text;
}

TEST_F(FolderTest, ACacheOfAnySizeGivesTheSameBatches) {
  write_video("a.avi", 8, true);
  write_video("b.avi", 8, false);
  write_labels("file,label,split\na.avi,x,train\nb.avi,y,train\n");
  FolderOptions options;
  options.folder = folder_;
  const auto batch = [&](size_t bytes) {
    options.cache = std::make_shared<VideoCache>(bytes);
    const FolderSource source(options, {"x", "y"}, config_, preprocess_, 2, 3);
    source.batch(0);
    const Batch out = source.batch(1);
    EXPECT_LE(options.cache->bytes(), bytes);
    return out.patches;
  };
  const at::Tensor all = batch(1 << 30);
  EXPECT_TRUE(at::equal(all, batch(0)));
  EXPECT_TRUE(at::equal(all, batch(18 * 18 * 3 * 8)));  // one of the two
}

TEST_F(FolderTest, AVideoWithoutAFrameIsNamed) {
  std::ofstream(folder_ / "broken.mp4") << "this is no video";
  write_labels("file,label,split\nbroken.mp4,x,train\n");
  const FolderSource source = make(true, {"x"});
  try {
    source.batch(0);
    FAIL() << "a text file was taken for a video";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("broken.mp4"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace tome::train
