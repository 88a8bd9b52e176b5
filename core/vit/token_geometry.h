// What a schedule must know of a model and its input.
#pragma once

#include <cstdint>

#include "merging/schedule.h"
#include "vit/config.h"
#include "vit/first_tokens.h"

namespace tome {

/// @param frames  given to the model: any number for an image model, see Note [Image models on
///   clips]; of a clip model the config alone says how many
inline TokenGeometry token_geometry(const ViTConfig& config, int64_t frames) {
  const FirstTokens first(config, frames);
  return {config.depth, first.count(), first.prefix, config.dim, config.mlp_hidden};
}

}  // namespace tome
