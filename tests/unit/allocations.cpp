#include "allocations.h"

#include <cstdlib>
#include <new>

namespace tome::testing {

std::atomic<int64_t> allocations{0};
thread_local int allocations_left = -1;

}  // namespace tome::testing

using tome::testing::allocations;
using tome::testing::allocations_left;

// GCC sees `free` after `new` wherever it inlines these, and not that both are replaced.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

void* operator new(size_t bytes) {
  ++allocations;
  if (allocations_left >= 0 && allocations_left-- == 0) throw std::bad_alloc();
  if (void* memory = std::malloc(bytes)) return memory;
  throw std::bad_alloc();
}
/// What stable_sort asks; AddressSanitizer has one of its own, of other memory.
void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  try {
    return operator new(bytes);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void* operator new(size_t bytes, std::align_val_t alignment) {
  ++allocations;
  void* memory = nullptr;
  if (posix_memalign(&memory, static_cast<size_t>(alignment), bytes) == 0) return memory;
  throw std::bad_alloc();
}
/// What CpuBuffer asks.
extern "C" void* aligned_alloc(size_t alignment, size_t bytes) noexcept {
  ++allocations;
  void* memory = nullptr;
  return posix_memalign(&memory, alignment, bytes) == 0 ? memory : nullptr;
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
