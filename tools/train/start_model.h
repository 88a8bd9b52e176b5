// What a training starts from: a new model, or one that is there.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "train/train_options.h"

namespace tome::cli {

/// With --init that model, in the input size, with the frames and the head that are asked for (a
/// new head where its labels are not those of the data, and stderr says so); else a new one.
/// @param labels  of the data, in the order of its classes
/// @throws Error kSettings for a shape that cannot be, in the words of the options; as
///   load_checkpoint() for --init
Checkpoint start_model(const TrainArguments& arguments, std::vector<std::string> labels);

/// Of the weights in a model folder, be they in one file or in several.
/// @throws Error kRead naming what cannot be read
std::string weights_hash(const std::filesystem::path& folder);

/// Of what a model folder says about its weights: the architecture, and how pictures become input.
/// @throws Error kRead naming what cannot be read
std::string config_hash(const std::filesystem::path& folder);

}  // namespace tome::cli
