// The options that say which model a command runs, and at what size.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace tome::cli {

struct ModelSettings {
  std::string folder;
  std::string labels_file;  ///< empty: the model's own labels
  int64_t clip_length = 0;  ///< frames of one input; 0: the model's own
  int64_t size = 0;         ///< pixels of a side of a square input; 0: the model's own
};

/// Adds a --model that may be left out, see use_shipped_model().
void add_model_or_shipped(CLI::App& command, ModelSettings& settings);
/// Takes the model that ships where none is given. @throws Error kNotFound if it is not there
void use_shipped_model(ModelSettings& settings);

/// Adds --clip-length, as --help says of what, and --size.
void add_size_options(CLI::App& command, ModelSettings& settings, const char* clip_length_help);

/// load_checkpoint(), whose errors name --size or --clip-length where these do not fit the model.
Checkpoint load_model(const ModelSettings& settings);

/// Frames of one input: clip_frames() of the core, whose errors name --clip-length.
int64_t frames_per_request(const ViTConfig& config, int64_t clip_length);

/// What --r asks of each block or, where it is empty, the schedule that the model ships with.
/// @param frames  of one input
/// @throws Error as Schedule does, naming the option
std::vector<int64_t> r_or_shipped(const std::string& spec, const Checkpoint& checkpoint,
                                  int64_t frames);

}  // namespace tome::cli
