// What the engine says about one frame, region or clip.
#pragma once

#include <cstdint>
#include <vector>

#include "media/frame.h"

namespace tome {

struct LabelScore {
  int64_t id = 0;
  float score = 0;
};

struct Classification {
  std::vector<LabelScore> scores;                  ///< best first
  Region region{};                                 ///< as submitted; width 0: the full frame
  int64_t clip_start_pts = -1, clip_end_pts = -1;  ///< ns; of the first and last frame
  uint32_t frames = 1;                             ///< real frames seen, padding not counted
  int64_t tokens_in = 0, tokens_out = 0;
  uint32_t batch = 0;  ///< requests in the same forward
  double queue_ms = 0, preprocess_ms = 0, inference_ms = 0;
};

}  // namespace tome
