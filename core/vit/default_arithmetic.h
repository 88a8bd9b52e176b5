// Floating-point arithmetic that does not depend on the program around it.
#pragma once

#include <cfenv>

namespace tome {

/// Note [Arithmetic of the host]: a thread begins with the rounding and the traps of the one that
/// starts it, and a program may have others than the usual, of which results would depend: rounding
/// towards zero gives other bytes, and a trap ends the process in an operator that is right to
/// divide by zero. So threads of our own begin with this, and what we compute on a program's thread
/// it has in its scope.
class DefaultArithmetic {
 public:
  DefaultArithmetic() {
    std::fegetenv(&before_);
    std::fesetenv(FE_DFL_ENV);
  }
  ~DefaultArithmetic() { std::fesetenv(&before_); }
  DefaultArithmetic(const DefaultArithmetic&) = delete;
  DefaultArithmetic& operator=(const DefaultArithmetic&) = delete;

 private:
  std::fenv_t before_{};
};

}  // namespace tome
