// What the core does with the same frames and no pipeline around it.
#pragma once

#include "stream_run.h"

namespace tome::bench {

struct CoreFigures {
  double frames_per_s = 0;
  double batch_ms = 0;  ///< one full batch, pre-processing included
};

/// Frames of all sources from memory, in turn, through the core's own table of functions.
CoreFigures measure_core_alone(const StreamOptions& options);

}  // namespace tome::bench
