// What is in a folder, by name.
#pragma once

#include <filesystem>
#include <vector>

namespace tome::cli {

/// Paths of what is in `folder`, sorted, but for names that begin with a dot.
/// @throws Error kRead naming the folder
std::vector<std::filesystem::path> visible_entries(const std::filesystem::path& folder);

/// A folder to go into on a walk: links to folders may lead back up, and are none.
bool is_inner_folder(const std::filesystem::path& entry);

}  // namespace tome::cli
