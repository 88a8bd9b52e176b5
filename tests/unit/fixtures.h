// Files that tests read and the project ships.
#pragma once

#include <cstdlib>
#include <filesystem>

namespace tome::testing {

/// The folder tests/fixtures, also when a test is started by hand from the root of the tree or from
/// the build folder.
inline std::filesystem::path fixtures() {
  if (const char* folder = std::getenv("TOME_FIXTURES")) return folder;
  return std::filesystem::exists("tests/fixtures") ? "tests/fixtures" : "../tests/fixtures";
}

}  // namespace tome::testing
