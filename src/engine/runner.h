// What runs a step: the model on a device, or in simulations something that only knows how long it takes.
#pragma once

#include <span>
#include <vector>

#include "ops/batch.h"
#include "ops/ops.h"

namespace qwill {

class Runner {
 public:
  virtual ~Runner() = default;
  // Copies pages, runs the batch and draws one token for each of its logit_rows. The device may still be at work when
  // it returns. Throws Error(device).
  virtual void launch(const Batch& batch, std::span<const PageCopy> copies, std::span<const SamplingRow> rows) = 0;
  // Of the oldest launch with draws that were not taken; waits for it. Throws Error(device).
  virtual std::vector<Draw> take_draws() = 0;
  // Grows while a step is computed. May be read from any thread.
  virtual int64_t progress() const { return 0; }
};

}  // namespace qwill
