// The way of frames, and of labelled samples, into patch rows.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "dataset.h"
#include "media/frame.h"
#include "tome_error.h"

namespace tome::cli {

/// One frame as the model's patch rows: float32 [n, 3 * p * p].
/// @throws Error as preprocess_to_patches
at::Tensor patch_rows(const Frame& frame, const Checkpoint& checkpoint);

/// How a sample becomes requests.
struct SamplePlan {
  int64_t frames = 1;   ///< frames of one request
  int64_t windows = 1;  ///< requests of one video, evenly spread; pictures alone are one each
  int64_t stride = 1;   ///< frames between two frames of a window; 0: spread over the video
};

/// Those of some samples that can be read, and why the others cannot.
struct SampleRows {
  at::Tensor patches;         ///< float32 [read.size() * windows, frames, n, 3 * p * p]
  std::vector<int64_t> read;  ///< places among the samples asked for, rising
  /// In the order of the samples, naming the file and its row in labels.csv, if there is one.
  std::vector<Error> unreadable;
};

/// Decodes and pre-processes `samples`, several at a time.
/// @throws what is not one file's own, see is_of_file()
SampleRows load_samples(const std::vector<Sample>& samples, const Checkpoint& checkpoint,
                        const SamplePlan& plan, int threads);

}  // namespace tome::cli
