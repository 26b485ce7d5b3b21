// Recorded decode steps: what the ops of a step launched, as CUDA graphs that run again with other inputs.
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

  // What the ops of the step that begins should do.
  enum class Mode : uint8_t {
    launch,  // as they are called
    record,  // as they are called; the stream records instead of running
    replay,  // nothing: the recorded step will do it
  };
  // A shape is launched the first time, so that everything it needs is loaded and allocated; recorded the second.
  Mode begin(const StepShape& shape, const Device& device);
  // Runs what was recorded, after `prepare` if that was just now. `num_ops` of the step must be those of its recording.
  void finish(int64_t num_ops, const Device& device, const std::function<void()>& prepare);
  // Ends a recording that came to nothing.
  void abandon(const Device& device);
  Mode mode() const { return mode_; }

 private:
  struct Graph {
    cudaGraphExec_t exec = nullptr;
    int64_t num_ops = 0;
  };
  void clear();

  std::map<StepShape, Graph> graphs_;
  std::set<StepShape> seen_;
  int64_t allocations_ = 0;  // when they were recorded: whatever was allocated since may have moved a buffer
  StepShape shape_;
  Mode mode_ = Mode::launch;
};

}  // namespace qwill::cuda
