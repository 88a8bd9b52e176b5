#include "train/camera_path.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace tome::train {
namespace {

constexpr double kDegree = std::numbers::pi / 180;

/// Lower bound of a speed when only part of the difficulty is asked for.
double slowest(double low, double high, double difficulty) {
  return low * std::pow(high / low, 0.5 * (1 - difficulty));
}

double draw_speed(double low, double high, double difficulty, Random& random) {
  return random.log_uniform(slowest(low, high, difficulty), high);
}

/// One step of the camera: translation in views, change of log zoom, turn.
struct Step {
  double dx = 0, dy = 0, zoom = 0, angle = 0;
};

/// Speed changes within a clip, and the hand or the gear adds a little.
void make_imperfect(std::vector<Step>& steps, double size, Random& random) {
  const double ramp = random.uniform(-0.5, 0.5);
  const double drift = 0.2 * size * random.unit();
  const double direction = random.uniform(0, 2 * std::numbers::pi);
  const double jitter = random.chance(0.5) ? 0.15 * size * random.unit() : 0;
  const auto count = static_cast<double>(steps.size());
  for (size_t i = 0; i < steps.size(); ++i) {
    const double factor = 1 + ramp * ((static_cast<double>(i) + 0.5) / count * 2 - 1);
    Step& step = steps[i];
    step = {step.dx * factor, step.dy * factor, step.zoom * factor, step.angle * factor};
    step.dx += drift * std::cos(direction) + jitter * random.normal();
    step.dy += drift * std::sin(direction) + jitter * random.normal();
  }
}

/// A shaken camera goes to and fro: in the end it has come, and turned, about a third as far as it
/// moved and turned on the way, at most. Else it would be a pan or a roll with a jitter.
std::vector<Step> shake_steps(int count, double difficulty, Random& random) {
  const double size = draw_speed(0.006, 0.05, difficulty, random);
  std::vector<Step> steps(static_cast<size_t>(count));
  for (int attempt = 0;; ++attempt) {
    const double frequency = random.uniform(0.15, 0.5);
    const double phase_x = random.uniform(0, 2 * std::numbers::pi);
    const double phase_y = random.uniform(0, 2 * std::numbers::pi);
    const double axis = random.uniform(0, std::numbers::pi / 2);
    const double jitter = random.uniform(0.1, 0.9);
    const double turn = random.chance(0.5) ? size * 0.8 * random.unit() : 0;
    double sum_x = 0, sum_y = 0, length = 0, sum_angle = 0, turned = 0;
    for (int i = 0; i < count; ++i) {
      const double phase = 2 * std::numbers::pi * frequency * i;
      Step step;
      step.dx =
          size * 1.6 * std::cos(axis) * std::cos(phase + phase_x) + size * jitter * random.normal();
      step.dy =
          size * 1.6 * std::sin(axis) * std::cos(phase + phase_y) + size * jitter * random.normal();
      step.angle = turn * random.normal();
      sum_x += step.dx;
      sum_y += step.dy;
      length += std::hypot(step.dx, step.dy);
      sum_angle += step.angle;
      turned += std::abs(step.angle);
      steps[static_cast<size_t>(i)] = step;
    }
    const bool returns =
        std::hypot(sum_x, sum_y) < 0.35 * length && std::abs(sum_angle) <= 0.35 * turned;
    if (returns || attempt == 40) return steps;
  }
}

/// `size`: how far the content moves per frame, in views, to scale what is added to it.
std::vector<Step> draw_steps(CameraState state, int count, double difficulty, double* size,
                             Random& random) {
  Step step;
  switch (state) {
    case CameraState::kPanLeft:
    case CameraState::kPanRight:
      *size = draw_speed(0.005, 0.06, difficulty, random);
      step.dx = state == CameraState::kPanLeft ? -*size : *size;
      break;
    case CameraState::kTiltUp:
    case CameraState::kTiltDown:
      *size = draw_speed(0.005, 0.06, difficulty, random);
      step.dy = state == CameraState::kTiltUp ? -*size : *size;
      break;
    case CameraState::kZoomIn:
    case CameraState::kZoomOut: {
      const double rate = draw_speed(0.01, 0.05, difficulty, random);
      step.zoom = state == CameraState::kZoomIn ? -rate : rate;
      *size = rate / 2;
      break;
    }
    case CameraState::kRoll: {
      const double rate = draw_speed(0.7, 4.5, difficulty, random) * kDegree;
      step.angle = random.sign() * rate;
      *size = rate / 2;
      break;
    }
    case CameraState::kShake:
      return shake_steps(count, difficulty, random);
    default:
      break;
  }
  return std::vector<Step>(static_cast<size_t>(count), step);
}

}  // namespace

