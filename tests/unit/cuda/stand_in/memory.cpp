// Memory of the stand-in and copies: device memory is the host's, up to a device's capacity.
#include <cstdlib>
#include <cstring>

#include "cuda/stand_in/runtime.h"

using namespace tome::testing::stand_in;

namespace {

constexpr size_t kAlignment = 256;  // as cudaMalloc's

std::shared_ptr<void> host_memory(size_t bytes) {
  const size_t whole = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  return {std::aligned_alloc(kAlignment, whole), std::free};
}

cudaError_t copy(cudaStream_t stream, std::function<void()> work) {
  return in_context([&] { return place(stream, {cudaGraphNodeTypeMemcpy, std::move(work)}); });
}

}  // namespace

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  return beside_captures([&] {
    const Device& device = current_device_state();
    if (bytes > device.capacity - device.used) {
      ++machine().counts.failed_allocations;
      machine().counts.refused = bytes;
      machine().counts.left = device.capacity - device.used;
      return cudaErrorMemoryAllocation;
    }
    *memory = own(host_memory(bytes), bytes);
    return cudaSuccess;
  });
}

cudaError_t cudaFree(void* memory) {
  return beside_captures([&] { return destroy(memory); });
}

cudaError_t cudaHostAlloc(void** memory, size_t bytes, unsigned) {
  return beside_captures([&] {
    *memory = own(host_memory(bytes));
    return cudaSuccess;
  });
}

cudaError_t cudaFreeHost(void* memory) {
  return beside_captures([&] { return destroy(memory); });
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  return in_context([&] {
    const Device& device = current_device_state();
    *total = device.capacity;
    *free = device.capacity - device.used;
    return cudaSuccess;
  });
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind,
                            cudaStream_t stream) {
  return copy(stream, [=] { std::memcpy(to, from, bytes); });
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  cudaMemsetParams p{};
  p.dst = to;
  p.value = static_cast<unsigned>(value);
  p.elementSize = p.height = 1;
  p.width = bytes;
  return in_context([&] { return place(stream, memset_of(p)); });
}

cudaError_t cudaMemcpy3DAsync(const cudaMemcpy3DParms* parameters, cudaStream_t stream) {
  return copy(stream, [p = *parameters] {
    const auto row = [](const cudaPitchedPtr& of, size_t slice, size_t i) {
      return static_cast<unsigned char*>(of.ptr) + (slice * of.ysize + i) * of.pitch;
    };
    for (size_t slice = 0; slice < p.extent.depth; ++slice) {
      for (size_t i = 0; i < p.extent.height; ++i) {
        std::memcpy(row(p.dstPtr, slice, i), row(p.srcPtr, slice, i), p.extent.width);
      }
    }
  });
}

// What the core used before its own streams, and must not use again.

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  return beside_captures([&] {
    ++machine().counts.default_stream;
    std::memcpy(to, from, bytes);
    return cudaSuccess;
  });
}

cudaError_t cudaMemset(void* to, int value, size_t bytes) {
  return beside_captures([&] {
    ++machine().counts.default_stream;
    std::memset(to, value, bytes);
    return cudaSuccess;
  });
}
