// Streams, events and captures of the stand-in. A stream's work is done when it is enqueued, but
// for a capture's; which work waits for which is kept by streams and events.
#include <algorithm>

#include "cuda/stand_in/runtime.h"

namespace tome::testing::stand_in {

cudaError_t check_captures() {
  const Thread& thread = this_thread();
  for (CUstream_st* stream : runtime().streams) {
    Capture* capture = stream->now.capture.get();
    if (capture == nullptr) continue;
    const bool own = capture->by == std::this_thread::get_id();
    const bool forbidden = own ? capture->mode != cudaStreamCaptureModeRelaxed &&
                                     thread.mode != cudaStreamCaptureModeRelaxed
                               : capture->mode == cudaStreamCaptureModeGlobal &&
                                     thread.mode == cudaStreamCaptureModeGlobal;
    if (!forbidden) continue;
    capture->ended = true;
    if (!own) ++machine().counts.captures_ended;
    return cudaErrorStreamCaptureUnsupported;
  }
  return cudaSuccess;
}

cudaError_t place(cudaStream_t stream, CUgraphNode_st node) {
  if (stream == nullptr) {
    ++machine().counts.default_stream;
  } else if (Point& now = stream->now; now.capture) {
    if (now.capture->ended) return cudaErrorStreamCaptureInvalidated;
    now.tail = {add_node(*now.capture->graph, std::move(node), now.tail)};
    return cudaSuccess;
  } else {
    ++now.passed[stream->number];
  }
  if (node.work) node.work();
  return cudaSuccess;
}

size_t unfinished_streams() {
  const std::lock_guard lock(runtime().mutex);
  const auto& streams = runtime().streams;
  const auto unfinished = std::count_if(streams.begin(), streams.end(), [](CUstream_st* stream) {
    return stream->now.passed[stream->number] > runtime().finished[stream->number];
  });
  return static_cast<size_t>(unfinished);
}

namespace {

void add_passed(Passed& to, const Passed& passed) {
  for (const auto& [stream, work] : passed) to[stream] = std::max(to[stream], work);
}

/// A stream goes on after an event, which may take it into a capture.
cudaError_t wait_for(CUstream_st& stream, const Point& event) {
  Point& now = stream.now;
  if (event.capture && event.capture->over) return cudaErrorCapturedEvent;
  if (!event.capture && !now.capture) {
    add_passed(now.passed, event.passed);
    return cudaSuccess;
  }
  if (now.capture && now.capture != event.capture) {
    now.capture->ended = true;
    if (!event.capture) return cudaErrorStreamCaptureIsolation;
    event.capture->ended = true;
    return cudaErrorStreamCaptureMerge;
  }
  now.capture = event.capture;
  for (cudaGraphNode_t node : event.tail) {
    if (std::find(now.tail.begin(), now.tail.end(), node) == now.tail.end()) {
      now.tail.push_back(node);
    }
  }
  return cudaSuccess;
}

/// Whether all that other streams captured comes before what the first one would go on with.
bool all_joined(const Capture& capture) {
  std::vector<cudaGraphNode_t> open = capture.origin->now.tail;
  std::set<cudaGraphNode_t> reached(open.begin(), open.end());
  while (!open.empty()) {
    cudaGraphNode_t node = open.back();
    open.pop_back();
    for (const CUgraph_st::Edge& edge : capture.graph->edges) {
      if (edge.to == node && reached.insert(edge.from).second) open.push_back(edge.from);
    }
  }
  const auto& streams = runtime().streams;
  return std::all_of(streams.begin(), streams.end(), [&](CUstream_st* stream) {
    const Point& now = stream->now;
    return now.capture.get() != &capture ||
           std::all_of(now.tail.begin(), now.tail.end(),
                       [&](cudaGraphNode_t node) { return reached.contains(node); });
  });
}

/// For all its streams.
void end(Capture& capture) {
  capture.over = true;
  for (CUstream_st* stream : runtime().streams) {
    if (stream->now.capture.get() != &capture) continue;
    stream->now.capture = nullptr;
    stream->now.tail.clear();
  }
}

}  // namespace
}  // namespace tome::testing::stand_in

using namespace tome::testing::stand_in;

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  return in_context([&] {
    *stream = own(std::make_shared<CUstream_st>());
    (*stream)->number = ++runtime().streams_made;
    runtime().streams.insert(*stream);
    return cudaSuccess;
  });
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  return in_context([&] {
    const uint64_t number = stream->number;
    const cudaError_t status = destroy(stream);
    if (status != cudaSuccess) return status;
    runtime().streams.erase(stream);
    runtime().finished.erase(number);
    return status;
  });
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return in_context([&] {
    if (stream == nullptr) {
      ++machine().counts.default_stream;
    } else if (stream->now.capture) {
      stream->now.capture->ended = true;
      return cudaErrorStreamCaptureUnsupported;
    } else {
      add_passed(runtime().finished, stream->now.passed);
    }
    return cudaSuccess;
  });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  return in_context([&] { return wait_for(*stream, event->at); });
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

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return in_context([&] {
    event->at = stream == nullptr ? Point() : stream->now;
    return cudaSuccess;
  });
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
    if (stream->now.capture) return cudaErrorIllegalState;
    auto capture = std::make_shared<Capture>();
    capture->origin = stream;
    capture->mode = mode;
    capture->by = std::this_thread::get_id();
    stream->now.capture = std::move(capture);
    return cudaSuccess;
  });
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  return in_context([&] {
    *graph = nullptr;
    const std::shared_ptr<Capture> capture = stream->now.capture;
    if (!capture) return cudaErrorIllegalState;
    if (capture->origin != stream) return cudaErrorStreamCaptureUnmatched;
    const bool joined = all_joined(*capture);
    end(*capture);
    int& failures = machine().failures.captures;
    const bool fails = failures > 0;
    if (fails) --failures;
    if (capture->ended || fails) return cudaErrorStreamCaptureInvalidated;
    if (!joined) return cudaErrorStreamCaptureUnjoined;
    *graph = capture->graph.release();
    return cudaSuccess;
  });
}
