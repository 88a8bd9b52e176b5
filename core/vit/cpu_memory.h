// Memory of the CPU's own forward: aligned for vectors, on large pages where the system gives them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace tome {

class CpuBuffer {
 public:
  CpuBuffer() = default;
  /// @throws std::bad_alloc
  explicit CpuBuffer(int64_t bytes) {
    constexpr size_t kLine = 64;
    constexpr size_t kLargePage = size_t{2} << 20;
    const size_t alignment = static_cast<size_t>(bytes) >= kLargePage ? kLargePage : kLine;
    bytes_ = (static_cast<size_t>(bytes) + alignment) / alignment * alignment;
    memory_.reset(std::aligned_alloc(alignment, bytes_));
    if (!memory_) throw std::bad_alloc();
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    // Weights are read once from end to end: on small pages a product waits for the page tables.
    if (alignment == kLargePage) madvise(memory_.get(), bytes_, MADV_HUGEPAGE);
#endif
  }

  int64_t bytes() const { return static_cast<int64_t>(bytes_); }
  template <typename T = char>
  T* at(int64_t byte = 0) const {
    return reinterpret_cast<T*>(static_cast<char*>(memory_.get()) + byte);
  }

 private:
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  size_t bytes_ = 0;
  std::unique_ptr<void, Free> memory_;
};

}  // namespace tome
