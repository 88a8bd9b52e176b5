// What a camera can be doing: the classes of models/camera-state.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "tome_error.h"

namespace tome::train {

/// Pan-left: the camera turns to the left, so the picture's content moves to the right. Tilt-up: it
/// turns up, the content moves down. Zoom-in: the content grows. Roll: it turns about its axis,
/// either way.
enum class CameraState {
  kSteady,
  kPanLeft,
  kPanRight,
  kTiltUp,
  kTiltDown,
  kZoomIn,
  kZoomOut,
  kRoll,
  kShake,
  kCovered,
  kDefocused,
  kFrozen,
};

inline constexpr std::array<std::string_view, 12> kCameraStateNames{
    "steady",   "pan-left", "pan-right", "tilt-up", "tilt-down", "zoom-in",
    "zoom-out", "roll",     "shake",     "covered", "defocused", "frozen"};
inline constexpr int kCameraStates = static_cast<int>(kCameraStateNames.size());

inline std::vector<std::string> camera_state_labels() {
  return {kCameraStateNames.begin(), kCameraStateNames.end()};
}

/// @throws Error kSettings that lists the names
inline CameraState parse_camera_state(std::string_view name) {
  std::string known;
  for (int i = 0; i < kCameraStates; ++i) {
    if (kCameraStateNames[static_cast<size_t>(i)] == name) return static_cast<CameraState>(i);
    known += (i == 0 ? "" : ", ") + std::string(kCameraStateNames[static_cast<size_t>(i)]);
  }
  throw Error(ErrorKind::kSettings,
              "motion '" + std::string(name) + "' is not known; expected one of " + known);
}

}  // namespace tome::train
