// `tome demo-clip`: a clip of a virtual camera over a made texture, so that there is something to
// tag on a machine without any data.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>
#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <opencv2/videoio.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "media_reader.h"
#include "tome_error.h"
#include "train/backgrounds.h"
#include "train/camera_path.h"
#include "train/generator.h"
#include "train/sensor.h"
#include "train/train_command.h"

namespace tome::cli {
namespace {

using namespace tome::train;

struct DemoArguments {
  std::string out, motion = "steady,pan-left,tilt-up,zoom-in,roll,shake,covered,defocused,frozen";
  int width = 640, height = 360, frames = 48, rate = 30;
  double speed = 0.015;
  uint64_t seed = 7;
};

std::vector<CameraState> parse_motions(const std::string& list) {
  std::vector<CameraState> out;
  std::stringstream in(list);
  for (std::string name; std::getline(in, name, ',');) out.push_back(parse_camera_state(name));
  if (out.empty()) throw Error(ErrorKind::kSettings, "--motion is empty; expected e.g. pan-left");
  return out;
}

/// A path of one even speed, so that the whole segment shows what its name says.
std::vector<Pose> even_path(CameraState state, Pose pose, int frames, double speed,
                            Random& random) {
  std::vector<Pose> path;
  for (int i = 0; i < frames; ++i) {
    path.push_back(pose);
    double dx = 0;
    double dy = 0;
    double zoom = 0;
    double turn = 0;
    switch (state) {
      case CameraState::kPanLeft:
        dx = -speed;
        break;
      case CameraState::kPanRight:
        dx = speed;
        break;
      case CameraState::kTiltUp:
        dy = -speed;
        break;
      case CameraState::kTiltDown:
        dy = speed;
        break;
      case CameraState::kZoomIn:
        zoom = -1.5 * speed;
        break;
      case CameraState::kZoomOut:
        zoom = 1.5 * speed;
        break;
      case CameraState::kRoll:
        turn = 1.5 * speed;
        break;
      case CameraState::kShake:
        dx = (i % 2 == 0 ? 1 : -1) * speed * random.uniform(0.7, 1.5);
        dy = (i % 3 == 0 ? 1 : -0.5) * speed * random.uniform(0.5, 1.5);
        break;
      default:
        break;
    }
    view_to_background(path.back(), {2 * dx, 2 * dy}, &pose.x, &pose.y);
    pose.half_width *= std::exp(zoom);
    pose.half_height *= std::exp(zoom);
    pose.angle += turn;
  }
  return path;
}

std::vector<cv::Mat> render_segment(CameraState state, const cv::Mat& background,
                                    const DemoArguments& a, Random& random) {
  Pose start;
  start.half_width = a.width / 2.0;
  start.half_height = a.height / 2.0;
  std::vector<Pose> path = even_path(state, start, a.frames, a.speed, random);
  fit_path(path, background.cols, background.rows, random);
  std::vector<cv::Mat> frames;
  for (const Pose& pose : path) {
    cv::Mat frame(a.height, a.width, CV_8UC3);
    render_view(background, pose, frame);
    if (state == CameraState::kCovered) frame.setTo(cv::Scalar(52, 44, 40));
    if (state == CameraState::kDefocused) {
      const int side = a.width / 24 * 2 + 1;
      cv::blur(frame, frame, {side, side});
      cv::blur(frame, frame, {side / 2 * 2 + 1, side / 2 * 2 + 1});
    }
    frames.push_back(frame);
  }
  SensorOptions sensor;
  sensor.noise = 6;
  record(frames, sensor, random);
  if (state == CameraState::kFrozen) {
    for (cv::Mat& frame : frames) frame = frames[0];
  }
  return frames;
}

/// Where frames go: raw RGB on standard output ("-"), a video file, or a folder of PNGs.
class FrameWriter {
 public:
  explicit FrameWriter(const DemoArguments& a) : out_(a.out) {
    const std::string ending = std::filesystem::path(out_).extension().string();
    if (out_ == "-") return;
    if (ending.empty()) {
      std::filesystem::create_directories(out_);
      return;
    }
    // Motion JPEG is in every OpenCV; other codecs depend on how it was built.
    const int codec = ending == ".mp4" ? cv::VideoWriter::fourcc('m', 'p', '4', 'v')
                                       : cv::VideoWriter::fourcc('M', 'J', 'P', 'G');
    // One back end: OpenCV would otherwise try every one that it has.
    video_.open(out_, cv::CAP_FFMPEG, codec, a.rate, {a.width, a.height});
    if (!video_.isOpened()) {
      throw Error(ErrorKind::kFailed,
                  "'" + out_ + "' cannot be written as video; expected .avi, .mp4, a folder or -");
    }
  }

