// Values that C callers pass, checked.
#pragma once

#include <string>

#include "tome_error.h"

namespace tome {

/// @throws Error kSettings for NULL
template <class T>
T& need(T* pointer, const char* what) {
  if (pointer == nullptr) {
    throw Error(ErrorKind::kSettings, std::string(what) + ": found NULL, expected a pointer");
  }
  return *pointer;
}

/// An enumerator of C as one of C++ with the same order, of which there are `count`.
/// @throws Error kSettings for a number that is none
template <class To, class From>
To enumerator(From value, int count, const char* what) {
  const auto number = static_cast<long long>(value);
  if (number < 0 || number >= count) {
    throw Error(ErrorKind::kSettings, std::string(what) + ": found " + std::to_string(number) +
                                          ", expected 0 to " + std::to_string(count - 1));
  }
  return static_cast<To>(number);
}

inline std::string text(const char* string) { return string != nullptr ? string : ""; }

}  // namespace tome
