// Objects of the process that outlive its exit.
#pragma once

#include <memory>

namespace tome {

/// The process's one T, made when it is first asked for. Never destroyed: exit() runs destructors
/// of globals while threads of streams may still be using them.
template <class T>
T& never_destroyed() {
  static T* const one = std::make_unique<T>().release();
  return *one;
}

}  // namespace tome
