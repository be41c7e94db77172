// Kernels of one batch, gathered before any of them starts, so that a batch seen before can be started as one graph.
#pragma once
#include <cstdint>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "cuda/launch.h"

namespace moe::cuda {

// It belongs to a device, which one thread drives.
class LaunchQueue {
 public:
  explicit LaunchQueue(cudaStream_t stream) : stream_(stream) {}
  ~LaunchQueue();
  LaunchQueue(const LaunchQueue&) = delete;
  LaunchQueue& operator=(const LaunchQueue&) = delete;

  template <class Task>
  void add(const Kernel<Task>& kernel, const LaunchShape& shape, const Task& task) {
    launches_.push_back({kernel.entry, shape, bytes_.size(), sizeof task});
    bytes_.append(reinterpret_cast<const char*>(&task), sizeof task);
  }

  bool empty() const { return launches_.empty(); }

  // Starts what was added, in order. as_graph: worth remembering, for the same work is likely to come again.
  void start(bool as_graph);

  // Forgets what was added and not started.
  void clear();

 private:
  // Graphs beyond this many are dropped, the one not used for longest first. A server that decodes with some tens of
  // layers and batch sizes keeps all of its own.
  static constexpr size_t kMaxGraphs = 256;

  struct Launch {
    KernelEntry kernel;
    LaunchShape shape;
    size_t task;  // where its bytes begin
    size_t task_bytes;
  };
  struct Graph {
    std::string key;
    cudaGraphExec_t executable = nullptr;  // made when the work is seen for the second time
  };

  void start_each();
  void start_graph();
  std::string key() const;
  cudaGraphExec_t capture();

  cudaStream_t stream_;
  std::vector<Launch> launches_;
  std::string bytes_;        // tasks, one after the other
  std::list<Graph> graphs_;  // the one used last is first
  std::unordered_map<std::string_view, std::list<Graph>::iterator> graph_of_;
};

}  // namespace moe::cuda
