// Requests of OpenAI's API: the JSON body of one in, what to generate out. Where a body came from does not matter here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "qwill/llm.h"
#include "server/openai_error.h"
#include "server/reasoning.h"

namespace qwill {

enum class Endpoint { chat_completions, completions };
inline constexpr std::pair<std::string_view, Endpoint> kEndpoints[] = {
    {"/v1/chat/completions", Endpoint::chat_completions}, {"/v1/completions", Endpoint::completions}};
// Nothing for another path.
std::optional<Endpoint> endpoint_of(std::string_view path);

// What the answer needs to know of its request.
struct AnswerForm {
  Endpoint endpoint = Endpoint::completions;
  std::string model;          // as the body names it; empty if it does not
  int64_t prompt_tokens = 0;  // of all prompts; a prompt with several answers counts once
  int32_t num_logprobs = -1;  // as in SamplingParams
  ReasoningSplitter::Start reasoning = ReasoningSplitter::Start::content;  // where a chat's answer begins
  bool prompt_only = false;                                                // max_tokens is 0: nothing is generated
  // If the prompts are to be part of the answers: each, and how many answers it has.
  std::vector<std::vector<int32_t>> echoed = {};
  int64_t num_choices = 1;
  bool include_usage = false;  // in a stream
};

struct ApiRequest {
  AnswerForm form;
  bool stream = false;
  std::vector<GenerateRequest> requests;  // in the order of the choices: prompt by prompt, n of each
};

// Reads a body and checks all that Llm::submit would refuse. What it does not know it ignores, as others that speak
// this API do, but refuses what would be a lie to ignore. default_seed serves a body without "seed".
// Throws RequestError.
ApiRequest read_api_request(const Llm& llm, Endpoint endpoint, const Json& body, uint64_t default_seed);

// The "model" that a body names; empty if it names none. Throws RequestError.
std::string read_model_name(const Json& body);
// The ids that the body of /tokenize asks for: of its "prompt", or of its "messages" as a chat. Throws RequestError.
std::vector<int32_t> read_tokenized(const Llm& llm, const Json& body);
// The "tokens" in the body of /detokenize. Throws RequestError.
std::vector<int32_t> read_detokenized(const Llm& llm, const Json& body);

}  // namespace qwill
