// Where the files that belong to a program or plugin of ours are: in a build tree and when
// installed. A small library of its own, since the plugins do not link the core.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace tome {

/// The first of `folders` that holds `name`, with it; empty if none does.
std::string find_in(const std::vector<std::filesystem::path>& folders, std::string_view name);

/// Folder of the model that ships, camera-state: in $TOMEVIT_MODELS; in models/ of the source tree
/// that the build folder stands in; in the data folder, seen from the folder that is asked from, so
/// that an installation may be moved as a whole; or in the data folder itself. Empty if there is
/// none.
/// @param here  folder of the program or plugin that asks, in a folder of the build folder or
///   installed; empty: not known
/// @param installed  the folder that it is installed into
/// @param data  our data folder, as given at build time like `installed`
std::string default_model_folder(const std::filesystem::path& here,
                                 const std::filesystem::path& installed,
                                 const std::filesystem::path& data);

}  // namespace tome
