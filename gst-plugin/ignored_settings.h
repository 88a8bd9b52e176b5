// Settings that cannot apply, which a user would miss otherwise.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "classify_settings.h"

namespace tome::gst {

/// A text for each setting that another one makes void; it names both.
/// @param clip_length  frames in a window of the model that is open; 1: it takes frames
std::vector<std::string> ignored_settings(const Settings& settings, uint32_t clip_length);

}  // namespace tome::gst
