// What the engine is asked for and what it answers, in token ids.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "ops/sampling.h"

namespace qwill {

// One request's settings; SamplingRow (ops/sampling.h) says what each does.
struct SamplingParams {
  double temperature = 0;
  int64_t top_k = 0;
  double top_p = 1;
  double min_p = 0;
  double repetition_penalty = 1;
  double presence_penalty = 0;
  double frequency_penalty = 0;
  std::vector<std::pair<int32_t, float>> logit_bias;
  uint64_t seed = 0;
  uint32_t choice = 0;
  int64_t max_tokens = 256;
  std::vector<int32_t> stop_ids;  // end tokens: drawn, but not part of the output
  int32_t num_logprobs = -1;      // as in SamplingRow

  // Throws Error(usage) that names the value out of range.
  void check() const;
};

struct Request {
  std::vector<int32_t> prompt;
  SamplingParams sampling;
};

enum class FinishReason : uint8_t { stop, length, cancelled, failed };

// One step's result for one sequence.
struct TokenEvent {
  int64_t sequence = 0;
  std::optional<Draw> draw;            // a new output token; none when only the end is told
  std::optional<FinishReason> finish;  // the sequence has ended with this event
  int32_t stop_id = -1;                // the end token that stopped it
};

}  // namespace qwill
