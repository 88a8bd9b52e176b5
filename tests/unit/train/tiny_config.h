// The smallest clip model that the tests of training use.
#pragma once

#include "train/camera_state.h"
#include "vit/config.h"

namespace tome::train {

/// 16 x 16 pixels, four frames in two tubelets, width 24, two blocks.
inline ViTConfig tiny_config() {
  ViTConfig c;
  c.name = "tiny";
  c.image_height = c.image_width = 16;
  c.patch = 8;
  c.frames = 4;
  c.tubelet = 2;
  c.dim = 24;
  c.depth = 2;
  c.heads = 2;
  c.mlp_hidden = 48;
  c.classes = kCameraStates;
  c.class_token = false;
  c.pooling = Pooling::kMean;
  c.final_norm = false;
  c.fc_norm = true;
  return c;
}

}  // namespace tome::train
