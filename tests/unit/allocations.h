// The program's allocations, counted: those of the library too, and what the kernels' buffers ask.
#pragma once

#include <atomic>
#include <cstdint>

namespace tome::testing {

extern std::atomic<int64_t> allocations;
/// Of this thread before there is no memory; -1: all.
extern thread_local int allocations_left;

}  // namespace tome::testing
