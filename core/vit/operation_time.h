#pragma once

#include <string>

namespace tome {

/// How long the operations of one kind in a forward took together.
struct OperationTime {
  std::string name;
  int calls = 0;
  double milliseconds = 0;
};

}  // namespace tome
