// What stands between the virtual camera and the scene: moving objects, covers.
#pragma once

#include <opencv2/core.hpp>
#include <vector>

#include "train/random.h"

namespace tome::train {

/// A few objects (patches of other pictures, cut to an ellipse or a box) that cross the view on
/// their own ways. They hide at most about a third of it, so what the camera does stays visible.
void draw_objects(std::vector<cv::Mat>& frames, const cv::Mat& texture, Random& random);

/// Hides the lens: something plain, soft or fine-grained over all or nearly all of the view.
void draw_cover(std::vector<cv::Mat>& frames, const cv::Mat& texture, Random& random);

}  // namespace tome::train
