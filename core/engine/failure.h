// One description of whatever was thrown, ours, LibTorch's or the standard library's.
#pragma once

#include <exception>
#include <string>

#include "tome_error.h"

namespace tome {

struct Failure {
  ErrorKind kind = ErrorKind::kFailed;
  std::string text;
};

/// LibTorch's backtraces are left out of the text.
Failure describe_failure(const std::exception_ptr& error);

}  // namespace tome
