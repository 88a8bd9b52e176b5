// One classification as people and programs read it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "engine/result_json.h"

namespace tome::cli {

/// The `count` best tags of one sample, best first; equal scores go to the lower class,
/// and what is not a number is left out, as are scores below a `threshold` that is not 0.
/// @param scores  float32 [classes], CPU
std::vector<ResultTag> top_tags(const at::Tensor& scores, const std::vector<std::string>& labels,
                                int64_t count, double threshold);

/// Logits to scores. @param logits  [B, classes]
at::Tensor to_scores(const at::Tensor& logits, ScoreActivation activation);

/// Where a result comes from, in seconds of the file; nothing for a picture.
struct ResultTime {
  std::optional<double> pts, clip_start, clip_end;
  int64_t frames = 1;  ///< of the file, padding not counted
};

/// A fresh result as it is now: the object that tomepublish prints, with the key `file` before it.
ResultRecord result_record(const std::string& file, const std::string& model,
                           const ResultTime& time, std::vector<ResultTag> tags, int64_t tokens_in,
                           int64_t tokens_out);

}  // namespace tome::cli
