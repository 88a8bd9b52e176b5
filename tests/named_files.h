// Many tests in one program, whose sources are compiled together: the tests of a source file run
// apart from the others, in a process of their own.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <iostream>
#include <string>

namespace tome::testing {

/// merging/schedule_test.cpp, however it was reached.
inline std::string in_folder(const std::filesystem::path& file) {
  return file.parent_path().filename() / file.filename();
}

/// GoogleTest's filter for the tests of one source file; "" if it holds none.
inline std::string filter_of(const std::filesystem::path& file) {
  const auto& all = *::testing::UnitTest::GetInstance();
  std::string filter;
  for (int i = 0; i < all.total_test_suite_count(); ++i) {
    const auto& suite = *all.GetTestSuite(i);
    for (int k = 0; k < suite.total_test_count(); ++k) {
      const auto& test = *suite.GetTestInfo(k);
      if (in_folder(test.file()) != in_folder(file)) continue;
      filter += std::string(filter.empty() ? "" : ":") + suite.name() + "." + test.name();
    }
  }
  return filter;
}

/// Runs the tests of the source files that are named, e.g. `unit_tests merging/schedule_test.cpp`;
/// without a name, or where a filter is given, GoogleTest decides.
/// @param argc, argv  what GoogleTest has left of the command line
/// @returns the exit status; 2 if a file holds no test
inline int run_named(int argc, char** argv) {
  if (argc > 1 && ::testing::GTEST_FLAG(filter) == "*") {
    std::string filter;
    for (int i = 1; i < argc; ++i) {
      const std::string tests = filter_of(argv[i]);
      if (tests.empty()) {
        std::cerr << "there is no test in " << argv[i] << '\n';
        return 2;
      }
      filter += (filter.empty() ? "" : ":") + tests;
    }
    ::testing::GTEST_FLAG(filter) = filter;
  }
  return RUN_ALL_TESTS();
}

}  // namespace tome::testing
