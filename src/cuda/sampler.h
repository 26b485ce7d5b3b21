// Draws on the card: settings go there, draws stay there for the next step and come to the host in the background.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "cuda/sent_words.h"
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
  // The last sample's, [R], as kernels/sampling.h stores them.
  const int32_t* draws_on_device() { return draws_.get<int32_t>(1); }

 private:
  // A sample on its way.
  struct Slot {
    explicit Slot(const MemoryPurpose& purpose) : draws(purpose), logits(purpose) {}
    PinnedBuffer draws, logits;
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
  SentWords settings_{purpose_};       // of rows, then their adjustments, then their stop ids
  DeviceBuffer draws_{purpose_}, workspace_{purpose_}, padded_logits_{purpose_};
};

}  // namespace qwill::cuda
