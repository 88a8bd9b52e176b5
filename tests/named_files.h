// Many tests in one program, whose sources are compiled together: the tests of a source file run
// apart from the others, in a process of their own.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <iostream>
#include <set>
#include <string>

namespace tome::testing {

/// merging/schedule_test.cpp, however it was reached.
inline std::string in_folder(const std::filesystem::path& file) {
  return file.parent_path().filename() / file.filename();
}

/// GoogleTest's filter for what these files hold.
inline std::string filter_of(const std::set<std::string>& files) {
  const auto& all = *::testing::UnitTest::GetInstance();
  std::string filter;
  for (int i = 0; i < all.total_test_suite_count(); ++i) {
    const auto& suite = *all.GetTestSuite(i);
    for (int k = 0; k < suite.total_test_count(); ++k) {
      const auto& test = *suite.GetTestInfo(k);
      if (!files.contains(in_folder(test.file()))) continue;
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
    std::set<std::string> files;
    for (int i = 1; i < argc; ++i) {
      files.insert(in_folder(argv[i]));
      if (filter_of({in_folder(argv[i])}).empty()) {
        std::cerr << "there is no test in " << argv[i] << '\n';
        return 2;
      }
    }
    ::testing::GTEST_FLAG(filter) = filter_of(files);
  }
  return RUN_ALL_TESTS();
}

}  // namespace tome::testing
