// Frames of the C interface as the engine's.
#pragma once

#include <memory>

#include "engine/c_api.h"
#include "engine/stream.h"
#include "media/frame.h"

namespace tome {

/// Who keeps the pixels alive: its last copy calls release. Null where there is no release.
std::shared_ptr<const void> keep_alive(const TomeFrame& frame);

/// Without keep_alive. @throws Error kSettings for an unknown format, matrix, range or memory
Frame frame_of(const TomeFrame& in);

/// @throws Error kSettings for regions that are counted and not given
FrameOptions frame_options_of(const TomeFrame& in);

}  // namespace tome
