// Graphs of a CUDA device: work that is captured once and enqueued again as one. No CUDA header.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "cuda/on_device.h"
#include "cuda/types.h"

struct CUgraphExec_st;

namespace tome::cuda {

/// Note [Counters that are cleared once]
/// cuBLASLt's products hand out their tiles by a counter of 4 bytes in their workspace, which a
/// memset of its own clears before each of them. In a graph that memset is a node, and between two
/// kernels it takes some 2.5 us, a tenth of a small product; a forward has a hundred. So each
/// product of a forward gets a counter of its own (MatrixProducts), and a graph clears all of them
/// by one memset at its beginning in place of theirs. Which memsets these are is read from what was
/// captured: zeros, to that memory alone. A library that clears nothing there loses nothing.

/// Work captured from a stream, to be enqueued again as one.
class Graph {
 public:
  Graph() = default;
  /// Captures what `enqueue` does to `stream`, and to streams that it forks from there.
  /// @param counters  device memory of which each byte is one captured operation's: cleared once
  /// @throws Error kDevice, kOutOfMemory, and what `enqueue` throws; the stream works on
  Graph(Stream stream, const std::function<void()>& enqueue,
        std::span<unsigned char> counters = {});
  explicit operator bool() const { return graph_ != nullptr; }
  /// @throws Error kDevice; kOutOfMemory, since the first launch may need memory of its own
  void launch(Stream stream) const;

 private:
  OnDevice<CUgraphExec_st> graph_;
};

/// How long what `enqueue` does takes on the device: of a graph of `calls` of it, since the host's
/// launches would else be timed where work is short.
/// @param counters  as Graph takes them
/// @return microseconds of one call in each of `launches` launches, after one that does not count
/// @throws Error as Graph
std::vector<double> time_in_graph(Stream stream, int calls, int launches,
                                  const std::function<void()>& enqueue,
                                  std::span<unsigned char> counters = {});

}  // namespace tome::cuda