void view_to_background(const Pose& pose, ViewPoint point, double* x, double* y) {
  const double px = point.u * pose.half_width;
  const double py = point.v * pose.half_height;
  *x = pose.x + std::cos(pose.angle) * px - std::sin(pose.angle) * py;
  *y = pose.y + std::sin(pose.angle) * px + std::cos(pose.angle) * py;
}

ViewPoint background_to_view(const Pose& pose, double x, double y) {
  const double dx = x - pose.x;
  const double dy = y - pose.y;
  return {(std::cos(pose.angle) * dx + std::sin(pose.angle) * dy) / pose.half_width,
          (-std::sin(pose.angle) * dx + std::cos(pose.angle) * dy) / pose.half_height};
}

ViewPoint content_motion(const Pose& before, const Pose& after, ViewPoint point) {
  double x = 0;
  double y = 0;
  view_to_background(before, point, &x, &y);
  const ViewPoint moved = background_to_view(after, x, y);
  return {moved.u - point.u, moved.v - point.v};
}

std::vector<Pose> make_path(CameraState state, const Pose& start, const PathOptions& options,
                            Random& random) {
  double size = 0;
  std::vector<Step> steps =
      draw_steps(state, std::max(options.frames - 1, 1), options.difficulty, &size, random);
  if (options.imperfect) {
    if (size > 0) {
      make_imperfect(steps, size, random);
    } else if (state != CameraState::kShake && state != CameraState::kFrozen &&
               random.chance(0.3)) {
      const double vibration = 0.0004 * random.unit();
      for (Step& step : steps) {
        step.dx = vibration * random.normal();
        step.dy = vibration * random.normal();
      }
    }
  }
  std::vector<Pose> path{start};
  for (int i = 1; i < options.frames; ++i) {
    const Step& step = steps[static_cast<size_t>(i - 1)];
    Pose pose = path.back();
    view_to_background(path.back(), {2 * step.dx, 2 * step.dy}, &pose.x, &pose.y);
    pose.half_width *= std::exp(step.zoom);
    pose.half_height *= std::exp(step.zoom);
    pose.angle += step.angle;
    path.push_back(pose);
  }
  return path;
}

double fit_path(std::vector<Pose>& path, double width, double height, Random& random) {
  double left = 1e30, right = -1e30, top = 1e30, bottom = -1e30;
  for (const Pose& pose : path) {
    for (const double u : {-1.0, 1.0}) {
      for (const double v : {-1.0, 1.0}) {
        double x = 0;
        double y = 0;
        view_to_background(pose, {u, v}, &x, &y);
        left = std::min(left, x);
        right = std::max(right, x);
        top = std::min(top, y);
        bottom = std::max(bottom, y);
      }
    }
  }
  const double spare_x = width - (right - left);
  const double spare_y = height - (bottom - top);
  const double shift_x = (spare_x > 0 ? random.uniform(0, spare_x) : spare_x / 2) - left;
  const double shift_y = (spare_y > 0 ? random.uniform(0, spare_y) : spare_y / 2) - top;
  for (Pose& pose : path) {
    pose.x += shift_x;
    pose.y += shift_y;
  }
  return std::min({1.0, width / (right - left), height / (bottom - top)});
}

}  // namespace tome::train
