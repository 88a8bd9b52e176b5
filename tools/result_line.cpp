#include "result_line.h"

#include <ATen/ATen.h>

#include <chrono>
#include <span>
#include <utility>

#include "engine/postprocess.h"

namespace tome::cli {

std::vector<ResultTag> top_tags(const at::Tensor& scores, const std::vector<std::string>& labels,
                                int64_t count, double threshold) {
  const std::span<const float> values(scores.const_data_ptr<float>(),
                                      static_cast<size_t>(scores.size(0)));
  std::vector<ResultTag> tags;
  for (const LabelScore& best : top_scores(values, static_cast<size_t>(count), threshold)) {
    tags.push_back({best.id, labels.at(static_cast<size_t>(best.id)), best.score});
  }
  return tags;
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

ResultRecord result_record(const std::string& file, const std::string& model,
                           const ResultTime& time, std::vector<ResultTag> tags, int64_t tokens_in,
                           int64_t tokens_out) {
  ResultRecord result;
  result.file = file;
  result.time = std::chrono::system_clock::now();
  result.pts = time.pts;
  result.stream = file;
  result.model = model;
  result.clip_start = time.clip_start;
  result.clip_end = time.clip_end;
  result.frames = time.frames;
  result.tags = std::move(tags);
  result.tokens_in = tokens_in;
  result.tokens_out = tokens_out;
  return result;
}

}  // namespace tome::cli
