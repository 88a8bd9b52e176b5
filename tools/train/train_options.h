// The options of `tome train`.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "train/trainer.h"

namespace tome::cli {

/// As given; 0 or empty where nothing is.
struct TrainArguments {
  std::string out, init, data, generator, name;
  std::optional<std::string> split, eval_split;  ///< unset: train and val, if there are splits
  std::vector<std::string> pictures, clips;
  int64_t frames = 0, tubelet = 0, size = 0, patch = 16, dim = 192, depth = 6, heads = 6, mlp = 4;
  int64_t batch = 32, epochs = 0, ramp = 0, eval_clips = 1200, frame_stride = 0;
  double ema = 0.999, weight_decay = 0.05;
  std::optional<double> cache_gb;  ///< unset: a share of the memory
  std::string partition = "auto", precision = "fp32", dtype = "bf16";
  int threads = 0;
  double jitter = 0;
  bool class_token = false, no_flip = false, whole_frame = false;
  train::TrainOptions options;
};

void add_train_options(CLI::App& app, TrainArguments& arguments);

/// Refuses what would be ignored.
/// @throws Error kSettings
void check_train_options(const CLI::App& app, const TrainArguments& arguments);

}  // namespace tome::cli
