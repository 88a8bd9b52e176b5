// Files that are there whole or not at all.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>

namespace tome {

/// Takes the next bytes of a file.
using ByteSink = std::function<void(const void* bytes, size_t size)>;

/// Puts what `write` hands to its sink at `path`, through a NAME.part… beside it, so that neither a
/// reader nor a power cut meets half of it. Of two who write at once, the last one's file stays.
/// What killed processes left beside it is removed: NAME.part<process>-<number>, and nothing else;
/// what is of this process's number and not older than it is left where it is.
/// A link at `path` gives way to the file.
/// @throws Error kFailed, and what `write` throws; then `path` is as it was
void replace_file(const std::filesystem::path& path,
                  const std::function<void(const ByteSink&)>& write);

}  // namespace tome
