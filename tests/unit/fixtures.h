// Files that tests read and the project ships.
#pragma once

#include <cstdlib>
#include <filesystem>

namespace tome::testing {

/// The folder tests/fixtures, also when a test is started by hand from the root of the tree.
inline std::filesystem::path fixtures() {
  const char* folder = std::getenv("TOME_FIXTURES");
  return folder != nullptr ? folder : "tests/fixtures";
}

}  // namespace tome::testing
