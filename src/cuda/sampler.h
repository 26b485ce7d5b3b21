// Draws on the card: settings go there, ids stay there for the next step and come to the host in the background.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "cuda/device.h"
#include "ops/sampling.h"

namespace qwill::cuda {

class Sampler {
 public:
  explicit Sampler(Device& device) : device_(device) {}
  ~Sampler();

  // Room for samples of these rows, with penalties of max_tokens different tokens.
  void make_room(std::span<const SamplingRow> rows, int64_t cols, int64_t max_tokens);

  // One draw for each row of logits [R, cols] in device memory; makes room as above.
  void sample(const float* logits, int64_t cols, std::span<const SamplingRow> rows, int64_t num_drawable,
              int64_t max_tokens);
  // Of the oldest sample that was not taken; waits for it. Log-probabilities are computed on the host, a row a thread.
  std::vector<Draw> take_draws();
  // Ids of the last sample, [R].
  const int32_t* device_ids() { return ids_.get<int32_t>(1); }

 private:
  // A sample on its way.
  struct Slot {
    explicit Slot(const MemoryPurpose& purpose) : settings(purpose), ids(purpose), logits(purpose) {}
    PinnedBuffer settings, ids, logits;
    cudaEvent_t done = nullptr;
    std::vector<int32_t> num_logprobs, given;  // per row
    int64_t cols = 0;
  };
  static constexpr size_t kSlots = 3;
  void make_room(Slot& slot, std::span<const SamplingRow> rows, int64_t cols, int64_t max_tokens);

  Device& device_;
  const MemoryPurpose purpose_{device_.memory, "sampling"};
  std::array<Slot, kSlots> slots_{Slot(purpose_), Slot(purpose_), Slot(purpose_)};
  size_t first_ = 0, count_ = 0;       // those not taken
  std::optional<ThreadPool> threads_;  // since log-probabilities were wanted
  DeviceBuffer ids_{purpose_}, settings_{purpose_}, workspace_{purpose_}, padded_logits_{purpose_};
};

}  // namespace qwill::cuda
