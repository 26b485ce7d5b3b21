// What an engine is asked for and what it answers, in token ids.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace qwill {

// One request's settings. They apply in this order: repetition penalty, presence and frequency penalties, bias;
// temperature; top-k, top-p, min-p; draw.
struct SamplingParams {
  double temperature = 0;  // 0: greedy
  int64_t top_k = 0;       // 0: off
  double top_p = 1;
  double min_p = 0;
  double repetition_penalty = 1;                      // prompt and output count
  double presence_penalty = 0;                        // output counts
  double frequency_penalty = 0;                       // output counts
  std::vector<std::pair<int32_t, float>> logit_bias;  // added to the logits of these ids
  uint64_t seed = 0;                                  // with choice and position all that a draw depends on
  uint32_t choice = 0;                                // which of the n answers to one prompt
  int64_t max_tokens = 256;                           // of the output
  std::vector<int32_t> stop_ids;                      // end tokens: drawn, but not part of the output
  int32_t num_logprobs = -1;         // -1: none; 0: of the drawn token; k: of the k most likely as well
  int32_t num_prompt_logprobs = -1;  // the same of each token of the prompt but the first, which nothing precedes

  // Throws Error(usage) that names the value out of range.
  void check() const;
};

// A request is also a sequence's journal: with the ids drawn so far in `output` it continues where it stopped, with the
// same tokens and log-probabilities, in any process.
struct Request {
  using Clock = std::chrono::steady_clock;

  std::vector<int32_t> prompt;
  SamplingParams sampling;
  std::vector<int32_t> output = {};                // drawn before; counts as output
  int32_t priority = 0;                            // lower comes first; equal ones in the order of arrival
  std::optional<Clock::time_point> deadline = {};  // ends with FinishReason::deadline
  int32_t cache_namespace = 0;                     // cached prefixes are shared only within one

  // One JSON object on one line, and back to the bit (without the deadline, whose clock belongs to a process). A field
  // that is absent has its default. Throws Error(invalid) that names the field: of the wrong type, out of range,
  // unknown.
  std::string to_json() const;
  static Request from_json(std::string_view json);
};

struct TokenLogprob {
  int32_t id;
  float logprob;  // nats, of the raw distribution over the whole vocabulary
};

struct Draw {
  int32_t id = 0;
  float logprob = 0;              // of the drawn token, if asked for
  std::vector<TokenLogprob> top;  // descending; ties: the lower id first
  bool stops = false;             // it is one of stop_ids
};

enum class FinishReason : uint8_t {
  stop,    // one of stop_ids was drawn
  length,  // max_tokens, or the room of a sequence
  cancelled,
  deadline,
  failed,  // the device did
};
std::string_view finish_name(FinishReason reason);

// One step's result for one sequence.
struct TokenEvent {
  int64_t sequence = 0;
  std::optional<Draw> draw;             // a new output token; none when only the end is told
  std::optional<FinishReason> finish;   // the sequence has ended with this event
  std::optional<Draw> stop_token = {};  // the end token that stopped it: no part of the output
  // Tokens of the prompt with their log-probabilities, if asked for: all of them come in order, from the second token
  // on, before or with the first draw.
  std::vector<Draw> prompt = {};
};

}  // namespace qwill
