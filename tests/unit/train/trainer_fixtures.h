// Tiny trainings for the tests of the trainer.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "temporary_folder.h"
#include "tiny_config.h"
#include "train/parameters.h"
#include "train/trainer.h"

namespace tome::train {

namespace fs = std::filesystem;

/// The path of a folder that is not there yet, and goes with the program.
inline fs::path fresh_folder(const std::string& name) {
  static const testing::TemporaryFolder all;
  const fs::path folder = all.path() / name;
  fs::remove_all(folder);
  return folder;
}

inline Checkpoint tiny_checkpoint() {
  Checkpoint out;
  out.config = tiny_config();
  out.weights = make_weights(out.config, 9);
  out.labels = camera_state_labels();
  return out;
}

inline std::unique_ptr<GeneratorSource> tiny_source() {
  const ViTConfig c = tiny_config();
  GeneratorOptions options;
  options.frames = static_cast<int>(c.frames);
  options.size = static_cast<int>(c.image_height);
  options.grid = static_cast<int>(c.grid_rows());
  options.tubelet = static_cast<int>(c.tubelet);
  return std::make_unique<GeneratorSource>(
      std::make_shared<CameraStateGenerator>(options, std::vector<Background>{}, 5), c,
      PreprocessSpec(), 12, 4);
}

inline TrainOptions tiny_options() {
  TrainOptions options;
  options.steps = 6;
  options.warmup_steps = 2;
  options.r = "2";
  options.motion_loss = 0.5;
  options.mixed_partitions = true;
  options.drop_path = 0.1;
  options.save_every = 2;
  options.eval_every = 100;
  options.log_every = 1;
  options.progress = false;
  return options;
}

inline void expect_equal_weights(Checkpoint a, Checkpoint b) {
  const auto from = list_parameters(a.weights);
  const auto to = list_parameters(b.weights);
  ASSERT_EQ(from.size(), to.size());
  for (size_t i = 0; i < from.size(); ++i) {
    EXPECT_TRUE(at::equal(from[i].tensor, to[i].tensor)) << from[i].name;
  }
}

/// One number of each line of the log in `folder`.
inline std::vector<double> logged(const fs::path& folder, const char* key) {
  std::vector<double> out;
  std::ifstream log(folder / "log.jsonl");
  for (std::string line; std::getline(log, line);) {
    out.push_back(nlohmann::json::parse(line).at(key).get<double>());
  }
  return out;
}

}  // namespace tome::train
