// What the parts of the stand-in share: see stand_in.h.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "cuda/stand_in/stand_in.h"

/// The work that was captured, in order.
struct CUgraph_st {
  std::vector<std::function<void()>> work;
};
struct CUgraphExec_st {
  CUgraph_st graph;
};
struct CUevent_st {};
struct CUstream_st {
  std::unique_ptr<CUgraph_st> capture;
  cudaStreamCaptureMode mode{};
  bool ended = false;  ///< the capture, by a call that it forbids
  std::thread::id by;
};

namespace tome::testing::stand_in {

struct Context {
  int device = 0;
};

/// What somebody must destroy, with its device current.
struct Object {
  int device;
  size_t bytes;
  std::shared_ptr<void> held;
};

struct Runtime {
  std::mutex mutex;
  Machine machine;
  std::array<Context, kDevices> contexts{Context{0}, Context{1}};
  std::map<void*, Object> objects;
  std::set<CUstream_st*> streams;
};
Runtime& runtime();

/// What CUDA keeps for each thread.
struct Thread {
  void* context = nullptr;
  int device = 0;  ///< whose context it gets, if it has none when it needs one
  cudaError_t last = cudaSuccess;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
};
Thread& this_thread();

int device_of_this_thread();
Device& current_device_state();
/// Makes a context current where there is none; the error of a device that is lost.
cudaError_t enter();

/// The answer of a call, which becomes the thread's last error if it is one.
inline cudaError_t answer(cudaError_t status) {
  if (status != cudaSuccess) this_thread().last = status;
  return status;
}

template <class Call>
cudaError_t locked(Call&& call) {
  const std::lock_guard lock(runtime().mutex);
  return answer(call());
}

/// A call that needs a context.
template <class Call>
cudaError_t in_context(Call&& call) {
  return locked([&] {
    const cudaError_t status = enter();
    return status != cudaSuccess ? status : call();
  });
}

/// A call that captures forbid: of the capturing thread's own, and, unless both threads' modes say
/// otherwise, of others. It fails, and so does the capture.
cudaError_t check_captures();
template <class Call>
cudaError_t beside_captures(Call&& call) {
  return in_context([&] {
    const cudaError_t status = check_captures();
    return status != cudaSuccess ? status : call();
  });
}

/// On the current device, until `destroy`. Of a call.
template <class T>
T* own(std::shared_ptr<T> object, size_t bytes = 0) {
  T* address = object.get();
  runtime().objects[address] = {device_of_this_thread(), bytes, std::move(object)};
  current_device_state().used += bytes;
  ++runtime().machine.counts.live;
  return address;
}
cudaError_t destroy(void* object);

}  // namespace tome::testing::stand_in
