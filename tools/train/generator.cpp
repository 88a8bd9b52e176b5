#include "train/generator.h"

#include <algorithm>
#include <cmath>
#include <opencv2/imgproc.hpp>

#include "train/foreground.h"
#include "train/hash.h"
#include "train/sensor.h"
#include "train/stillness.h"

namespace tome::train {
namespace {

// Note [Twice the size, then halved]
// Frames are rendered and "recorded" (noise, blocks, text) at twice the model's size, then halved
// with the weights 1 3 3 1 of an antialiased bilinear resize, the filter that core/media applies to
// a real frame. Pictures were reduced beforehand so that one pixel of the render covers about one
// of the picture: no clip reads a full-size picture.
constexpr int kOversample = 2;
constexpr int kTextures = 48;

bool is_motion(CameraState state) {
  return state != CameraState::kSteady && state != CameraState::kCovered &&
         state != CameraState::kDefocused && state != CameraState::kFrozen;
}

/// The share of the background's height that the view covers, and the shape of the stream.
Pose draw_view(const cv::Mat& background, CameraState state, Random& random) {
  static constexpr double kAspects[] = {4.0 / 3, 16.0 / 9, 16.0 / 9, 4.0 / 3, 1.0, 9.0 / 16, 2.35};
  const double aspect = kAspects[random.index(7)];
  const double share = is_motion(state) ? random.uniform(0.4, 0.75) : random.uniform(0.45, 1.0);
  Pose pose;
  // As large as fits, then the share of it.
  const double height = std::min<double>(background.rows, background.cols / aspect) * share;
  pose.half_height = height / 2;
  pose.half_width = height * aspect / 2;
  if (random.chance(0.15)) pose.angle = random.uniform(-0.3, 0.3);  // a camera mounted askew
  return pose;
}

bool has_contrast(const cv::Mat& frame, double least) {
  cv::Scalar mean;
  cv::Scalar deviation;
  cv::meanStdDev(frame, mean, deviation);
  return deviation[0] + deviation[1] + deviation[2] > 3 * least;
}

// Note [What an observer could tell]
// A label that nobody could read off the frames teaches nothing and measures nothing. So a scene
// has some contrast, and some detail finer than the least defocus takes away: a wall or a blurred
// background alone looks the same sharp, defocused or moving. The same holds for the least speeds
// (camera_path.h) and for how little a frozen stream may change (stillness.cpp).
constexpr double kLeastBlur = 0.035;  // radius, of the view's width
constexpr double kLeastDetail = 2.5;  // grey levels

/// Mean absolute difference to the frame under the least defocus.
bool has_detail(const cv::Mat& frame) {
  const int width = static_cast<int>(frame.cols * kLeastBlur) * 2 + 1;
  cv::Mat blurred;
  cv::blur(frame, blurred, {width, width}, {-1, -1}, cv::BORDER_REFLECT_101);
  return cv::norm(frame, blurred, cv::NORM_L1) >
         kLeastDetail * 3 * static_cast<double>(frame.total());
}

void defocus(std::vector<cv::Mat>& frames, Random& random) {
  const double radius = frames[0].cols * random.log_uniform(kLeastBlur, 0.08);
  const int width = static_cast<int>(radius) * 2 + 1;
  const int passes = random.chance(0.5) ? 1 : 2;  // a disc-like blur or a bell-shaped one
  for (cv::Mat& frame : frames) {
    for (int i = 0; i < passes; ++i) {
      const int side = passes == 1 ? width : std::max(3, static_cast<int>(width * 0.7) | 1);
      cv::blur(frame, frame, {side, side}, {-1, -1}, cv::BORDER_REFLECT_101);
      cv::blur(frame, frame, {std::max(3, side / 2 | 1), std::max(3, side / 2 | 1)});
    }
  }
}

/// Motion caused by the camera for each cell, pixels per frame, mean over a tubelet's steps.
std::vector<float> motion_field(const std::vector<Pose>& path, const GeneratorOptions& options) {
  std::vector<float> field;
  const int last = static_cast<int>(path.size()) - 1;
  for (int t = 0; t < options.frames; t += options.tubelet) {
    const int from = std::min(t, last - 1);
    const int to = std::clamp(t + std::max(options.tubelet - 1, 1), from + 1, last);
    for (int y = 0; y < options.grid; ++y) {
      for (int x = 0; x < options.grid; ++x) {
        const ViewPoint point{(x + 0.5) / options.grid * 2 - 1, (y + 0.5) / options.grid * 2 - 1};
        const ViewPoint motion =
            content_motion(path[static_cast<size_t>(from)], path[static_cast<size_t>(to)], point);
        const double scale = options.size / 2.0 / (to - from);
        field.push_back(static_cast<float>(motion.u * scale));
        field.push_back(static_cast<float>(motion.v * scale));
      }
    }
  }
  return field;
}

/// A stream that was converted to a higher frame rate, or lost a frame, shows one frame twice.
void repeat_one_frame(std::vector<Pose>& path, Random& random) {
  const auto at = static_cast<size_t>(1 + random.index(static_cast<int64_t>(path.size()) - 1));
  for (size_t i = path.size() - 1; i >= at; --i) path[i] = path[i - 1];
}

/// The first `count` views of a path, square, over a still background or some of a live one's
/// frames.
std::vector<cv::Mat> render_path(const Background& background, const std::vector<Pose>& path,
                                 int count, int side, Random& random) {
  const int stride = random.chance(0.3) ? 2 : 1;
  const int length = static_cast<int>(background.frames.size());
  const int span = (static_cast<int>(path.size()) - 1) * stride + 1;
  const int first =
      background.live() && length > span ? static_cast<int>(random.index(length - span + 1)) : 0;
  std::vector<cv::Mat> frames;
  for (int i = 0; i < count; ++i) {
    const int at = std::min(first + i * stride, length - 1);
    const Pose& pose = path[static_cast<size_t>(i)];
    if (i > 0 && !background.live() && pose == path[static_cast<size_t>(i - 1)]) {
      frames.push_back(frames.back().clone());
      continue;
    }
    cv::Mat frame(side, side, CV_8UC3);
    render_view(background.frames[static_cast<size_t>(at)], pose, frame);
    frames.push_back(frame);
  }
  return frames;
}

/// See Note [Twice the size, then halved].
void halve(std::vector<cv::Mat>& frames, int size) {
  for (cv::Mat& frame : frames) {
    cv::GaussianBlur(frame, frame, {3, 3}, 0, 0, cv::BORDER_REPLICATE);  // 1 2 1, and with
    cv::Mat small;                                                       // pairs' means 1 3 3 1
    cv::resize(frame, small, {size, size}, 0, 0, cv::INTER_AREA);
    frame = small;
  }
}

/// What a camera and an encoder make of rendered frames, in the model's size.
void record_scene(CameraState state, const GeneratorOptions& options, std::vector<cv::Mat>& frames,
                  Random& random) {
  SensorOptions sensor = draw_sensor(random);
  // A covered lens may be all black, where noise is cut off or coded away; an encoder may take away
  // anybody's noise but for traces, see Note [Still or frozen].
  const bool denoised = random.chance(is_motion(state) ? 0.3 : 0.6);
  if (state == CameraState::kCovered ? random.chance(0.3) : denoised) sensor.noise = 0;
  record(frames, sensor, random);
  halve(frames, options.size);
  if (state == CameraState::kFrozen) {
    frames.resize(static_cast<size_t>(options.frames));
    freeze(frames, random);
  } else if (state != CameraState::kCovered) {
    if (denoised) {
      add_traces(frames, random.log_uniform(0.17, 0.9), random.uniform(0.25, 1), random);
    }
    keep_alive(frames, random);
  }
}

}  // namespace

void render_view(const cv::Mat& background, const Pose& pose, cv::Mat& out) {
  // Output pixel centres (i + 0.5) / n map to -1 .. 1 of the view.
  const double sx = 2 * pose.half_width / out.cols;
  const double sy = 2 * pose.half_height / out.rows;
  const double c = std::cos(pose.angle);
  const double s = std::sin(pose.angle);
  const double x0 = 0.5 * sx - pose.half_width;
  const double y0 = 0.5 * sy - pose.half_height;
  const cv::Matx23d map(c * sx, -s * sy, pose.x + c * x0 - s * y0 - 0.5,  //
                        s * sx, c * sy, pose.y + s * x0 + c * y0 - 0.5);
  cv::warpAffine(background, out, map, out.size(), cv::INTER_LINEAR | cv::WARP_INVERSE_MAP,
                 cv::BORDER_REFLECT_101);
}

CameraStateGenerator::CameraStateGenerator(GeneratorOptions options,
                                           std::vector<Background> backgrounds, uint64_t seed)
    : options_(options), backgrounds_(std::move(backgrounds)), seed_(seed) {
  Random random(Random::mix(seed, 0x7e87));
  for (int i = 0; i < kTextures; ++i) textures_.push_back(make_texture(512, 384, random));
}

std::string CameraStateGenerator::backgrounds_hash() const {
  Hash hash;
  for (const Background& background : backgrounds_) {
    hash.add_item(background.name).add_item(static_cast<int64_t>(background.frames.size()));
    hash.add_item(background.frames[0].cols).add_item(background.frames[0].rows);
  }
  return hash.text();
}

GeneratedClip CameraStateGenerator::clip(uint64_t index, double difficulty) const {
  return clip_of(static_cast<CameraState>(index % kCameraStates), index, difficulty);
}

const cv::Mat& CameraStateGenerator::draw_texture(Random& random) const {
  return textures_[static_cast<size_t>(random.index(kTextures))];
}

Background CameraStateGenerator::draw_background(Random& random) const {
  if (backgrounds_.empty() || random.chance(options_.texture_share)) {
    return {{draw_texture(random)}, "texture"};
  }
  const auto count = static_cast<int64_t>(backgrounds_.size());
  return backgrounds_[static_cast<size_t>(random.index(count))];
}

CameraStateGenerator::Scene CameraStateGenerator::draw_scene(CameraState state, double difficulty,
                                                             Random& random) const {
  constexpr int kAttempts = 12;  // then as it is: the backgrounds may be walls, all of them
  const double least_contrast = state == CameraState::kDefocused ? 18 : 9;
  Scene scene;
  for (int attempt = 0;; ++attempt) {
    const Background background = draw_background(random);
    const cv::Mat& picture = background.frames[0];
    const Pose start = draw_view(picture, state, random);
    scene.path = make_path(state, start, {options_.frames, difficulty, true}, random);
    const double fits = fit_path(scene.path, picture.cols, picture.rows, random);
    if (fits < 0.95 && attempt < kAttempts) continue;
    if (is_motion(state) && state != CameraState::kShake && random.chance(0.06)) {
      repeat_one_frame(scene.path, random);
    }
    // Of a frozen stream all frames repeat the first.
    const int count = state == CameraState::kFrozen ? 1 : options_.frames;
    scene.frames = render_path(background, scene.path, count, options_.size * kOversample, random);
    const cv::Mat& seen = scene.frames[0];
    if ((has_contrast(seen, least_contrast) && has_detail(seen)) || attempt >= kAttempts) {
      return scene;
    }
  }
}

GeneratedClip CameraStateGenerator::clip_of(CameraState state, uint64_t index,
                                            double difficulty) const {
  Random random(Random::mix(seed_, index, static_cast<uint64_t>(state)));
  Scene scene = draw_scene(state, difficulty, random);
  const bool covered = state == CameraState::kCovered;
  (covered ? draw_cover : draw_objects)(scene.frames, draw_texture(random), random);
  if (state == CameraState::kDefocused) defocus(scene.frames, random);
  record_scene(state, options_, scene.frames, random);
  GeneratedClip clip;
  clip.state = state;
  clip.frames = std::move(scene.frames);
  clip.motion = motion_field(scene.path, options_);
  clip.motion_valid = !covered;
  return clip;
}

}  // namespace tome::train
