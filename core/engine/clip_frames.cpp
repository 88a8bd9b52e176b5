#include "engine/clip_frames.h"

#include <algorithm>
#include <string>

#include "checkpoint/model_spec.h"
#include "tome_error.h"

namespace tome {

int64_t clip_frames(const ViTConfig& config, int64_t clip_length) {
  if (config.frames > 1) return config.frames;
  const int64_t frames = std::max<int64_t>(clip_length, 1);
  const int64_t most =
      std::min(kMaxFrames, std::max<int64_t>(kMaxTokens / config.patch_tokens(), 1));
  if (frames > most) {
    throw Error(ErrorKind::kSettings, "clip-length: found " + std::to_string(frames) +
                                          ", expected at most " + std::to_string(most) +
                                          " for this model");
  }
  return frames;
}

}  // namespace tome
