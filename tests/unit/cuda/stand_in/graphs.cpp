// Graphs of the stand-in: nodes and their edges, and what is launched of them.
#include <algorithm>
#include <cstring>
#include <optional>

#include "cuda/stand_in/runtime.h"

namespace tome::testing::stand_in {

CUgraphNode_st memset_of(const cudaMemsetParams& parameters) {
  CUgraphNode_st node;
  node.type = cudaGraphNodeTypeMemset;
  node.memset = parameters;
  // Of larger elements, zeros alone are written.
  node.work = [p = parameters] {
    std::memset(p.dst, static_cast<int>(p.value), p.width * p.elementSize);
  };
  return node;
}

cudaGraphNode_t add_node(CUgraph_st& graph, CUgraphNode_st node,
                         std::span<const cudaGraphNode_t> after) {
  node.graph = &graph;
  CUgraphNode_st& added = graph.nodes.emplace_back(std::move(node));
  for (cudaGraphNode_t from : after) {
    const bool beside = added.begins_early && from->type == cudaGraphNodeTypeKernel;
    graph.edges.push_back({from, &added, !beside});
  }
  return &added;
}

std::vector<Step> last_graph() {
  const std::lock_guard lock(runtime().mutex);
  return runtime().last_graph;
}

namespace {

/// None where nodes wait for each other in a circle.
std::optional<std::vector<Step>> steps_of(const CUgraph_st& graph) {
  std::vector<const CUgraphNode_st*> nodes;
  std::map<const CUgraphNode_st*, size_t> made;
  for (const CUgraphNode_st& node : graph.nodes) {
    made[&node] = nodes.size();
    nodes.push_back(&node);
  }
  std::vector<std::vector<size_t>> before(nodes.size()), then(nodes.size());
  for (const CUgraph_st::Edge& edge : graph.edges) {
    before[made.at(edge.to)].push_back(made.at(edge.from));
    then[made.at(edge.from)].push_back(made.at(edge.to));
  }
  std::vector<size_t> waits, step_of(nodes.size());
  std::set<size_t> ready;
  for (size_t i = 0; i < nodes.size(); ++i) {
    waits.push_back(before[i].size());
    if (waits[i] == 0) ready.insert(i);
  }
  std::vector<Step> steps;
  while (!ready.empty()) {
    const size_t i = *ready.begin();
    ready.erase(i);
    step_of[i] = steps.size();
    Step step{nodes[i]->type, nodes[i]->memset, nodes[i]->work, {}};
    for (const size_t from : before[i]) step.after.push_back(step_of[from]);
    std::sort(step.after.begin(), step.after.end());
    steps.push_back(std::move(step));
    for (const size_t to : then[i]) {
      if (--waits[to] == 0) ready.insert(to);
    }
  }
  return steps.size() == nodes.size() ? std::optional(std::move(steps)) : std::nullopt;
}

/// As CUDA lists them: how many there are, or as many as there is place for.
cudaError_t list(const std::vector<cudaGraphNode_t>& found, cudaGraphNode_t* to, size_t* count) {
  if (to != nullptr) {
    std::fill_n(to, *count, nullptr);
    std::copy_n(found.begin(), std::min(*count, found.size()), to);
    *count = std::min(*count, found.size());
  } else {
    *count = found.size();
  }
  return cudaSuccess;
}

/// Those at the other end of a node's edges. Whoever asks for no data of edges that have some loses
/// it.
cudaError_t list_neighbours(const CUgraphNode_st& node, cudaGraphNode_t CUgraph_st::Edge::*here,
                            cudaGraphNode_t CUgraph_st::Edge::*there, cudaGraphNode_t* to,
                            const cudaGraphEdgeData* data, size_t* count) {
  std::vector<cudaGraphNode_t> found;
  for (const CUgraph_st::Edge& edge : node.graph->edges) {
    if (edge.*here != &node) continue;
    if (!edge.whole && data == nullptr) return answer(cudaErrorLossyQuery);
    found.push_back(edge.*there);
  }
  return list(found, to, count);
}

bool is_of(const CUgraph_st& graph, const CUgraphNode_st* node) {
  return std::any_of(graph.nodes.begin(), graph.nodes.end(),
                     [&](const CUgraphNode_st& each) { return &each == node; });
}

}  // namespace
}  // namespace tome::testing::stand_in