  void write(const cv::Mat& rgb) {
    if (out_ == "-") {
      if (std::fwrite(rgb.data, 1, rgb.total() * 3, stdout) != rgb.total() * 3) {
        throw Error(ErrorKind::kFailed, "standard output was closed");
      }
      return;
    }
    cv::Mat bgr;
    cv::cvtColor(rgb, bgr, cv::COLOR_RGB2BGR);
    const int number = count_++;
    if (video_.isOpened()) {
      video_.write(bgr);
      return;
    }
    char name[32];
    std::snprintf(name, sizeof name, "%05d.png", number);
    const std::string file = (std::filesystem::path(out_) / name).string();
    if (!cv::imwrite(file, bgr)) throw Error(ErrorKind::kFailed, file + ": cannot be written");
  }

  /// OpenCV does not say that a disk is full.
  void finish() {
    if (!video_.isOpened()) return;
    video_.release();
    if (count_frames(out_) != count_) {
      throw Error(ErrorKind::kFailed, "'" + out_ + "': not all frames could be written");
    }
  }

 private:
  std::string out_;
  cv::VideoWriter video_;
  int count_ = 0;
};

void run_demo(const DemoArguments& a) {
  const std::vector<CameraState> states = parse_motions(a.motion);
  Random random(a.seed);
  const double sides = 1.6 + a.speed * a.frames;  // wide enough for a pan of one segment
  constexpr double kMostPixels = 3e8;
  if (a.width * sides * a.height * sides > kMostPixels) {
    throw Error(ErrorKind::kSettings, "--frames: found " + std::to_string(a.frames) +
                                          ", expected fewer: a pan over " + std::to_string(sides) +
                                          " pictures takes too large a background");
  }
  const cv::Mat background =
      make_texture(static_cast<int>(a.width * sides), static_cast<int>(a.height * sides), random);
  FrameWriter writer(a);
  for (const CameraState state : states) {
    for (const cv::Mat& frame : render_segment(state, background, a, random)) writer.write(frame);
  }
  writer.finish();
}

}  // namespace

void add_demo_clip_command(CLI::App& app) {
  CLI::App* demo =
      app.add_subcommand("demo-clip", "Make a clip of a moving virtual camera over a made texture");
  const auto a = std::make_shared<DemoArguments>();
  demo->add_option("out", a->out, "FILE.avi, FILE.mp4, a folder for PNGs, or - (raw RGB)")
      ->required();
  demo->add_option("--motion", a->motion, "States of the camera, one after another")
      ->capture_default_str();
  demo->add_option("--frames", a->frames, "Frames of each state")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  demo->add_option("--speed", a->speed, "Motion per frame, share of the view")
      ->check(CLI::Range(0.0, 0.2))
      ->capture_default_str();
  demo->add_option("--width", a->width, "Pixels")
      ->check(CLI::Range(16, 4096))
      ->capture_default_str();
  demo->add_option("--height", a->height, "Pixels")
      ->check(CLI::Range(16, 4096))
      ->capture_default_str();
  demo->add_option("--rate", a->rate, "Frames per second")
      ->check(CLI::Range(1, 240))
      ->capture_default_str();
  demo->add_option("--seed", a->seed, "Seed")->capture_default_str();
  demo->callback([a] { run_demo(*a); });
}

}  // namespace tome::cli
