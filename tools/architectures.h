// Vision Transformers by name, with random weights: to measure with, where no checkpoint is at
// hand.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace tome::cli {

/// Names that random_checkpoint accepts: vit_{tiny,small,base,large}_patch16_{224,384} and
/// video_vit_{base,large}, mae_st's clip models: 16 frames in tubelets of 2, 1568 tokens, no class
/// token, mean pooling.
std::vector<std::string> architecture_names();

/// A model of that shape. Weights are normal with standard deviation 0.02, biases zero.
/// @throws Error kSettings for an unknown name; the text lists the known ones
Checkpoint random_checkpoint(const std::string& name, uint64_t seed);

}  // namespace tome::cli
