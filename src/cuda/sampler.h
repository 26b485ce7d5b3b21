// Draws on the card: settings go there, ids stay there for the next step and come to the host in the background.
#pragma once

#include <deque>
#include <span>
#include <vector>

#include "cuda/device.h"
#include "ops/sampling.h"

namespace qwill::cuda {

class Sampler {
 public:
  explicit Sampler(const Device& device) : device_(device) {}
  ~Sampler();

  // One draw for each row of logits [R, cols] in device memory. Room is made for penalties of max_tokens different
  // tokens.
  void sample(const float* logits, int64_t cols, std::span<const SamplingRow> rows, int64_t num_drawable,
              int64_t max_tokens);
  // Of the oldest sample that was not taken; waits for it.
  std::vector<Draw> take_draws();
  // Ids of the last sample, [R].
  const int32_t* device_ids() { return ids_.get<int32_t>(1); }

 private:
  // A sample on its way.
  struct Slot {
    PinnedBuffer settings, ids, logits;
    cudaEvent_t done = nullptr;
    std::vector<int32_t> num_logprobs;  // per row
    int64_t cols = 0;
  };
  static constexpr size_t kSlots = 3;

  const Device& device_;
  Slot slots_[kSlots];
  size_t first_ = 0, count_ = 0;  // those not taken
  DeviceBuffer ids_, settings_, workspace_, padded_logits_;
};

}  // namespace qwill::cuda
