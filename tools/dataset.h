// A folder of pictures or videos with labels.csv, and its way into patch rows.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace tome::cli {

struct Sample {
  std::filesystem::path file;
  int64_t class_index = 0;
};

/// Reads `folder`/labels.csv. Its header names the columns: `file` and either `class_index` or
/// `label` (then a name of `labels`); rows whose `split` is another than the one asked for are left
/// out. Fields may be quoted.
///
/// @param split  "" takes every row
/// @param limit  at most this many samples, evenly spread over the rows; 0: all
/// @throws Error naming file and line: a missing column, a label the model does not have, a class
///   out of range, no sample at all
std::vector<Sample> read_dataset(const std::filesystem::path& folder,
                                 const std::vector<std::string>& labels, const std::string& split,
                                 int64_t limit);

/// How a sample becomes requests.
struct SamplePlan {
  int64_t frames = 1;   ///< frames of one request
  int64_t windows = 1;  ///< requests of one video, evenly spread; a picture is always one
  int64_t stride = 1;   ///< frames between two frames of a window; 0: spread over the video
};

/// Decodes and pre-processes `samples`, several at a time.
/// @return float32 [samples * plan.windows, plan.frames, n, 3 * p * p], patch rows
at::Tensor load_samples(const std::vector<Sample>& samples, const Checkpoint& checkpoint,
                        const SamplePlan& plan, int threads);

}  // namespace tome::cli
