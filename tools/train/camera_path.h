// Where a virtual camera looks, frame by frame.
#pragma once

#include <vector>

#include "train/camera_state.h"
#include "train/random.h"

namespace tome::train {

/// One view on a background picture: the picture point at its centre and half its extent, in
/// background pixels, and its turn about the optical axis in radians (positive: the camera turns
/// clockwise, the content anticlockwise).
struct Pose {
  double x = 0, y = 0, half_width = 1, half_height = 1, angle = 0;
  bool operator==(const Pose&) const = default;
};

/// A point of the view, both coordinates in -1 .. 1, right and down.
struct ViewPoint {
  double u = 0, v = 0;
};

/// Where `point` of the view lies in the background, in background pixels.
void view_to_background(const Pose& pose, ViewPoint point, double* x, double* y);

/// Where a background pixel appears in the view.
ViewPoint background_to_view(const Pose& pose, double x, double y);

/// How far the content at `point` moves from `before` to `after`, in units of the view (2 = the
/// whole width or height).
ViewPoint content_motion(const Pose& before, const Pose& after, ViewPoint point);

struct PathOptions {
  int frames = 8;
  /// 0: only large motions; 1: down to the slowest.
  double difficulty = 1;
  /// Secondary motions (drift, jitter, changing speed) and small vibrations of a steady camera.
  bool imperfect = true;
};

/// A path of `state` that starts at `start`. Speeds per frame are drawn from: pan and tilt 0.5 to 6
/// % of the view, zoom 1 to 5 %, roll 0.7 to 4.5 degrees, shake 0.6 to 5 % of the view.
std::vector<Pose> make_path(CameraState state, const Pose& start, const PathOptions& options,
                            Random& random);

/// Moves a whole path so that as much of it as possible lies on a background of this size; what
/// does not is seen mirrored at the border. Returns the share of the path's view extent that fits.
double fit_path(std::vector<Pose>& path, double width, double height, Random& random);

}  // namespace tome::train
