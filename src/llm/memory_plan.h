// Where every byte goes, known before anything is loaded: what `qwill plan` prints is what the engine obeys.
//
// No formula stands beside the code that allocates. The backend's own code runs dry (Ops::memory): it places the
// weights, makes room for the largest steps, and counts.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "base/memory_ledger.h"
#include "llm/backend.h"
#include "model/tensor_source.h"
#include "qwill/options.h"

namespace qwill {

struct MemoryPlan {
  std::string device;             // and, where it was assumed, that it was
  std::vector<MemoryPool> pools;  // everything, each byte once
  int64_t memory_bytes = 0;       // that may be used
  int64_t pinned_bytes = 0;       // of the host, beside a card
  DType kv_dtype = DType::f32;
  int64_t page_size = 64;  // tokens
  int64_t page_bytes = 0;
  int64_t num_pages = 0;
  int64_t max_seq_len = 0;
  int64_t max_sequences = 0;

  int64_t total_bytes() const;
  int64_t cache_tokens() const { return num_pages * page_size; }
  // Sequences of max_seq_len that run at once.
  int64_t sequences_at_full_length() const;

  Json to_json() const;
  std::string to_text() const;
};

// The model that a plan is for.
struct PlannedModel {
  const ModelConfig& config;    // with the rope that was asked for
  const TensorSource& tensors;  // their values are not looked at
  int64_t file_bytes;           // of the files that hold them, which the CPU reads where they were mapped
};

// The cache gets what max_sequences of max_seq_len need, or what is left of memory_bytes (0: of what is free). If that
// is less than one sequence needs: where options do not name a max_seq_len, it is the longest that fits; else throws
// Error with the numbers and with what would fit: device for a card, else invalid.
MemoryPlan plan_memory(const LlmOptions& options, const DeviceChoice& device, const PlannedModel& model);

// For the model that options name, also "random:8b" for a published size. Where this machine has no card, one is taken
// to be an H100 if options say how much memory it has.
MemoryPlan plan_memory(const LlmOptions& options);

}  // namespace qwill
