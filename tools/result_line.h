// One classification as people and programs read it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace tome::cli {

struct Tag {
  int64_t id = 0;
  std::string label;
  float score = 0;
};

/// The `count` best tags of one sample, best first; equal scores go to the lower class,
/// and what is not a number is left out.
/// @param scores  float32 [classes], CPU
std::vector<Tag> top_tags(const at::Tensor& scores, const std::vector<std::string>& labels,
                          int64_t count, double threshold);

/// [{"id", "label", "score"}, …], scores in six decimals.
nlohmann::ordered_json tags_json(const std::vector<Tag>& tags);

/// Logits to scores. @param logits  [B, classes]
at::Tensor to_scores(const at::Tensor& logits, ScoreActivation activation);

/// Where a result comes from, in seconds of the file; nothing for a picture.
struct ResultTime {
  std::optional<double> pts, clip_start, clip_end;
  int64_t frames = 1;
};

/// The object that tomepublish prints, with the key `file` added.
nlohmann::ordered_json result_json(const std::string& file, const std::string& model,
                                   const ResultTime& time, const std::vector<Tag>& tags,
                                   int64_t tokens_in, int64_t tokens_out);

/// Now, UTC, RFC 3339 with milliseconds.
std::string wall_clock();

}  // namespace tome::cli
