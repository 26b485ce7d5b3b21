// Answers of OpenAI's API as server-sent events.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "server/openai_request.h"
#include "text/bpe_tokenizer.h"

namespace qwill {

// How an answer ended: what a stream still needs once its text and its tokens are told.
struct AnswerEnd {
  explicit AnswerEnd(const GenerateResult& result)
      : finish(result.finish),
        num_tokens(static_cast<int64_t>(result.token_ids.size())),
        stop_token(result.stop_token),
        by_stop_string(result.stop_string.has_value()) {}

  FinishReason finish;
  int64_t num_tokens;
  std::optional<Draw> stop_token;
  bool by_stop_string;
};

// In whatever pieces an answer comes, their texts and log-probabilities joined are those of api_response.
class ApiStream {
 public:
  // form must outlive the stream.
  ApiStream(const AnswerForm& form, const Tokenizer* tokenizer, const std::string& id, int64_t created);
  ~ApiStream();

  // Each appends events to `out`. begin comes first for a choice; prompt_draws are wanted where the prompt is echoed.
  void begin(std::string& out, int64_t index, std::span<const Draw> prompt_draws);
  // What is new of a choice, and how it ended with the last of it.
  void add(std::string& out, int64_t index, std::string_view text, std::span<const Draw> draws, const AnswerEnd* end);
  // After the last choice's end; or instead of the rest.
  void finish(std::string& out);
  static void fail(std::string& out, const Error& error);

 private:
  struct Choice;
  Choice& choice(int64_t index);
  void event(std::string& out, int64_t index, std::string_view what, const Json& logprobs, std::string_view finish);

  const AnswerForm& form_;
  const Tokenizer* tokenizer_;
  std::string beginning_;  // of every event
  std::vector<std::unique_ptr<Choice>> choices_;
  int64_t num_tokens_ = 0;
};

}  // namespace qwill
