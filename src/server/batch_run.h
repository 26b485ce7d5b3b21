// Runs a batch file on a model: as many requests at once as keep its engine busy.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "qwill/llm.h"
#include "server/batch_file.h"

namespace qwill {

struct BatchCounts {
  int64_t answered = 0;       // lines, in this run
  int64_t output_tokens = 0;  // drawn so far in this run, those of answers under way included
};

// Appends a result for each request of `input` that is not done, in the order in which they finish. `model` names the
// model where a body does not. Stops early when `cancel` becomes true: answers under way are given up. on_progress is
// called every few milliseconds. Throws Error(io or device).
BatchCounts run_batch(Llm& llm, const std::string& model, BatchInput& input, BatchOutput& output,
                      const std::atomic<bool>& cancel, const std::function<void(const BatchCounts&)>& on_progress);

}  // namespace qwill
