#include "cuda/stream.h"

#include <cuda.h>

#include <exception>

#include "cuda/device.h"
#include "cuda/runtime.h"

namespace tome::cuda {
namespace {

/// Of the driver, whose library is not linked. The runtime knows devices alone: what it would
/// restore is the device's own context, in place of one that an application made.
struct ContextCalls {
  decltype(&cuCtxGetCurrent) get = nullptr;
  decltype(&cuCtxSetCurrent) set = nullptr;
};

template <class F>
void find_call(const char* name, F& call) {
  constexpr const char* kFinding = "looking for the driver's calls";
  constexpr unsigned kAsOfCuda = 12000;
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result{};
  check(cudaGetDriverEntryPointByVersion(name, &found, kAsOfCuda, cudaEnableDefault, &result),
        kFinding);
  if (result != cudaDriverEntryPointSuccess || found == nullptr) {
    throw Error(ErrorKind::kDevice, std::string("CUDA: the driver has no ") + name);
  }
  call = reinterpret_cast<F>(found);
}

const ContextCalls& context_calls() {
  static const ContextCalls calls = [] {
    ContextCalls found;
    find_call("cuCtxGetCurrent", found.get);
    find_call("cuCtxSetCurrent", found.set);
    return found;
  }();
  return calls;
}

}  // namespace

int current_device(const char* what) {
  int index = 0;
  check(cudaGetDevice(&index), what);
  return index;
}

CurrentDevice::CurrentDevice(int index) {
  // Before anything of the thread's has called CUDA, the driver may say that it is not ready.
  if (context_calls().get(&before_) != CUDA_SUCCESS) before_ = nullptr;
  try {
    check(cudaSetDevice(index), "choosing the device");
  } catch (...) {  // there is no destructor to do it
    context_calls().set(before_);
    throw;
  }
  cudaStreamCaptureMode mode = cudaStreamCaptureModeThreadLocal;
  if (cudaThreadExchangeStreamCaptureMode(&mode) != cudaSuccess) {
    cudaGetLastError();
  } else if (mode != cudaStreamCaptureModeRelaxed) {
    capture_mode_ = mode;
  } else if (cudaThreadExchangeStreamCaptureMode(&mode) != cudaSuccess) {
    // An application that permits itself more goes on so.
    cudaGetLastError();
  }
}

CurrentDevice::~CurrentDevice() {
  // First: without a context, CUDA's runtime would make the device's current again.
  if (capture_mode_ != kUnchanged) {
    auto mode = static_cast<cudaStreamCaptureMode>(capture_mode_);
    if (cudaThreadExchangeStreamCaptureMode(&mode) != cudaSuccess) cudaGetLastError();
  }
  context_calls().set(before_);  // it may be gone by now; that is nobody's error here
}

DestroyOnDevice::DestroyOnDevice(Destroy destroy, const char* what)
    : destroy_(destroy), device_(current_device(what)) {}

void DestroyOnDevice::operator()(void* object) const noexcept {
  try {
    const CurrentDevice current(device_);
    if (destroy_(object) != 0) cudaGetLastError();  // else a later call would be blamed for it
  } catch (const std::exception&) {
  }
}

OwnedStream::OwnedStream() {
  constexpr const char* kMaking = "making a stream";
  const auto destroy = [](void* stream) -> int {
    return cudaStreamDestroy(static_cast<cudaStream_t>(stream));
  };
  stream_ = make_on_device<CUstream_st>(destroy, kMaking, [](cudaStream_t* stream) {
    return cudaStreamCreateWithFlags(stream, cudaStreamNonBlocking);
  });
}

Event::Event(Kind kind) {
  const auto destroy = [](void* event) -> int {
    return cudaEventDestroy(static_cast<cudaEvent_t>(event));
  };
  event_ = make_on_device<CUevent_st>(destroy, "making an event", [&](cudaEvent_t* event) {
    const unsigned flags = kind == Kind::kTiming ? cudaEventDefault : cudaEventDisableTiming;
    return cudaEventCreateWithFlags(event, flags);
  });
}

void Event::record(Stream stream) {
  check(cudaEventRecord(event_.get(), stream), "recording an event");
}

void Event::hold_back(Stream stream) const {
  check(cudaStreamWaitEvent(stream, event_.get(), 0), "waiting for an event");
}

double Event::milliseconds_since(const Event& earlier) const {
  float ms = 0;
  check(cudaEventElapsedTime(&ms, earlier.event_.get(), event_.get()), "reading a time");
  return ms;
}

PinnedMemory::PinnedMemory(size_t bytes, const char* what) : bytes_(bytes) {
  if (bytes == 0) return;
  const auto destroy = [](void* memory) -> int { return cudaFreeHost(memory); };
  data_ = make_on_device<void>(destroy, what, [&](void** memory) {
    const cudaError_t status = cudaHostAlloc(memory, bytes, cudaHostAllocDefault);
    if (status != cudaErrorMemoryAllocation) return status;
    cudaGetLastError();
    throw Error(ErrorKind::kOutOfMemory, std::string(what) + ": asked for " +
                                             std::to_string(bytes) +
                                             " bytes of page-locked host memory, which are not "
                                             "to be had");
  });
}

void copy_to_device(void* to, const void* from, size_t bytes, Stream stream) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream), "copying to the device");
}

void copy_to_host(void* to, const void* from, size_t bytes, Stream stream) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream),
        "copying from the device");
}

void copy_on_device(void* to, const void* from, size_t bytes, Stream stream) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream),
        "copying on the device");
}

void copy_rows_on_device(const Slices& to, const Slices& from, size_t bytes, size_t rows,
                         size_t slices, Stream stream) {
  cudaMemcpy3DParms p{};
  p.srcPtr = make_cudaPitchedPtr(from.start, from.pitch, bytes, from.slice_pitch / from.pitch);
  p.dstPtr = make_cudaPitchedPtr(to.start, to.pitch, bytes, to.slice_pitch / to.pitch);
  p.extent = make_cudaExtent(bytes, rows, slices);
  p.kind = cudaMemcpyDeviceToDevice;
  check(cudaMemcpy3DAsync(&p, stream), "copying on the device");
}

void clear_on_device(void* memory, size_t bytes, Stream stream) {
  check(cudaMemsetAsync(memory, 0, bytes, stream), "clearing memory");
}

}  // namespace tome::cuda
