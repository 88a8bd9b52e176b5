// Streams, events, captures and graphs of the stand-in. A stream's work is done when it is
// enqueued, but for a capture's.
#include "cuda/stand_in/runtime.h"

namespace tome::testing::stand_in {

cudaError_t check_captures() {
  const Thread& thread = this_thread();
  for (CUstream_st* stream : runtime().streams) {
    if (!stream->capture) continue;
    const bool own = stream->by == std::this_thread::get_id();
    const bool forbidden = own ? stream->mode != cudaStreamCaptureModeRelaxed &&
                                     thread.mode != cudaStreamCaptureModeRelaxed
                               : stream->mode == cudaStreamCaptureModeGlobal &&
                                     thread.mode == cudaStreamCaptureModeGlobal;
    if (!forbidden) continue;
    stream->ended = true;
    if (!own) ++machine().counts.captures_ended;
    return cudaErrorStreamCaptureUnsupported;
  }
  return cudaSuccess;
}

}  // namespace tome::testing::stand_in

using namespace tome::testing::stand_in;

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  return in_context([&] {
    *stream = own(std::make_shared<CUstream_st>());
    runtime().streams.insert(*stream);
    return cudaSuccess;
  });
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  return in_context([&] {
    const cudaError_t status = destroy(stream);
    if (status == cudaSuccess) runtime().streams.erase(stream);
    return status;
  });
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return in_context([&] {
    if (stream == nullptr) ++machine().counts.default_stream;
    const bool captures = stream != nullptr && stream->capture;
    return captures ? cudaErrorStreamCaptureUnsupported : cudaSuccess;
  });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) {
  return in_context([] { return cudaSuccess; });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  return in_context([&] {
    *event = own(std::make_shared<CUevent_st>());
    return cudaSuccess;
  });
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return in_context([&] { return destroy(event); });
}

cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) {
  return in_context([] { return cudaSuccess; });
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) {
  return in_context([&] {
    *milliseconds = 0.01F;
    return cudaSuccess;
  });
}

/// The runtime's, so it makes a context current where there is none.
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  return in_context([&] {
    std::swap(this_thread().mode, *mode);
    return cudaSuccess;
  });
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  return in_context([&] {
    stream->capture = std::make_unique<CUgraph_st>();
    stream->mode = mode;
    stream->ended = false;
    stream->by = std::this_thread::get_id();
    return cudaSuccess;
  });
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  return in_context([&] {
    *graph = nullptr;
    const auto captured = std::exchange(stream->capture, nullptr);
    int& failures = machine().failures.captures;
    const bool fails = failures > 0;
    if (fails) --failures;
    if (stream->ended || fails) return cudaErrorStreamCaptureInvalidated;
    *graph = std::make_unique<CUgraph_st>(*captured).release();
    return cudaSuccess;
  });
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  const std::unique_ptr<CUgraph_st> mine(graph);
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* made, cudaGraph_t graph, unsigned long long) {
  return in_context([&] {
    *made = own(std::make_shared<CUgraphExec_st>(CUgraphExec_st{*graph}));
    ++machine().counts.graphs;
    return cudaSuccess;
  });
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) {
  return in_context([&] {
    const cudaError_t status = destroy(graph);
    if (status == cudaSuccess) --machine().counts.graphs;
    return status;
  });
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t) {
  return in_context([&] {
    Failures& failures = machine().failures;
    if (failures.replays > 0) {
      --failures.replays;
      return static_cast<cudaError_t>(failures.replay_error);
    }
    ++machine().counts.replays;
    for (const auto& work : graph->graph.work) work();
    return cudaSuccess;
  });
}

// The nodes of a graph: none that anybody could ask about, since kernels and products leave none.

cudaError_t cudaGraphGetNodes(cudaGraph_t, cudaGraphNode_t*, size_t* count) {
  *count = 0;
  return cudaSuccess;
}

cudaError_t cudaGraphGetRootNodes(cudaGraph_t, cudaGraphNode_t*, size_t* count) {
  *count = 0;
  return cudaSuccess;
}

cudaError_t cudaGraphAddMemsetNode(cudaGraphNode_t*, cudaGraph_t, const cudaGraphNode_t*, size_t,
                                   const cudaMemsetParams*) {
  return cudaSuccess;
}

cudaError_t cudaGraphNodeGetType(cudaGraphNode_t, cudaGraphNodeType*) {
  return answer(cudaErrorInvalidValue);
}

cudaError_t cudaGraphMemsetNodeGetParams(cudaGraphNode_t, cudaMemsetParams*) {
  return answer(cudaErrorInvalidValue);
}

cudaError_t cudaGraphNodeGetDependencies(cudaGraphNode_t, cudaGraphNode_t*, cudaGraphEdgeData*,
                                         size_t*) {
  return answer(cudaErrorInvalidValue);
}

cudaError_t cudaGraphNodeGetDependentNodes(cudaGraphNode_t, cudaGraphNode_t*, cudaGraphEdgeData*,
                                           size_t*) {
  return answer(cudaErrorInvalidValue);
}

cudaError_t cudaGraphDestroyNode(cudaGraphNode_t) { return answer(cudaErrorInvalidValue); }

cudaError_t cudaGraphAddDependencies(cudaGraph_t, const cudaGraphNode_t*, const cudaGraphNode_t*,
                                     const cudaGraphEdgeData*, size_t) {
  return answer(cudaErrorInvalidValue);
}
