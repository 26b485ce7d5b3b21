// A request in progress.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/prefix_cache.h"
#include "ops/batch.h"
#include "qwill/request.h"

namespace qwill {

struct Sequence {
  enum class State : uint8_t { waiting, running, ended };

  int64_t id = 0;
  int32_t priority = 0;
  SamplingParams sampling;
  std::optional<Request::Clock::time_point> deadline;
  PrefixKey prefix;             // its rope and its namespace
  std::vector<int32_t> tokens;  // prompt, then output, as far as known
  int64_t prompt_len = 0;
  int64_t max_len = 0;  // prompt and output together

  State state = State::waiting;
  // The first pages are shared through the prefix cache, one node each; the others are its own. Page i holds positions
  // i * page_size ….
  std::vector<int32_t> pages;
  std::vector<PrefixCache::Node*> nodes;
  int64_t begin_len = 0;   // tokens known when it last began, which are its prompt as far as computing goes
  int64_t num_cached = 0;  // positions whose keys and values are stored, by steps that may still be under way
  int64_t num_scored = 0;  // positions whose logits gave the next token of the prompt its log-probability, likewise
  int32_t draw_row = -1;   // of the last step's draws, while that step is under way; else -1

  int64_t size() const { return static_cast<int64_t>(tokens.size()); }
  std::span<const int32_t> prompt() const { return std::span(tokens).first(static_cast<size_t>(prompt_len)); }
  std::span<const int32_t> output() const { return std::span(tokens).subspan(static_cast<size_t>(prompt_len)); }
  // Tokens of the prompt whose log-probabilities are wanted, and were not asked for yet.
  int64_t num_unscored() const { return sampling.num_prompt_logprobs < 0 ? 0 : prompt_len - 1 - num_scored; }
  // Positions before this one need not be computed if they are cached; the logits of this one are wanted.
  int64_t first_wanted() const { return num_unscored() > 0 ? num_scored : size() - 1; }
  bool is_drawing() const { return draw_row >= 0; }
  // In the order in which sequences are served.
  bool before(const Sequence& other) const {
    return priority != other.priority ? priority < other.priority : id < other.id;
  }
};

}  // namespace qwill
