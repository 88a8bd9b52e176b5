// One row of what `tome eval` measures.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/result_json.h"
#include "vit/clip_batch.h"
#include "vit/model.h"

namespace tome::cli {

/// A precision and a schedule, and what they did so far.
struct EvalRun {
  std::string precision, spec;
  const VisionTransformer* model = nullptr;
  ForwardOptions options;
  double seconds = 0;
  int64_t images = 0;
  std::vector<std::vector<ResultTag>> tags;  ///< of the last batch, the best first

  /// Takes in what a batch of requests of `frames` frames cost.
  void add_cost(const ClipBatchOutput& output, const ViTConfig& config, int64_t frames);
  /// Takes in the best tags of one image, and adds them to `tags`. No tag, where no score is a
  /// number, is wrong.
  void add_answer(std::vector<ResultTag> best, int64_t truth);

  double top1() const { return percent(top1_); }
  double gflops() const;  ///< of one request, the mean
  /// Percent of the images whose best class is that of another run over the same ones. Where no
  /// score is a number there is none.
  double agreement(const EvalRun& other) const;

  /// Adds the numbers to a row of JSON.
  void write_to(nlohmann::ordered_json& row) const;
  static std::string header();
  /// A line of the table under header().
  std::string line(std::optional<double> agreed) const;

 private:
  double percent(int64_t part) const;
  /// Standard error of top1().
  double top1_error() const;

  int64_t top1_ = 0, top5_ = 0;
  std::vector<int64_t> leading_;  // best class of each image, or -1
  // Sums over requests, which differ where static patches merge.
  int64_t requests_ = 0, tokens_in_ = 0, tokens_last_ = 0;
  std::vector<int64_t> r_;
  double gflops_ = 0;
};

}  // namespace tome::cli
