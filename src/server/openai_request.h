// Requests of OpenAI's API: the JSON body of one in, what to generate out. Where a body came from does not matter here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "qwill/llm.h"

namespace qwill {

enum class Endpoint { chat_completions, completions };
// Of "/v1/chat/completions" or "/v1/completions"; nothing for another path.
std::optional<Endpoint> endpoint_of(std::string_view path);

// A body that is refused. param names the field, code is the API's word for what is wrong with it; each may be empty.
class RequestError : public Error {
 public:
  RequestError(std::string param, std::string_view code, const std::string& message)
      : Error(ErrorKind::invalid, message), param_(std::move(param)), code_(code) {}
  const std::string& param() const { return param_; }
  const std::string& code() const { return code_; }

 private:
  std::string param_, code_;
};

// What the answer needs to know of its request.
struct AnswerForm {
  Endpoint endpoint = Endpoint::completions;
  std::string model;          // as the body names it; empty if it does not
  int64_t prompt_tokens = 0;  // of all prompts; a prompt with several answers counts once
  int32_t num_logprobs = -1;  // as in SamplingParams
};

struct ApiRequest {
  AnswerForm form;
  bool stream = false;
  std::vector<GenerateRequest> requests;  // in the order of the choices: prompt by prompt, n of each
};

// Reads a body and checks all that Llm::submit would refuse. default_seed serves a body without "seed".
// Throws RequestError.
ApiRequest read_api_request(const Llm& llm, Endpoint endpoint, const Json& body, uint64_t default_seed);

}  // namespace qwill
