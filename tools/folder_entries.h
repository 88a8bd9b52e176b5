// What is in a folder, by name.
#pragma once

#include <filesystem>
#include <vector>

namespace tome::cli {

/// Paths of what is in `folder`, sorted, but for names that begin with a dot.
/// @throws Error kRead naming the folder
std::vector<std::filesystem::path> visible_entries(const std::filesystem::path& folder);

/// `path` itself if it is a file, else all files in it and its folders, by name. Links to folders
/// are followed at the top alone, for they may lead back up.
/// @throws Error kRead naming a folder
std::vector<std::filesystem::path> visible_files(const std::filesystem::path& path);

}  // namespace tome::cli
