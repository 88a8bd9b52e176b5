// Folders of labelled pictures and videos: labels, crops, mirrors.
#include "train/folder_source.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <opencv2/imgcodecs.hpp>
#include <string>

#include "dataset.h"
#include "folder_fixture.h"
#include "tome_error.h"
#include "train/mirrored_labels.h"

namespace tome::train {
namespace {

TEST(MirroredLabels, LeftAndRightSwapWhereBothExist) {
  EXPECT_EQ(mirrored_labels({"steady", "pan-left", "pan-right", "left-over", "tilt-up"}),
            (std::vector<int64_t>{0, 2, 1, 3, 4}));
  EXPECT_EQ(mirrored_labels({"from left to right", "from right to left", "Swiping Left", "LEFT",
                             "Swiping Right", "RIGHT", "turnRight", "turnLeft"}),
            (std::vector<int64_t>{1, 0, 4, 5, 2, 3, 7, 6}));
  EXPECT_EQ(mirrored_labels({"bright", "bleft", "left", "Right"}),
            (std::vector<int64_t>{0, 1, 2, 3}));
}

TEST(MirroredLabels, OnesWithoutAPartnerAreNamed) {
  EXPECT_EQ(labels_without_partner({"left", "right", "bright", "turn left", "up"}),
            std::vector<std::string>{"turn left"});
}

TEST_F(FolderTest, APictureOfOnePixelHasACentre) {
  cv::imwrite((folder_ / "dot.png").string(), cv::Mat(1, 1, CV_8UC3, cv::Scalar(200, 200, 200)));
  write_labels("file,label,split\ndot.png,x,train\n");
  preprocess_.crop_mode = CropMode::kCenter;
  preprocess_.resize_short = 20;
  EXPECT_NEAR(make(false, {"x"}).batch(0).patches.mean().item<double>(), 200 / 127.5 - 1, 1e-4);
}

class PlacementTest : public FolderTest, public ::testing::WithParamInterface<CropMode> {
 protected:
  void SetUp() override {
    FolderTest::SetUp();
    config_.frames = config_.tubelet = 1;
    preprocess_.crop_mode = GetParam();
    preprocess_.resize_short = 20;
    preprocess_.mean = {0.25F, 0.5F, 0.75F};
  }

