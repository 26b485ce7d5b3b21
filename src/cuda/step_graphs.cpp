#include "cuda/step_graphs.h"

namespace qwill::cuda {

void StepGraphs::clear() {
  for (const auto& [shape, graph] : graphs_) cudaGraphExecDestroy(graph.exec);
  graphs_.clear();
  seen_.clear();
}

StepGraphs::Mode StepGraphs::begin(const StepShape& shape, const Device& device) {
  if (allocations_ != cuda_device_allocations()) {
    clear();
    allocations_ = cuda_device_allocations();
  }
  shape_ = shape;
  if (graphs_.contains(shape)) return mode_ = Mode::replay;
  if (seen_.insert(shape).second) return mode_ = Mode::launch;
  check(cudaStreamBeginCapture(device.stream, cudaStreamCaptureModeThreadLocal), "record a step");
  return mode_ = Mode::record;
}

void StepGraphs::finish(int64_t num_ops, const Device& device, const std::function<Launch()>& prepare) {
  const Mode mode = std::exchange(mode_, Mode::launch);
  if (mode == Mode::launch) return;
  if (mode == Mode::record) {
    cudaGraph_t graph = nullptr;
    check(cudaStreamEndCapture(device.stream, &graph), "record a step");
    cudaGraphExec_t exec = nullptr;
    const cudaError_t error = cudaGraphInstantiate(&exec, graph, 0);
    cudaGraphDestroy(graph);
    check(error, "record a step");
    graphs_[shape_] = {exec, num_ops, {}};
    check(cudaGraphUpload(exec, device.stream), "record a step");
    graphs_.at(shape_).launch = prepare();
  }
  const Graph& graph = graphs_.at(shape_);
  CHECK(graph.num_ops == num_ops, "a recorded step consists of the same ops");
  if (mode == Mode::replay && graph.launch)
    graph.launch();
  else
    check(cudaGraphLaunch(graph.exec, device.stream), "run a recorded step");
}

void StepGraphs::abandon(const Device& device) {
  if (std::exchange(mode_, Mode::launch) != Mode::record) return;
  cudaGraph_t graph = nullptr;
  cudaStreamEndCapture(device.stream, &graph);
  if (graph) cudaGraphDestroy(graph);
  cudaGetLastError();
}

}  // namespace qwill::cuda
