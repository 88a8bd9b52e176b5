// The option --r.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "merging/schedule.h"

namespace tome::cli {

/// What `spec`, the value of --r, asks of each block.
/// @throws Error as Schedule does, with the option before its text
std::vector<int64_t> asked_r(const std::string& spec, const TokenGeometry& geometry);

}  // namespace tome::cli
