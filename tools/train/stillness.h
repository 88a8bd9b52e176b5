// Where nothing moves: what is left of a living sensor behind an encoder, and what a stream that
// stopped looks like.
#pragma once

#include <opencv2/core.hpp>
#include <vector>

#include "train/random.h"

namespace tome::train {

/// Mean absolute difference of neighbouring frames, grey levels, mean over the clip.
double mean_change(const std::vector<cv::Mat>& frames);

/// Adds to each frame (RGB, 8 bits) what an encoder lets through of a sensor's noise: values that
/// differ by a grey level or two, alone or in groups, see Note [Still or frozen]. `deviation`, grey
/// levels before rounding: 0.25 changes about one value in ten from frame to frame. `update`: the
/// share of blocks coded anew in a frame; the others stay.
void add_traces(std::vector<cv::Mat>& frames, double deviation, double update, Random& random);

/// Leaves of each clip whose camera lives at least the change that tells it from a frozen stream.
void keep_alive(std::vector<cv::Mat>& frames, Random& random);

/// The first frame again and again: to the bit, or encoded anew once, or with an encoder's flicker,
/// which stays below what keep_alive() guarantees of a living camera.
void freeze(std::vector<cv::Mat>& frames, Random& random);

}  // namespace tome::train
