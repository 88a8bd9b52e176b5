// Files that are there whole or not at all.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>

namespace tome {

/// Takes the next bytes of a file.
using ByteSink = std::function<void(const void* bytes, size_t size)>;

/// Puts what `write` hands to its sink at `path`, through NAME.part beside it, so that neither a
/// reader nor a power cut meets half of it. The NAME.part that a kill leaves is what the next call
/// writes over.
/// @throws Error kFailed, also while another writes the same file; and what `write` throws. Then
///   `path` is as it was.
void replace_file(const std::filesystem::path& path,
                  const std::function<void(const ByteSink&)>& write);

}  // namespace tome
