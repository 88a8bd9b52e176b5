// Values that C callers pass, checked.
#pragma once

#include <cstring>
#include <string>
#include <type_traits>

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

/// What a field of C holds, of any enumerator or of none. C++ may take a number that needs more
/// bits than the enumerators for one that cannot be, and leave out the check (-fstrict-enums does),
/// so it is not read as theirs.
template <class From>
long long number_in(const From& field) {
  std::underlying_type_t<From> number;
  static_assert(sizeof number == sizeof field);
  std::memcpy(&number, &field, sizeof number);
  return static_cast<long long>(number);
}

/// An enumerator of C as one of C++ with the same order, of which there are `count`.
/// @param field  the caller's own, not a copy: see number_in
/// @throws Error kSettings for a number that is none
template <class To, class From>
To enumerator(const From& field, int count, const char* what) {
  const long long number = number_in(field);
  if (number < 0 || number >= count) {
    throw Error(ErrorKind::kSettings, std::string(what) + ": found " + std::to_string(number) +
                                          ", expected 0 to " + std::to_string(count - 1));
  }
  return static_cast<To>(number);
}

inline std::string text(const char* string) { return string != nullptr ? string : ""; }

}  // namespace tome
