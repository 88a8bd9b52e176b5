// What the program says on stderr.
#pragma once

#include <algorithm>
#include <iostream>
#include <string>

#include "excerpt.h"
#include "tome_error.h"

namespace tome::cli {

/// Text from outside, such as a file's name, as one line that no terminal takes for a command:
/// control characters and bytes that are no UTF-8 are escapes.
inline std::string printable(const std::string& text) { return excerpt(text, text.size()); }

/// Prints one line, whatever the text holds: callers parse stderr line by line, and a name in it
/// may come from anywhere.
inline void say(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  std::cerr << "tome: " + printable(text) + "\n" << std::flush;  // whole, also of several threads
}

/// Whether an error is one file's own, and the others can still be read.
inline bool is_of_file(ErrorKind kind) {
  return kind == ErrorKind::kNotFound || kind == ErrorKind::kRead || kind == ErrorKind::kFormat;
}

}  // namespace tome::cli
