// Answers of OpenAI's API: results in, the JSON body out.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
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

// The same as server-sent events, piece by piece: in whatever pieces an answer comes, their texts and log-probabilities
// joined are those of api_response.
class ApiStream {
 public:
  ApiStream(AnswerForm form, const Tokenizer* tokenizer, const std::string& id, int64_t created);
  ~ApiStream();

  // Each appends events to `out`. begin comes first for a choice; prompt_draws are wanted where the prompt is echoed.
  void begin(std::string& out, int64_t index, std::span<const Draw> prompt_draws);
  // What is new of a choice, and its whole result with the last of it.
  void add(std::string& out, int64_t index, std::string_view text, std::span<const Draw> draws,
           const GenerateResult* end);
  // After the last choice's end; or instead of the rest.
  void finish(std::string& out);
  static void fail(std::string& out, const Error& error);

 private:
  struct Choice;
  Choice& choice(int64_t index);
  void event(std::string& out, int64_t index, std::string_view what, const Json& logprobs, std::string_view finish);

  AnswerForm form_;
  const Tokenizer* tokenizer_;
  std::string beginning_;  // of every event
  std::vector<std::unique_ptr<Choice>> choices_;
  int64_t num_tokens_ = 0;
};

// An error that a request meets at a server, beside those of what it asks for.
class ApiError : public Error {
 public:
  ApiError(int status, std::string_view code, const std::string& message)
      : Error(ErrorKind::invalid, message), status_(status), code_(code) {}
  int status() const { return status_; }
  const std::string& code() const { return code_; }

 private:
  int status_;
  std::string code_;
};

// The HTTP status of an error, and its body: {"error": {"message", "type", "param", "code"}}.
int api_status(const Error& error);
Json api_error(const Error& error);

}  // namespace qwill
