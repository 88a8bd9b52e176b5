// A folder of small videos for the smallest clip model.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <opencv2/videoio.hpp>
#include <string>
#include <utility>
#include <vector>

#include "scratch_folder.h"
#include "train/folder_source.h"

namespace tome::train {

namespace fs = std::filesystem;

class FolderTest : public ScratchFolderTest {
 protected:
  void SetUp() override {
    config_.image_height = config_.image_width = 16;
    config_.patch = 8;
    config_.frames = 4;
    config_.tubelet = 2;
    preprocess_.width = preprocess_.height = preprocess_.resize_short = 16;
    preprocess_.crop_mode = CropMode::kSquash;
  }

  void write_labels(const std::string& text) { std::ofstream(folder_ / "labels.csv") << text; }

  /// A video whose frame i is grey 20 + i * `step`, bright in its left half if `left`.
  void write_video(const std::string& name, int frames, bool left, double step = 20) {
    cv::VideoWriter video((folder_ / name).string(), cv::VideoWriter::fourcc('M', 'J', 'P', 'G'),
                          25, {32, 32});
    for (int i = 0; i < frames; ++i) {
      cv::Mat frame(32, 32, CV_8UC3, cv::Scalar::all(20 + step * i));
      if (left) frame(cv::Rect(0, 0, 16, 32)).setTo(cv::Scalar::all(250));
      video.write(frame);
    }
  }

  static double grey_of(const at::Tensor& patches) {
    return (patches.mean().item<double>() * 0.5 + 0.5) * 255;
  }

  /// Training clips of v.avi, which has the one label.
  FolderSource with_stride(int64_t stride) {
    write_labels("file,label,split\nv.avi,x,train\n");
    FolderOptions options;
    options.folder = folder_;
    options.frame_stride = stride;
    return {options, {"x"}, config_, preprocess_, 2, 3};
  }

  FolderSource make(bool augment, std::vector<std::string> labels) {
    FolderOptions options;
    options.folder = folder_;
    options.split = "train";
    options.augment = augment;
    return {options, std::move(labels), config_, preprocess_, 2, 3};
  }

  ViTConfig config_;
  PreprocessSpec preprocess_;
};

}  // namespace tome::train
