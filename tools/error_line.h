// What the program says on stderr.
#pragma once

#include <algorithm>
#include <iostream>
#include <string>

#include "tome_error.h"

namespace tome::cli {

/// Prints one line, whatever the text holds: callers parse stderr line by line.
inline void say(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  std::cerr << "tome: " << text << std::endl;
}

/// Whether an error is one file's own, and the others can still be read.
inline bool is_of_file(ErrorKind kind) {
  return kind == ErrorKind::kNotFound || kind == ErrorKind::kRead || kind == ErrorKind::kFormat;
}

}  // namespace tome::cli
