// What is said where a test expects an error.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "tome_error.h"

namespace tome::testing {

/// The text of the error that `run` throws; fails the test if there is none.
template <typename F>
std::string error_of(F&& run) {
  try {
    run();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return {};
}

}  // namespace tome::testing
