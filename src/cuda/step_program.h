// The ops of a recorded step of one row, gathered to run as one kernel (kernels/decode_step.h) where they can.
#pragma once

#include <map>
#include <vector>

#include "cuda/device.h"
#include "cuda/kernels/decode_step.h"
#include "cuda/step_graphs.h"
#include "cuda/step_inputs.h"

namespace qwill::cuda {

class StepProgram {
 public:
  explicit StepProgram(const MemoryPurpose& purpose) : programs_(purpose), state_(purpose), words_(purpose) {}
  StepProgram(const StepProgram&) = delete;
  ~StepProgram();
  // Memory for all programs, once. Only the first of a process on a card is enabled: the blocks of such a kernel wait
  // for each other, and two of these kernels, each with some of the multiprocessors, would wait for ever.
  void enable(const Device& device);
  bool enabled() const { return enabled_; }
  // What an attention of a step of one row will need; before a step is recorded, since growing moves the buffers.
  void reserve(const AttendArgs& args);

  // A step of this shape is being recorded: its ops are gathered, unless there is no room for one more program.
  void begin(const StepShape& shape);
  bool gathers() const { return gathers_; }
  void add(const StreamCall& call);
  void add(const AttendArgs& args, const DecodePlan& plan);
  // Launches what was gathered, one kernel an op, and gathers no more: something else comes between.
  void launch_apart(const Device& device);
  // Launches it as one kernel, if it can be one.
  void launch(const Device& device);
  // Brings the program to the card: when recording has ended, and before it runs. Returns what launches it again, or
  // nothing if the step is not one kernel.
  StepGraphs::Launch upload(const Device& device);
  void drop();

 private:
  static constexpr int64_t kMaxPrograms = 32;

  bool enabled_ = false, dry_ = false, gathers_ = false;
  int device_ = 0;
  std::vector<StepOp> ops_;
  std::vector<DecodePlan> plans_;        // of the attentions among them
  std::vector<StepOp> planned_;          // to be uploaded
  StepLaunch step_;                      // of these
  std::map<StepShape, int64_t> places_;  // a shape's program is replaced when it is recorded again
  int64_t place_ = 0;
  DeviceBuffer programs_, state_, words_;
};

}  // namespace qwill::cuda
