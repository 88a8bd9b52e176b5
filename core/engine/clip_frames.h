// How many frames one request of a model has.
#pragma once

#include <cstdint>

#include "vit/config.h"

namespace tome {

/// Those that a clip model was loaded for; for an image model `clip_length`, or 1 where that is
/// less.
/// @throws Error kSettings, which begins with "clip-length", where such a clip would have more
///   frames or patch tokens than a model of that size may have (kMaxFrames, kMaxTokens)
int64_t clip_frames(const ViTConfig& config, int64_t clip_length);

}  // namespace tome
