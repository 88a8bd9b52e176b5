// What a real camera and an encoder do to a clip: exposure, noise, compression, burnt-in text.
#pragma once

#include <opencv2/core.hpp>
#include <vector>

#include "train/random.h"

namespace tome::train {

struct SensorOptions {
  double noise = 2;         ///< standard deviation, grey levels
  bool grey_noise = false;  ///< the same noise in the three channels
  double gain = 1, gamma = 1;
  double gain_drift = 0;  ///< relative change of gain per frame
  double flicker = 0;     ///< relative change of gain from frame to frame, to and fro
  double tint[3] = {1, 1, 1};
  bool monochrome = false;
  int jpeg_quality = 0;  ///< 0: none
  /// Blocks that change by less than this (mean grey levels) repeat the last frame's, as an H.264
  /// encoder skips them; 0: none.
  double skip_threshold = 0;
  int skip_block = 8;    ///< pixels
  bool overlay = false;  ///< burnt-in text and a logo, which do not move with the scene
};

/// Draws the settings of one camera.
SensorOptions draw_sensor(Random& random);

/// Turns rendered frames (RGB, 8 bits) into recorded ones, in place.
void record(std::vector<cv::Mat>& frames, const SensorOptions& options, Random& random);

}  // namespace tome::train
