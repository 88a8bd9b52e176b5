#include "cuda/graph.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <type_traits>

#include "cuda/device.h"
#include "cuda/runtime.h"
#include "cuda/stream.h"

#if CUDART_VERSION < 13000
#error "expected CUDA 13 or later: dependencies of graphs come with their edges' data"
#endif

namespace tome::cuda {
namespace {

constexpr const char* kCapturing = "capturing a graph";

struct Destroy {
  void operator()(cudaGraph_t graph) const { cudaGraphDestroy(graph); }
};
using Captured = std::unique_ptr<std::remove_pointer_t<cudaGraph_t>, Destroy>;

Captured capture(Stream stream, const std::function<void()>& enqueue) {
  // Of this thread alone: other sessions may allocate meanwhile.
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), kCapturing);
  cudaGraph_t graph = nullptr;
  try {
    enqueue();
  } catch (...) {
    cudaStreamEndCapture(stream, &graph);
    if (graph != nullptr) cudaGraphDestroy(graph);
    cudaGetLastError();
    throw;
  }
  const cudaError_t status = cudaStreamEndCapture(stream, &graph);
  Captured captured(graph);
  check(status, kCapturing);
  return captured;
}

using Nodes = std::vector<cudaGraphNode_t>;

/// What `list(nodes, count)` lists: as CUDA does it, asked for the count first.
template <class List>
Nodes listed(List&& list) {
  size_t count = 0;
  check(list(nullptr, &count), kCapturing);
  Nodes nodes(count);
  if (count > 0) check(list(nodes.data(), &count), kCapturing);
  return nodes;
}

void connect(cudaGraph_t graph, cudaGraphNode_t from, cudaGraphNode_t to) {
  check(cudaGraphAddDependencies(graph, &from, &to, nullptr, 1), kCapturing);
}

/// Bytes that a memset node of a graph clears.
struct Cleared {
  uintptr_t begin = 0, end = 0;
  cudaGraphNode_t node = nullptr;
};

/// The memsets of zeros within `counters`, by where they begin.
std::vector<Cleared> memsets_in(cudaGraph_t graph, std::span<unsigned char> counters) {
  const Nodes nodes = listed(
      [&](cudaGraphNode_t* list, size_t* count) { return cudaGraphGetNodes(graph, list, count); });
  const auto first = reinterpret_cast<uintptr_t>(counters.data());
  std::vector<Cleared> found;
  for (cudaGraphNode_t node : nodes) {
    cudaGraphNodeType type{};
    check(cudaGraphNodeGetType(node, &type), kCapturing);
    if (type != cudaGraphNodeTypeMemset) continue;
    cudaMemsetParams p{};
    check(cudaGraphMemsetNodeGetParams(node, &p), kCapturing);
    const auto begin = reinterpret_cast<uintptr_t>(p.dst);
    const uintptr_t end = begin + p.width * p.elementSize;
    const bool within = begin >= first && end <= first + counters.size();
    if (p.value == 0 && p.height == 1 && within) found.push_back({begin, end, node});
  }
  std::sort(found.begin(), found.end(),
            [](const Cleared& a, const Cleared& b) { return a.begin < b.begin; });
  return found;
}

/// Takes a node out: what came after it comes after what came before it.
void take_out(cudaGraph_t graph, cudaGraphNode_t node) {
  // Such edges are of whole nodes: only kernels have others.
  const Nodes before = listed([&](cudaGraphNode_t* nodes, size_t* count) {
    return cudaGraphNodeGetDependencies(node, nodes, nullptr, count);
  });
  const Nodes after = listed([&](cudaGraphNode_t* nodes, size_t* count) {
    return cudaGraphNodeGetDependentNodes(node, nodes, nullptr, count);
  });
  check(cudaGraphDestroyNode(node), kCapturing);
  for (cudaGraphNode_t from : before) {
    for (cudaGraphNode_t to : after) connect(graph, from, to);
  }
}

/// See Note [Counters that are cleared once].
void clear_once(cudaGraph_t graph, std::span<unsigned char> counters) {
  const std::vector<Cleared> memsets = memsets_in(graph, counters);
  uintptr_t reached = 0;
  for (size_t i = 0; i < memsets.size(); ++i) {
    // What is cleared twice has more than one user: such memsets stay where they are.
    const bool last = i + 1 == memsets.size();
    const bool alone =
        reached <= memsets[i].begin && (last || memsets[i].end <= memsets[i + 1].begin);
    reached = std::max(reached, memsets[i].end);
    if (alone) take_out(graph, memsets[i].node);
  }
  const Nodes roots = listed([&](cudaGraphNode_t* nodes, size_t* count) {
    return cudaGraphGetRootNodes(graph, nodes, count);
  });
  cudaMemsetParams all{};
  all.dst = counters.data();
  all.elementSize = 1;
  all.width = counters.size();
  all.height = 1;
  cudaGraphNode_t clear = nullptr;
  check(cudaGraphAddMemsetNode(&clear, graph, nullptr, 0, &all), kCapturing);
  for (cudaGraphNode_t root : roots) connect(graph, clear, root);
}

}  // namespace

Graph::Graph(Stream stream, const std::function<void()>& enqueue,
             std::span<unsigned char> counters) {
  const Captured graph = capture(stream, enqueue);
  if (!counters.empty()) clear_once(graph.get(), counters);
  const auto destroy = [](void* made) -> int {
    return cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(made));
  };
  graph_ = make_on_device<CUgraphExec_st>(destroy, kCapturing, [&](cudaGraphExec_t* made) {
    return cudaGraphInstantiate(made, graph.get(), 0);
  });
}

void Graph::launch(Stream stream) const {
  check(cudaGraphLaunch(graph_.get(), stream), "launching a graph");
}

std::vector<double> time_in_graph(Stream stream, int calls, int launches,
                                  const std::function<void()>& enqueue,
                                  std::span<unsigned char> counters) {
  const auto enqueue_all = [&] {
    for (int i = 0; i < calls; ++i) enqueue();
  };
  const Graph graph(stream, enqueue_all, counters);
  graph.launch(stream);
  std::vector<double> times;
  for (int i = 0; i < launches; ++i) {
    Event begin(Event::Kind::kTiming), end(Event::Kind::kTiming);
    begin.record(stream);
    graph.launch(stream);
    end.record(stream);
    synchronise(stream);
    times.push_back(1000 * end.milliseconds_since(begin) / calls);
  }
  return times;
}

}  // namespace tome::cuda
