// Does models/camera-state see what the camera does on real clips?
//
// Makes a steady, a panned and a covered version of each clip in a folder, encodes them (as a real
// stream would be), reads them back, runs the model over all windows and prints the confusion
// matrix, also as a picture. Fails if fewer than the asked share of windows has the right leading
// tag.
//
// A clip whose own camera moves cannot be made steady by a crop: there each window holds the first
// of its frames, with fresh sensor noise in every frame.
#include <ATen/ATen.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <opencv2/videoio.hpp>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "media/preprocess.h"
#include "tome_error.h"
#include "train/backgrounds.h"
#include "train/camera_state.h"
#include "train/random.h"
#include "train/sensor.h"
#include "train/trainer.h"
#include "vit/model.h"

namespace {

namespace fs = std::filesystem;
using namespace tome;
using namespace tome::train;

constexpr int kSkipped = 77;         // meson's and automake's word for "skipped"
constexpr int kPanFrames = 32;       // then the pan starts over, between two windows
constexpr double kPanSpeed = 0.012;  // of the view's width per frame
constexpr double kView = 0.7;        // of the clip's width

const std::vector<CameraState> kVersions{CameraState::kSteady, CameraState::kPanLeft,
                                         CameraState::kPanRight, CameraState::kCovered};

/// All frames of a file but those after the last whole window.
std::vector<cv::Mat> read_clip(const fs::path& path, size_t window) {
  cv::VideoCapture capture(path.string(), cv::CAP_FFMPEG);
  std::vector<cv::Mat> frames;
  for (cv::Mat frame; capture.read(frame);) {
    cv::Mat rgb;
    cv::cvtColor(frame, rgb, cv::COLOR_BGR2RGB);
    frames.push_back(rgb);
  }
  frames.resize(frames.size() / window * window);
  return frames;
}

std::vector<cv::Mat> make_version(const std::vector<cv::Mat>& clip, bool stands_still,
                                  CameraState state, size_t window, Random& random) {
  const int width = static_cast<int>(clip[0].cols * kView) / 2 * 2;
  const int height = static_cast<int>(clip[0].rows * kView) / 2 * 2;
  const cv::Size size(width, height);
  std::vector<cv::Mat> out;
  for (size_t i = 0; i < clip.size(); ++i) {
    const cv::Mat& scene = stands_still ? clip[i] : clip[i / window * window];
    const double spare = clip[0].cols - width;
    const double travel = width * kPanSpeed * static_cast<double>(i % kPanFrames);
    double x = spare / 2;
    if (state == CameraState::kPanLeft) x = spare - travel;
    if (state == CameraState::kPanRight) x = travel;
    cv::Mat view;
    cv::getRectSubPix(scene, size,
                      cv::Point2f(static_cast<float>(x + (width - 1) / 2.0),
                                  static_cast<float>((clip[0].rows - 1) / 2.0)),
                      view);
    if (state == CameraState::kCovered) view.setTo(cv::Scalar(46, 41, 39));
    out.push_back(view.clone());
  }
  SensorOptions sensor;
  sensor.noise = 4;
  record(out, sensor, random);
  return out;
}

/// Through an encoder and back; the file is removed.
std::vector<cv::Mat> encode_and_decode(const std::vector<cv::Mat>& frames, size_t window) {
  const fs::path file =
      fs::temp_directory_path() / ("camera_state_scenes_" + std::to_string(getpid()) + ".mp4");
  cv::VideoWriter video;
  for (const int codec :
       {cv::VideoWriter::fourcc('a', 'v', 'c', '1'), cv::VideoWriter::fourcc('m', 'p', '4', 'v')}) {
    if (video.open(file.string(), cv::CAP_FFMPEG, codec, 25, frames[0].size())) break;
  }
  if (!video.isOpened()) throw Error(ErrorKind::kFailed, "OpenCV has no video encoder");
  for (const cv::Mat& frame : frames) {
    cv::Mat bgr;
    cv::cvtColor(frame, bgr, cv::COLOR_RGB2BGR);
    video.write(bgr);
  }
  video.release();
  std::vector<cv::Mat> out = read_clip(file, window);
  fs::remove(file);
  return out;
}

Frame as_frame(const cv::Mat& rgb) {
  Frame frame;
  frame.format = PixelFormat::kRgb;
  frame.width = rgb.cols;
  frame.height = rgb.rows;
  frame.planes[0] = {rgb.data, static_cast<int64_t>(rgb.step[0]),
                     rgb.step[0] * static_cast<size_t>(rgb.rows)};
  return frame;
}

/// The leading tag of each window.
std::vector<int64_t> tag_windows(const std::vector<cv::Mat>& frames, const Checkpoint& checkpoint,
                                 const VisionTransformer& model, const ForwardOptions& options) {
  const ViTConfig& c = checkpoint.config;
  const auto windows = static_cast<int64_t>(frames.size()) / c.frames;
  at::Tensor patches =
      at::empty({windows, c.frames, c.grid_rows() * c.grid_cols(), c.channels * c.patch * c.patch});
  for (int64_t i = 0; i < windows * c.frames; ++i) {
    preprocess_to_patches(as_frame(frames[static_cast<size_t>(i)]), checkpoint.preprocess,
                          static_cast<int32_t>(c.patch),
                          patches[i / c.frames][i % c.frames].data_ptr<float>());
  }
  const at::Tensor tags = model.forward(patches, options).logits.argmax(1);
  std::vector<int64_t> out;
  for (int64_t i = 0; i < windows; ++i) out.push_back(tags[i].item<int64_t>());
  return out;
}

using Confusion = std::vector<std::vector<int>>;

void print_confusion(const Confusion& confusion, const std::vector<std::string>& labels) {
  std::printf("%-12s", "");
  for (const std::string& label : labels) std::printf("%10s", label.c_str());
  std::printf("\n");
  for (size_t row = 0; row < kVersions.size(); ++row) {
    std::printf("%-12s", labels[static_cast<size_t>(kVersions[row])].c_str());
    for (const int count : confusion[row]) std::printf("%10d", count);
    std::printf("\n");
  }
}

void draw_confusion(const Confusion& confusion, const std::vector<std::string>& labels,
                    const fs::path& file) {
  constexpr int kCell = 84;
  constexpr int kRow = 40;
  const int left = 110;
  cv::Mat picture(kRow * (static_cast<int>(kVersions.size()) + 1),
                  left + kCell * static_cast<int>(labels.size()), CV_8UC3, cv::Scalar::all(255));
  const auto write = [&](const std::string& text, int x, int y, const cv::Scalar& colour) {
    cv::putText(picture, text, {x, y}, cv::FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv::LINE_AA);
  };
  for (size_t i = 0; i < labels.size(); ++i) {
    write(labels[i], left + kCell * static_cast<int>(i) + 4, 26, cv::Scalar::all(0));
  }
  for (size_t row = 0; row < kVersions.size(); ++row) {
    const int top = kRow * (static_cast<int>(row) + 1);
    write(labels[static_cast<size_t>(kVersions[row])], 6, top + 26, cv::Scalar::all(0));
    int total = 0;
    for (const int count : confusion[row]) total += count;
    for (size_t i = 0; i < labels.size(); ++i) {
      const double share = total > 0 ? static_cast<double>(confusion[row][i]) / total : 0;
      const cv::Rect cell(left + kCell * static_cast<int>(i), top, kCell - 2, kRow - 2);
      cv::rectangle(picture, cell, cv::Scalar(255, 255 - 130 * share, 255 - 220 * share),
                    cv::FILLED);
      write(std::to_string(confusion[row][i]), cell.x + 28, top + 26, cv::Scalar::all(0));
    }
  }
  cv::imwrite(file.string(), picture);
}

int run(const fs::path& model_folder, const fs::path& clips, const fs::path& picture,
        double least) {
  const Checkpoint checkpoint = load_checkpoint(model_folder);
  const VisionTransformer model(checkpoint.config, checkpoint.weights);
  ForwardOptions options;
  options.r = resolve_r(checkpoint.default_schedule, checkpoint.config);
  Confusion confusion(kVersions.size(), std::vector<int>(checkpoint.labels.size(), 0));
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(clips)) {
    if (entry.path().extension() == ".mp4") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  const auto window = static_cast<size_t>(checkpoint.config.frames);
  if (kPanFrames % window != 0) throw Error(ErrorKind::kSettings, "windows do not fit the pans");
  Random random(1);
  int right = 0;
  int all = 0;
  for (const fs::path& file : files) {
    const std::vector<cv::Mat> clip = read_clip(file, window);
    if (clip.empty()) throw Error(ErrorKind::kRead, "'" + file.string() + "' has too few frames");
    const bool stands_still = camera_stands_still(clip);
    std::printf("%-28s %4zu frames, own camera %s:", file.filename().c_str(), clip.size(),
                stands_still ? "still" : "moving");
    for (size_t row = 0; row < kVersions.size(); ++row) {
      const auto version = make_version(clip, stands_still, kVersions[row], window, random);
      const auto tags = tag_windows(encode_and_decode(version, window), checkpoint, model, options);
      int good = 0;
      for (const int64_t tag : tags) {
        ++confusion[row][static_cast<size_t>(tag)];
        good += tag == static_cast<int64_t>(kVersions[row]) ? 1 : 0;
      }
      std::printf("  %s %d/%zu", kCameraStateNames[static_cast<size_t>(kVersions[row])].data(),
                  good, tags.size());
      right += good;
      all += static_cast<int>(tags.size());
    }
    std::printf("\n");
  }
  print_confusion(confusion, checkpoint.labels);
  draw_confusion(confusion, checkpoint.labels, picture);
  const double share = all > 0 ? static_cast<double>(right) / all : 0;
  std::printf("%d of %d windows right: %.1f %% (asked: %.1f %%)\n", right, all, 100 * share,
              100 * least);
  std::printf("picture: %s\n", picture.c_str());
  return share >= least ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: %s MODEL CLIPS PICTURE.png LEAST-SHARE\n", argv[0]);
    return 2;
  }
  if (!fs::is_directory(argv[2])) {
    std::printf("skipped: no clips at %s\n", argv[2]);
    return kSkipped;
  }
  try {
    return run(argv[1], argv[2], argv[3], std::atof(argv[4]));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return EXIT_FAILURE;
  }
}
