// What the parts of the stand-in share: see stand_in.h.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "cuda/stand_in/stand_in.h"

struct CUgraphNode_st {
  cudaGraphNodeType type = cudaGraphNodeTypeKernel;
  std::function<void()> work;  ///< may be none
  cudaMemsetParams memset{};   ///< of a memset
  bool begins_early = false;   ///< a kernel, beside the kernel before it
  CUgraph_st* graph = nullptr;
};
struct CUgraph_st {
  struct Edge {
    cudaGraphNode_t from, to;
    bool whole;  ///< `to` begins when `from` has ended
  };
  std::list<CUgraphNode_st> nodes;  ///< as they were made
  std::vector<Edge> edges;
};

namespace tome::testing::stand_in {

/// Of a graph that can be launched, in the order of its launch: what was made last goes last,
/// unless something waits for it.
struct Step {
  cudaGraphNodeType type;
  cudaMemsetParams memset;
  std::function<void()> work;
  std::vector<size_t> after;  ///< the steps that it waits for, sorted
};

/// Of one stream, and of those that fork from it.
struct Capture {
  std::unique_ptr<CUgraph_st> graph = std::make_unique<CUgraph_st>();
  CUstream_st* origin = nullptr;
  cudaStreamCaptureMode mode{};
  std::thread::id by;
  bool ended = false;  ///< by a call that it forbids
  bool over = false;
};

/// Work on streams: how much of each one's, by its number.
using Passed = std::map<uint64_t, size_t>;

/// A point in a stream, which an event keeps.
struct Point {
  std::shared_ptr<Capture> capture;   ///< none: where work is done at once
  std::vector<cudaGraphNode_t> tail;  ///< of a capture: what comes next waits for these
  Passed passed;                      ///< else: the work that comes before
};

}  // namespace tome::testing::stand_in

struct CUgraphExec_st {
  std::vector<tome::testing::stand_in::Step> steps;
};
struct CUevent_st {
  tome::testing::stand_in::Point at;
};
struct CUstream_st {
  uint64_t number = 0;
  tome::testing::stand_in::Point now;
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
  uint64_t streams_made = 0;
  Passed finished;               ///< that the host has waited for
  std::vector<Step> last_graph;  ///< that was made
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

/// Work of a call on a stream: done at once, or a node of what is captured there.
cudaError_t place(cudaStream_t stream, CUgraphNode_st node);
CUgraphNode_st memset_of(const cudaMemsetParams& parameters);
cudaGraphNode_t add_node(CUgraph_st& graph, CUgraphNode_st node,
                         std::span<const cudaGraphNode_t> after);

/// The graph that was made last.
std::vector<Step> last_graph();
/// Streams with work that the host has not waited for, by them or by a stream that waits for it.
size_t unfinished_streams();

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
