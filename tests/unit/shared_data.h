// Data that tests may read but the project does not ship.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

namespace tome::testing {

/// The folder of shared test data; may not exist.
inline std::filesystem::path shared_data() {
  const char* dir = std::getenv("TOME_SHARED_DATA");
  return dir != nullptr ? dir : "../shared/data";
}

}  // namespace tome::testing

/// Skips the test, with a word, where the shared data is not there.
#define TOME_NEEDS_SHARED_DATA(relative)                                     \
  if (!std::filesystem::exists(::tome::testing::shared_data() / (relative))) \
  GTEST_SKIP() << "shared test data not found: "                             \
               << (::tome::testing::shared_data() / (relative)).string()
