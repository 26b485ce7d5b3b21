// Recorded decode steps: what the ops of a step launched, as CUDA graphs that run again with other inputs; or as one
// kernel, which then needs no graph.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <map>
#include <set>

#include "cuda/device.h"
#include "cuda/step_inputs.h"

namespace qwill::cuda {

class StepGraphs {
 public:
  ~StepGraphs() { clear(); }
  // Forgets what was recorded; between steps.
  void clear();

  // What the ops of the step that begins should do.
  enum class Mode : uint8_t {
    launch,  // as they are called
    record,  // as they are called; the stream records instead of running
    replay,  // nothing: the recorded step will do it
  };
  using Launch = std::function<void()>;
  // A shape is launched the first time, so that everything it needs is loaded and allocated; recorded the second.
  Mode begin(const StepShape& shape, const Device& device);
  // Runs what was recorded. If that was just now, `prepare` comes before; what it returns, if anything, is run instead
  // of the graph from the next time on. `num_ops` of the step must be those of its recording.
  void finish(int64_t num_ops, const Device& device, const std::function<Launch()>& prepare);
  // Ends a recording that came to nothing.
  void abandon(const Device& device);
  Mode mode() const { return mode_; }
  // Whether the step is run by such a launch: ops that come before the one kernel launch as they are called. In one
  // stream with it they overlap, as a graph's kernels do not with what is before and behind the graph.
  bool replays_by_launch() const { return mode_ == Mode::replay && graphs_.at(shape_).launch; }

 private:
  struct Graph {
    cudaGraphExec_t exec = nullptr;
    int64_t num_ops = 0;
    Launch launch;
  };

  std::map<StepShape, Graph> graphs_;
  std::set<StepShape> seen_;
  int64_t allocations_ = 0;  // when they were recorded: whatever was allocated since may have moved a buffer
  StepShape shape_;
  Mode mode_ = Mode::launch;
};

}  // namespace qwill::cuda
