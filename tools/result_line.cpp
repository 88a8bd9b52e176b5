#include "result_line.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <span>

#include "engine/postprocess.h"

namespace tome::cli {
namespace {

/// Scores are single precision; more digits would only show its rounding. Not finite: null.
nlohmann::ordered_json rounded(double score) {
  if (!std::isfinite(score)) return nullptr;
  return std::round(score * 1e6) / 1e6;
}

}  // namespace

std::vector<Tag> top_tags(const at::Tensor& scores, const std::vector<std::string>& labels,
                          int64_t count, double threshold) {
  const std::span<const float> values(scores.const_data_ptr<float>(),
                                      static_cast<size_t>(scores.size(0)));
  std::vector<Tag> tags;
  for (const LabelScore& best : top_scores(values, static_cast<size_t>(count), threshold)) {
    tags.push_back({best.id, labels.at(static_cast<size_t>(best.id)), best.score});
  }
  return tags;
}

nlohmann::ordered_json tags_json(const std::vector<Tag>& tags) {
  auto out = nlohmann::ordered_json::array();
  for (const Tag& tag : tags) {
    out.push_back({{"id", tag.id}, {"label", tag.label}, {"score", rounded(tag.score)}});
  }
  return out;
}

at::Tensor to_scores(const at::Tensor& logits, ScoreActivation activation) {
  switch (activation) {
    case ScoreActivation::kSoftmax:
      return logits.softmax(-1);
    case ScoreActivation::kSigmoid:
      return logits.sigmoid();
    case ScoreActivation::kNone:
      break;
  }
  return logits;
}

nlohmann::ordered_json result_json(const std::string& file, const std::string& model,
                                   const ResultTime& time, const std::vector<Tag>& tags,
                                   int64_t tokens_in, int64_t tokens_out) {
  const auto number = [](const std::optional<double>& value) -> nlohmann::ordered_json {
    return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
  };
  nlohmann::ordered_json line;
  line["file"] = file;
  line["time"] = wall_clock();
  line["pts"] = number(time.pts);
  line["stream"] = file;
  line["model"] = model;
  line["region"] = nullptr;
  line["object"] = nullptr;
  line["clip"] = nullptr;
  if (time.clip_start) {
    line["clip"] = {
        {"start", *time.clip_start}, {"end", number(time.clip_end)}, {"frames", time.frames}};
  }
  line["age"] = 0;
  line["tags"] = tags_json(tags);
  line["tokens_in"] = tokens_in;
  line["tokens_out"] = tokens_out;
  return line;
}

std::string wall_clock() {
  const auto now = std::chrono::system_clock::now();
  const auto millis =
      std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count();
  const std::time_t seconds = millis / 1000;
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char date[32], text[48];
  std::strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &utc);
  std::snprintf(text, sizeof(text), "%s.%03dZ", date, static_cast<int>(millis % 1000));
  return text;
}

}  // namespace tome::cli
