// How many tokens there are before block 0, and what the prefix tokens count among them.
#pragma once

#include <algorithm>
#include <cstdint>

#include "vit/config.h"

namespace tome {

/// Note [Image models on clips]: an image model given T frames runs their patches as one joint set
/// with one class token. Each frame alone would have had its own class token, so that one counts T
/// times as a key (a bias of log T); T identical frames then give exactly the logits of one. Where
/// proportional attention is off and patches merge, each that is left counts once, and the class
/// token as often as there are frames' worth of them: merged down to one frame's, a still clip is
/// that frame.
struct FirstTokens {
  /// @param clip_frames  frames given to the model
  FirstTokens(const ViTConfig& config, int64_t clip_frames)
      : prefix(config.prefix_tokens()),
        cells(config.patch_tokens()),
        joint_frames(config.frames == 1 ? clip_frames : 1) {}

  int64_t count() const { return prefix + cells * joint_frames; }

  /// What each prefix token counts as a key beside those patch tokens that are left.
  /// @param tokens  that are left, prefix included
  double prefix_weight(int64_t tokens, bool proportional) const {
    if (proportional) return static_cast<double>(joint_frames);
    return std::max(1.0, static_cast<double>(tokens - prefix) / static_cast<double>(cells));
  }

  int64_t prefix, cells;  ///< `cells`: patch tokens of one frame, or of a clip model's clip
  int64_t joint_frames;   ///< T of an image model run on a clip, else 1
};

}  // namespace tome
