#include "server/openai_response.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/error.h"
#include "server/openai_logprobs.h"

namespace qwill {
namespace {

Json choice_json(const AnswerForm& form, const Tokenizer* tokenizer, const GenerateResult& result, int64_t index) {
  CHECK(result.finish == FinishReason::stop || result.finish == FinishReason::length, "the answer is complete");
  const bool is_chat = form.endpoint == Endpoint::chat_completions;
  auto [text, tokens] = echo_of(form, tokenizer, index, result.prompt_draws);
  if (form.num_logprobs >= 0 && !form.prompt_only) {
    const int64_t begin = count_code_points(text);
    TokenPlacer placer(tokenizer, begin);
    for (const Draw& draw : result.draws) placer.push(draw);
    if (result.stop_token) placer.push(*result.stop_token);
    std::ranges::move(placer.take(begin + count_code_points(result.text), !result.stop_string),
                      std::back_inserter(tokens));
  }
  if (!form.prompt_only) text += result.text;

  Json choice = Json::object(), logprobs;
  choice.set("index", index);
  if (is_chat) {
    ReasoningSplitter splitter(form.reasoning);
    auto [reasoning, content] = splitter.push(text);
    const auto rest = splitter.finish();
    reasoning += rest.reasoning;
    content += rest.content;
    Json message = Json::object();
    message.set("role", "assistant").set("content", content).set("refusal", Json());
    if (!reasoning.empty()) message.set("reasoning_content", reasoning);
    choice.set("message", std::move(message));
    if (form.num_logprobs >= 0) logprobs = chat_logprobs(tokenizer, tokens);
  } else {
    choice.set("text", text);
    if (form.num_logprobs >= 0) logprobs = completion_logprobs(tokenizer, tokens, form.num_logprobs);
  }
  return choice.set("logprobs", std::move(logprobs)).set("finish_reason", finish_name(result.finish));
}

}  // namespace

Echo echo_of(const AnswerForm& form, const Tokenizer* tokenizer, int64_t choice, std::span<const Draw> prompt_draws) {
  if (form.echoed.empty()) return {};
  const auto& prompt = form.echoed[static_cast<size_t>(choice / form.num_choices)];
  Echo echo{.text = tokenizer ? tokenizer->decode(prompt) : "", .tokens = {}};
  if (form.num_logprobs >= 0) echo.tokens = place_prompt(tokenizer, prompt, prompt_draws);
  return echo;
}

std::string api_id(const AnswerForm& form, const std::string& id) {
  return (form.endpoint == Endpoint::chat_completions ? "chatcmpl-" : "cmpl-") + id;
}

Json api_usage(const AnswerForm& form, int64_t completion_tokens) {
  if (form.prompt_only) completion_tokens = 0;
  Json usage = Json::object();
  return usage.set("prompt_tokens", form.prompt_tokens)
      .set("completion_tokens", completion_tokens)
      .set("total_tokens", form.prompt_tokens + completion_tokens);
}

Json api_response(const AnswerForm& form, const Tokenizer* tokenizer, std::span<const GenerateResult> results,
                  const std::string& id, int64_t created) {
  Json choices = Json::array();
  int64_t completion_tokens = 0;
  for (const GenerateResult& result : results) {
    choices.push_back(choice_json(form, tokenizer, result, static_cast<int64_t>(choices.as_array().size())));
    completion_tokens += static_cast<int64_t>(result.token_ids.size());
  }
  Json body = Json::object();
  return body.set("id", api_id(form, id))
      .set("object", form.endpoint == Endpoint::chat_completions ? "chat.completion" : "text_completion")
      .set("created", created)
      .set("model", form.model)
      .set("choices", std::move(choices))
      .set("usage", api_usage(form, completion_tokens));
}

}  // namespace qwill
