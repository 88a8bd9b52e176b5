// Tests of kernels that need a GPU are skipped where there is none, and say why. Where there is
// one, kernels that do not run on it fail them.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "cuda/device.h"
#include "tome_error.h"

namespace tome::testing {

inline std::optional<std::string> why_no_device() {
  try {
    cuda::open_device(0);
    return std::nullopt;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kDevice);
    return error.what();
  }
}

}  // namespace tome::testing

#define TOME_NEEDS_DEVICE() \
  if (const auto why = why_no_device()) GTEST_SKIP() << *why
