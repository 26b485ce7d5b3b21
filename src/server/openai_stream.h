// Answers of OpenAI's API as server-sent events.
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

// In whatever pieces an answer comes, their texts and log-probabilities joined are those of api_response.
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

}  // namespace qwill
