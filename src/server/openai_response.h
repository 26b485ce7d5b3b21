// Answers of OpenAI's API: results in, the JSON body out.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "server/openai_logprobs.h"
#include "server/openai_request.h"
#include "text/bpe_tokenizer.h"

namespace qwill {

// A chat.completion or text_completion object. results: of the requests, in their order; each ended with stop or
// length. tokenizer: for log-probabilities; null if the model has none. id is unique, created in seconds since 1970.
Json api_response(const AnswerForm& form, const Tokenizer* tokenizer, std::span<const GenerateResult> results,
                  const std::string& id, int64_t created);

// Of the endpoint's kind.
std::string api_id(const AnswerForm& form, const std::string& id);
// {"prompt_tokens", "completion_tokens", "total_tokens"}
Json api_usage(const AnswerForm& form, int64_t completion_tokens);

// What an answer begins with: the prompt, if it is echoed, with its tokens if they are asked for.
struct Echo {
  std::string text;
  std::vector<PlacedToken> tokens;
};
Echo echo_of(const AnswerForm& form, const Tokenizer* tokenizer, int64_t choice, std::span<const Draw> prompt_draws);

}  // namespace qwill
