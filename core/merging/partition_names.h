// What the ways to split tokens are called, on command lines and in files.
#pragma once

#include "merging/matching.h"

namespace tome {

constexpr const char* name_of(Partition partition) {
  switch (partition) {
    case Partition::kAlternating:
      return "alternating";
    case Partition::kSequential:
      return "sequential";
    case Partition::kRandom:
      return "random";
    case Partition::kByFrame:
      return "by-frame";
    case Partition::kCheckerboard:
      break;
  }
  return "checkerboard";
}

}  // namespace tome
