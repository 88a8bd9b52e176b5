// What is in a folder, by name, and what a name says.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace tome::cli {

/// Paths of what is in `folder`, sorted, but for names that begin with a dot.
/// @throws Error kRead naming the folder
std::vector<std::filesystem::path> visible_entries(const std::filesystem::path& folder);

/// A folder to go into on a walk: links to folders may lead back up, and are none.
bool is_inner_folder(const std::filesystem::path& entry);

/// The ending of a file's name with its dot, in small letters: ".jpg" of A.JPG. Empty: none.
std::string lower_ending(const std::filesystem::path& file);

}  // namespace tome::cli
