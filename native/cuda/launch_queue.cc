#include "cuda/launch_queue.h"

#include "cuda/check.h"

namespace moe::cuda {

LaunchQueue::~LaunchQueue() {
  for (const Graph& graph : graphs_)
    if (graph.executable) cudaGraphExecDestroy(graph.executable);
}

void LaunchQueue::start(bool as_graph) {
  if (launches_.empty()) return;
  try {
    if (as_graph)
      start_graph();
    else
      start_each();
  } catch (...) {
    clear();
    throw;
  }
  clear();
}

void LaunchQueue::clear() {
  launches_.clear();
  bytes_.clear();
}

void LaunchQueue::start_each() {
  for (const Launch& each : launches_) {
    void* args[] = {bytes_.data() + each.task};  // read before the launch returns
    const LaunchShape& shape = each.shape;
    check(cudaLaunchKernel(each.kernel.stub, shape.grid, shape.block, args, shape.shared_bytes, stream_),
          each.kernel.name);
  }
}

void LaunchQueue::start_graph() {
  std::string wanted = key();
  if (const auto known = graph_of_.find(wanted); known != graph_of_.end()) {
    graphs_.splice(graphs_.begin(), graphs_, known->second);
    Graph& graph = graphs_.front();
    if (!graph.executable) graph.executable = capture();
    check(cudaGraphLaunch(graph.executable, stream_), "cudaGraphLaunch");
    return;
  }
  start_each();
  graphs_.push_front({std::move(wanted), nullptr});
  graph_of_[graphs_.front().key] = graphs_.begin();
  if (graphs_.size() <= kMaxGraphs) return;
  graph_of_.erase(graphs_.back().key);
  if (graphs_.back().executable) cudaGraphExecDestroy(graphs_.back().executable);
  graphs_.pop_back();
}

// Kernels, shapes and tasks, pointers included: the same key is the same work.
std::string LaunchQueue::key() const {
  std::string key = bytes_;
  for (const Launch& each : launches_) {
    const uint64_t numbers[] = {reinterpret_cast<uintptr_t>(each.kernel.stub),
                                each.shape.grid.x,
                                each.shape.grid.y,
                                each.shape.grid.z,
                                each.shape.block.x,
                                each.shape.shared_bytes};
    key.append(reinterpret_cast<const char*>(numbers), sizeof numbers);
  }
  return key;
}

cudaGraphExec_t LaunchQueue::capture() {
  // Other threads may allocate meanwhile.
  check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
  cudaGraph_t graph = nullptr;
  try {
    start_each();
  } catch (...) {
    cudaStreamEndCapture(stream_, &graph);
    if (graph) cudaGraphDestroy(graph);
    throw;
  }
  check(cudaStreamEndCapture(stream_, &graph), "cudaStreamEndCapture");
  cudaGraphExec_t executable = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  check(status, "cudaGraphInstantiate");
  return executable;
}

}  // namespace moe::cuda
