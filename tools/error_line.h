// What the program says on stderr.
#pragma once

#include <algorithm>
#include <iostream>
#include <string>

namespace tome::cli {

/// Prints one line, whatever the text holds: callers parse stderr line by line.
inline void say(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  std::cerr << "tome: " << text << std::endl;
}

}  // namespace tome::cli
