// The flags that say how tokens are drawn.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "qwill/request.h"

namespace qwill::cli {

// What the command line gave; the rest comes from the model's generation_config.json.
struct SamplingFlags {
  std::optional<double> temperature, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty;
  std::optional<int64_t> top_k, max_tokens, logprobs;
  std::optional<uint64_t> seed;
  std::vector<std::string> logit_bias, stop;
  bool ignore_eos = false;

  void add_to(CLI::App& command);
  // defaults, overridden by the flags; a random seed where none was given. Throws Error(usage).
  SamplingParams apply(SamplingParams defaults) const;
};

}  // namespace qwill::cli
