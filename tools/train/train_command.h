// `tome train` and `tome demo-clip`.
#pragma once

#include <CLI/CLI.hpp>

namespace tome::cli {

/// Trains or fine-tunes an image or clip model, see docs/training.md.
void add_train_command(CLI::App& app);

/// Writes a clip of a virtual camera over a made texture: something to tag without any data.
void add_demo_clip_command(CLI::App& app);

}  // namespace tome::cli
