// Log-probabilities as OpenAI's API writes them.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "qwill/request.h"
#include "text/bpe_tokenizer.h"
#include "text/detokenizer.h"

namespace qwill {

// A token and where its text begins, in code points.
struct PlacedToken {
  Draw draw;
  int64_t offset = 0;
  bool has_logprob = true;  // the first token of a prompt has none
};

// The tokens that an answer's text is made of, and the end token that stopped it, given out as the text becomes
// certain. Tokens that only belong to a stop string are never given out.
class TokenPlacer {
 public:
  // tokenizer may be null, and must outlive it. The answer's text begins at `offset`.
  explicit TokenPlacer(const Tokenizer* tokenizer, int64_t offset = 0);

  void push(const Draw& draw);
  // Those that begin before the end of the text so far, which is at `end`; all, when no more text comes.
  std::vector<PlacedToken> take(int64_t end, bool all);

 private:
  std::optional<Detokenizer> detokenizer_;
  int64_t offset_;
  std::deque<PlacedToken> waiting_;
};

int64_t count_code_points(std::string_view text);

// Of a prompt that is part of the answer: its text begins at 0. draws are of its second token and on; empty: no
// log-probabilities.
std::vector<PlacedToken> place_prompt(const Tokenizer* tokenizer, std::span<const int32_t> prompt,
                                      std::span<const Draw> draws);

// {"content": [{"token", "logprob", "bytes", "top_logprobs"}], "refusal"}
Json chat_logprobs(const Tokenizer* tokenizer, std::span<const PlacedToken> tokens);
// {"tokens", "token_logprobs", "top_logprobs", "text_offset"}; num_logprobs as in SamplingParams.
Json completion_logprobs(const Tokenizer* tokenizer, std::span<const PlacedToken> tokens, int32_t num_logprobs);

}  // namespace qwill