using namespace tome::testing::stand_in;

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  const std::unique_ptr<CUgraph_st> mine(graph);
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* made, cudaGraph_t graph, unsigned long long) {
  return in_context([&] {
    auto steps = steps_of(*graph);
    if (!steps) return cudaErrorInvalidValue;
    runtime().last_graph = *steps;
    *made = own(std::make_shared<CUgraphExec_st>(CUgraphExec_st{std::move(*steps)}));
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

/// One piece of work on its stream.
cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream) {
  return in_context([&] {
    Failures& failures = machine().failures;
    if (failures.replays > 0) {
      --failures.replays;
      return static_cast<cudaError_t>(failures.replay_error);
    }
    if (stream != nullptr && stream->now.capture) return cudaErrorStreamCaptureUnsupported;
    ++machine().counts.replays;
    CUgraphNode_st all;
    all.work = [graph] {
      for (const Step& step : graph->steps) {
        if (step.work) step.work();
      }
    };
    return place(stream, std::move(all));
  });
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, size_t* count) {
  std::vector<cudaGraphNode_t> found;
  for (CUgraphNode_st& node : graph->nodes) found.push_back(&node);
  return list(found, nodes, count);
}

cudaError_t cudaGraphGetRootNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, size_t* count) {
  std::vector<cudaGraphNode_t> found;
  for (CUgraphNode_st& node : graph->nodes) {
    const bool root = std::none_of(graph->edges.begin(), graph->edges.end(),
                                   [&](const CUgraph_st::Edge& edge) { return edge.to == &node; });
    if (root) found.push_back(&node);
  }
  return list(found, nodes, count);
}

cudaError_t cudaGraphAddMemsetNode(cudaGraphNode_t* node, cudaGraph_t graph,
                                   const cudaGraphNode_t* after, size_t count,
                                   const cudaMemsetParams* parameters) {
  *node = add_node(*graph, memset_of(*parameters), std::span(after, count));
  return cudaSuccess;
}

cudaError_t cudaGraphNodeGetType(cudaGraphNode_t node, cudaGraphNodeType* type) {
  *type = node->type;
  return cudaSuccess;
}

cudaError_t cudaGraphMemsetNodeGetParams(cudaGraphNode_t node, cudaMemsetParams* parameters) {
  if (node->type != cudaGraphNodeTypeMemset) return answer(cudaErrorInvalidValue);
  *parameters = node->memset;
  return cudaSuccess;
}

cudaError_t cudaGraphNodeGetDependencies(cudaGraphNode_t node, cudaGraphNode_t* nodes,
                                         cudaGraphEdgeData* data, size_t* count) {
  using Edge = CUgraph_st::Edge;
  return list_neighbours(*node, &Edge::to, &Edge::from, nodes, data, count);
}

cudaError_t cudaGraphNodeGetDependentNodes(cudaGraphNode_t node, cudaGraphNode_t* nodes,
                                           cudaGraphEdgeData* data, size_t* count) {
  using Edge = CUgraph_st::Edge;
  return list_neighbours(*node, &Edge::from, &Edge::to, nodes, data, count);
}

cudaError_t cudaGraphDestroyNode(cudaGraphNode_t node) {
  CUgraph_st& graph = *node->graph;
  std::erase_if(graph.edges,
                [&](const CUgraph_st::Edge& edge) { return edge.from == node || edge.to == node; });
  graph.nodes.remove_if([&](const CUgraphNode_st& each) { return &each == node; });
  return cudaSuccess;
}

cudaError_t cudaGraphAddDependencies(cudaGraph_t graph, const cudaGraphNode_t* from,
                                     const cudaGraphNode_t* to, const cudaGraphEdgeData*,
                                     size_t count) {
  for (size_t i = 0; i < count; ++i) {
    const bool there = std::any_of(
        graph->edges.begin(), graph->edges.end(),
        [&](const CUgraph_st::Edge& edge) { return edge.from == from[i] && edge.to == to[i]; });
    // What is there already is an error, too.
    if (there || !is_of(*graph, from[i]) || !is_of(*graph, to[i])) {
      return answer(cudaErrorInvalidValue);
    }
    graph->edges.push_back({from[i], to[i], true});
  }
  return cudaSuccess;
}
