// Answers of OpenAI's API: results in, the JSON body out.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/json.h"
#include "server/openai_request.h"
#include "text/bpe_tokenizer.h"

namespace qwill {

// A chat.completion or text_completion object. results: of the requests, in their order; each ended with stop or
// length. tokenizer: for log-probabilities; null if the model has none. id is unique, created in seconds since 1970.
Json api_response(const AnswerForm& form, const Tokenizer* tokenizer, std::span<const GenerateResult> results,
                  const std::string& id, int64_t created);

// The HTTP status of an error, and its body: {"error": {"message", "type", "param", "code"}}.
int api_status(const Error& error);
Json api_error(const Error& error);

}  // namespace qwill
