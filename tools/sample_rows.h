// Labelled samples' way into patch rows.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "dataset.h"

namespace tome::cli {

/// True if it is a picture that OpenCV reads.
/// @throws Error naming the file and its row in labels.csv, if there is one
bool is_picture(const Sample& sample);

/// How a sample becomes requests.
struct SamplePlan {
  int64_t frames = 1;   ///< frames of one request
  int64_t windows = 1;  ///< requests of one video, evenly spread; pictures alone are one each
  int64_t stride = 1;   ///< frames between two frames of a window; 0: spread over the video
};

/// Decodes and pre-processes `samples`, several at a time. Stops at one that cannot be read: what
/// is measured on the others would be another number.
/// @throws Error naming the file and its row in labels.csv, if there is one
/// @return float32 [samples * plan.windows, plan.frames, n, 3 * p * p], patch rows
at::Tensor load_samples(const std::vector<Sample>& samples, const Checkpoint& checkpoint,
                        const SamplePlan& plan, int threads);

}  // namespace tome::cli