  /// A picture of broad vertical bars, each redder than the one before it.
  at::Tensor inferred(cv::Size size) {
    cv::Mat picture(size, CV_8UC3, cv::Scalar(40, 90, 0));
    for (int x = 0; x < size.width; ++x)
      picture.col(x).setTo(cv::Scalar(40, 90, 255 * x / size.width));
    cv::imwrite((folder_ / "p.png").string(), picture);  // BGR
    Frame frame;
    frame.width = size.width;
    frame.height = size.height;
    frame.format = PixelFormat::kBgr;
    frame.planes[0] = {picture.data, static_cast<int64_t>(picture.step),
                       static_cast<size_t>(picture.step) * picture.rows};
    const at::Tensor patches = at::empty({1, 1, 4, 192});
    preprocess_to_patches(frame, preprocess_, 8, patches.data_ptr<float>());
    return patches;
  }
};

TEST_P(PlacementTest, EvaluationSeesWhatInferenceSees) {
  write_labels("file,label,split\np.png,x,train\n");
  for (const cv::Size size : {cv::Size(64, 32), cv::Size(32, 80), cv::Size(48, 48)}) {
    const at::Tensor wanted = inferred(size);
    const at::Tensor found = make(false, {"x"}).batch(0).patches;
    // Resized by area in place of a triangle; a pixel of the smallest picture is 0.06.
    EXPECT_LT((found - wanted).abs().max().item<double>(), 0.03) << size;
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, PlacementTest,
                         ::testing::Values(CropMode::kCenter, CropMode::kSquash,
                                           CropMode::kBorder));

TEST_F(FolderTest, WhereInferenceKeepsTheShapeTrainingDoesToo) {
  cv::imwrite((folder_ / "p.png").string(), cv::Mat(32, 96, CV_8UC3, cv::Scalar::all(255)));
  write_labels("file,label,split\np.png,x,train\n");
  config_.frames = config_.tubelet = 1;
  preprocess_.crop_mode = CropMode::kBorder;
  const FolderSource source = make(true, {"x"});
  for (int64_t index = 0; index < 8; ++index) {
    // A white part at least 1.5 times as wide as high, between stripes of the mean, grey.
    const at::Tensor cells = source.batch(index).patches[0][0].view({2, 2, 3, 8, 8});
    const at::Tensor rows = cells.permute({0, 3, 1, 2, 4}).reshape({16, -1}).mean(1);
    EXPECT_NEAR(rows[0].item<double>(), 0, 0.01);
    EXPECT_NEAR(rows[15].item<double>(), 0, 0.01);
    EXPECT_NEAR(rows[8].item<double>(), 1, 0.01);
    EXPECT_LT((rows > 0.5).sum().item<int64_t>(), 12);
  }
}

TEST_F(FolderTest, WhereInferenceCutsTheCentreOutPartsHaveTheInputsShape) {
  cv::Mat picture(60, 240, CV_8UC3);  // redder to the right, greener downwards, alike by pixel
  for (int y = 0; y < picture.rows; ++y) {
    for (int x = 0; x < picture.cols; ++x) {
      picture.at<cv::Vec3b>(y, x) = cv::Vec3b(0, static_cast<uint8_t>(y), static_cast<uint8_t>(x));
    }
  }
  cv::imwrite((folder_ / "wide.png").string(), picture);
  cv::imwrite((folder_ / "high.png").string(), picture.t());  // the axes swap, the colours do not
  write_labels("file,label,split\nwide.png,x,train\nhigh.png,y,train\n");
  config_.frames = config_.tubelet = 1;
  preprocess_.crop_mode = CropMode::kCenter;
  preprocess_.resize_short = 60;
  FolderOptions options;
  options.folder = folder_;
  options.flip = false;
  const FolderSource source(options, {"x", "y"}, config_, preprocess_, 2, 3);
  double least = 10, most = 0;
  for (int64_t index = 0; index < 24; ++index) {
    const Batch batch = source.batch(index);
    for (int64_t i = 0; i < 2; ++i) {
      const at::Tensor means = batch.patches[i][0].view({2, 2, 3, 64}).mean(3);  // of cells
      double red = (means[0][1][0] - means[0][0][0]).item<double>();
      double green = (means[1][0][1] - means[0][0][1]).item<double>();
      if (batch.labels[i].item<int64_t>() == 1) {
        red = (means[1][0][0] - means[0][0][0]).item<double>();
        green = (means[0][1][1] - means[0][0][1]).item<double>();
      }
      least = std::min(least, red / green);  // of a part's sides
      most = std::max(most, red / green);
    }
  }
  EXPECT_GE(least, 0.78);
  EXPECT_LE(most, 1.28);
  EXPECT_GT(most - least, 0.2);
}

TEST_F(FolderTest, PatchesAreNormalisedAsInferenceDoes) {
  cv::Mat picture(16, 16, CV_8UC3);
  cv::randu(picture, 0, 255);
  Frame frame;
  frame.width = frame.height = 16;
  frame.format = PixelFormat::kRgb;
  frame.planes[0] = {picture.data, 48, 768};
  PreprocessSpec bytes = preprocess_;  // the same function of the pixels, written otherwise
  bytes.rescale = 1;
  bytes.mean = bytes.std = {127.5F, 127.5F, 127.5F};
  PreprocessSpec colours = preprocess_;
  colours.mean = {0.485F, 0.456F, 0.406F};
  colours.std = {0.229F, 0.224F, 0.225F};
  for (const PreprocessSpec& spec : {preprocess_, bytes, colours}) {
    const at::Tensor trained = at::empty({4, 192});
    frames_to_patches({picture}, 8, spec, trained.data_ptr<float>());
    const at::Tensor inferred = at::empty({4, 192});
    preprocess_to_patches(frame, spec, 8, inferred.data_ptr<float>());
    EXPECT_TRUE(at::equal(trained, inferred)) << "rescale " << spec.rescale;
  }
}

TEST_F(FolderTest, AMirroredClipHasTheMirroredLabel) {
  write_video("l.avi", 8, true);
  write_labels("file,label,split\nl.avi,left,train\n");
  const FolderSource source = make(true, {"left", "right"});
  int mirrored = 0;
  for (int64_t index = 0; index < 12; ++index) {
    const Batch batch = source.batch(index);
    for (int64_t i = 0; i < 2; ++i) {
      // Patches: 2 x 2 cells of a frame, the left column is cells 0 and 2.
      const at::Tensor frame = batch.patches[i][0];
      const bool bright_left = (frame[0].mean() > frame[1].mean()).item<bool>();
      EXPECT_EQ(batch.labels[i].item<int64_t>(), bright_left ? 0 : 1);
      mirrored += bright_left ? 0 : 1;
    }
  }
  EXPECT_GT(mirrored, 4);
  EXPECT_LT(mirrored, 20);
}

TEST_F(FolderTest, LabelsThatNoSampleTeachesAreToldWithMirroredOnes) {
  write_labels("file,label,split\na.avi,left,train\nb.avi,x,train\nc.avi,y,val\n");
  const std::vector<std::string> labels{"left", "right", "x", "y"};
  EXPECT_EQ(make(true, labels).labels_without_sample(), std::vector<std::string>{"y"});
  EXPECT_EQ(make(false, labels).labels_without_sample(), (std::vector<std::string>{"right", "y"}));
}

TEST_F(FolderTest, SameIndexSameBatch) {
  write_video("a.avi", 8, true);
  write_video("b.avi", 8, false);
  write_labels("file,label,split\na.avi,x,train\nb.avi,y,train\n");
  const Batch one = make(true, {"x", "y"}).batch(5);
  const FolderSource other = make(true, {"x", "y"});
  other.batch(1);
  const Batch again = other.batch(5);
  EXPECT_TRUE(at::equal(one.patches, again.patches));
  EXPECT_TRUE(at::equal(one.labels, again.labels));
}

TEST_F(FolderTest, JitterChangesAClipsColoursAllFramesAlike) {
  write_video("v.avi", 8, false);
  write_labels("file,label,split\nv.avi,x,train\n");
  FolderOptions options;
  options.folder = folder_;
  options.jitter = 0.4;
  options.flip = false;
  options.frame_stride = 2;
  const FolderSource jittered(options, {"x"}, config_, preprocess_, 2, 3);
  options.jitter = 0;
  const FolderSource plain(options, {"x"}, config_, preprocess_, 2, 3);
  for (int64_t index = 0; index < 4; ++index) {
    // Both draw the same places; grey stays grey, each frame another: a line maps one to the other.
    const at::Tensor to = jittered.batch(index).patches[0].mean({1, 2});
    const at::Tensor from = plain.batch(index).patches[0].mean({1, 2});
    const double gain = (to[2] - to[0]).item<double>() / (from[2] - from[0]).item<double>();
    EXPECT_GE(gain, 1 / 1.45);
    EXPECT_LE(gain, 1.45);
    const double middle =
        to[0].item<double>() + gain * (from[1].item<double>() - from[0].item<double>());
    EXPECT_NEAR(to[1].item<double>(), middle, 0.05);
    EXPECT_FALSE(at::allclose(to, from, 0, 0.01));
  }
}

TEST_F(FolderTest, EveryVideoOncePerEpoch) {
  for (const char* name : {"a.avi", "b.avi", "c.avi", "d.avi"}) write_video(name, 5, false);
  write_labels("file,label,split\na.avi,a,train\nb.avi,b,train\nc.avi,c,train\nd.avi,d,train\n");
  const FolderSource source = make(true, {"a", "b", "c", "d"});
  std::vector<int> seen(4, 0);
  for (int64_t index = 0; index < 2; ++index) {
    const Batch batch = source.batch(index);
    for (int64_t i = 0; i < 2; ++i) ++seen[static_cast<size_t>(batch.labels[i].item<int64_t>())];
  }
  EXPECT_EQ(seen, (std::vector<int>{1, 1, 1, 1}));
}

TEST_F(FolderTest, AFolderWithoutClipsIsAnError) {
  write_labels("file,label,split\n");
  EXPECT_THROW(cli::Dataset(folder_).label_names(), Error);
  EXPECT_THROW(make(true, {"x"}), Error);
  write_labels("file,label,split\na.avi,x,val\n");
  EXPECT_THROW(make(true, {"x"}), Error);
}

TEST_F(FolderTest, SettingsSayTheCropByItsName) {
  write_video("a.avi", 4, true);
  write_labels("file,label,split\na.avi,x,train\n");
  for (const auto& [mode, name] : {std::pair{CropMode::kCenter, "center"},
                                   {CropMode::kSquash, "squash"},
                                   {CropMode::kBorder, "border"}}) {
    preprocess_.crop_mode = mode;
    EXPECT_EQ(make(true, {"x"}).settings().at("crop"), name);
  }
}

TEST_F(FolderTest, OtherFilesOrClassesAreOtherSettings) {
  const auto hash = [&] { return make(true, {"x", "y"}).settings().at("data-hash"); };
  write_video("a.avi", 8, true);
  write_video("b.avi", 8, false);
  write_labels("file,label,split\na.avi,x,train\nb.avi,y,train\n");
  const std::string before = hash();
  EXPECT_EQ(hash(), before);
  write_labels("file,label,split\na.avi,x,train\nb.avi,x,train\n");
  EXPECT_NE(hash(), before) << "another class";
  write_labels("file,label,split\nb.avi,x,train\na.avi,y,train\n");
  EXPECT_NE(hash(), before) << "another file";
  write_labels("label,split,file\nx,train,a.avi\ny,val,b.avi\ny,train,b.avi\n");
  EXPECT_EQ(hash(), before) << "the same ones";
  write_video("b.avi", 9, false);
  EXPECT_NE(hash(), before) << "another file of the same name";
}

}  // namespace
}  // namespace tome::train
