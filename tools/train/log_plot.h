// The log of a training run as a picture.
#pragma once

#include <filesystem>
#include <string>

namespace tome::train {

/// Draws top-1, loss and learning rate over the steps of `log`, JSON Lines of TrainLog, as a PNG
/// file. A log without a step makes none.
/// @throws Error kFailed if `picture` cannot be written
void draw_log(const std::filesystem::path& log, const std::filesystem::path& picture,
              const std::string& title);

}  // namespace tome::train
