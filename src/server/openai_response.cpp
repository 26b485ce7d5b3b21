#include "server/openai_response.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/error.h"
#include "server/openai_logprobs.h"

namespace qwill {
namespace {

constexpr std::string_view kEnd = "data: [DONE]\n\n";

Json string_or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }

std::string_view error_type(int status) {
  switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 429: return "rate_limit_error";
    default: return status < 500 ? "invalid_request_error" : "server_error";
  }
}

// What an answer begins with: the prompt, if it is echoed.
struct Echo {
  std::string text;
  std::vector<PlacedToken> tokens;
};

Echo echo_of(const AnswerForm& form, const Tokenizer* tokenizer, int64_t choice, std::span<const Draw> draws) {
  if (form.echoed.empty()) return {};
  const auto& prompt = form.echoed[static_cast<size_t>(choice / form.num_choices)];
  Echo echo{.text = tokenizer ? tokenizer->decode(prompt) : "", .tokens = {}};
  if (form.num_logprobs >= 0) echo.tokens = place_prompt(tokenizer, prompt, draws);
  return echo;
}

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

// ------------------------------------------------------------------------------------------------ streams

// One choice of a stream.
struct ApiStream::Choice {
  Choice(const AnswerForm& form, const Tokenizer* tokenizer) : splitter(form.reasoning), placer(tokenizer) {}

  ReasoningSplitter splitter;
  TokenPlacer placer;
  bool begun = false;
  int64_t length = 0;  // code points of the text so far
};

ApiStream::ApiStream(AnswerForm form, const Tokenizer* tokenizer, const std::string& id, int64_t created)
    : form_(std::move(form)), tokenizer_(tokenizer) {
  const bool is_chat = form_.endpoint == Endpoint::chat_completions;
  beginning_ = fmt::format(R"(data: {{"id":{},"object":"{}","created":{},"model":{},)", json_quote(api_id(form_, id)),
                           is_chat ? "chat.completion.chunk" : "text_completion", created, json_quote(form_.model));
}

ApiStream::~ApiStream() = default;

ApiStream::Choice& ApiStream::choice(int64_t index) {
  while (std::ssize(choices_) <= index) choices_.push_back(std::make_unique<Choice>(form_, tokenizer_));
  return *choices_[static_cast<size_t>(index)];
}

// One event with one choice: `what` is its delta or its text, as a JSON member.
void ApiStream::event(std::string& out, int64_t index, std::string_view what, const Json& logprobs,
                      std::string_view finish) {
  out += fmt::format(R"({}"choices":[{{"index":{},{},"logprobs":{},"finish_reason":{}}}]{}}})", beginning_, index, what,
                     logprobs.is_null() ? "null" : logprobs.dump(), finish.empty() ? "null" : json_quote(finish),
                     form_.include_usage ? R"(,"usage":null)" : "");
  out += "\n\n";
}

void ApiStream::begin(std::string& out, int64_t index, std::span<const Draw> prompt_draws) {
  Choice& one = choice(index);
  if (one.begun) return;
  one.begun = true;
  if (form_.endpoint == Endpoint::chat_completions)
    return event(out, index, R"("delta":{"role":"assistant","content":""})", {}, "");
  if (form_.echoed.empty()) return;
  const Echo echo = echo_of(form_, tokenizer_, index, prompt_draws);
  one.length = count_code_points(echo.text);
  one.placer = TokenPlacer(tokenizer_, one.length);
  event(out, index, fmt::format(R"("text":{})", json_quote(echo.text)),
        form_.num_logprobs >= 0 ? completion_logprobs(tokenizer_, echo.tokens, form_.num_logprobs) : Json(), "");
}

void ApiStream::add(std::string& out, int64_t index, std::string_view text, std::span<const Draw> draws,
                    const GenerateResult* end) {
  Choice& one = choice(index);
  const bool is_chat = form_.endpoint == Endpoint::chat_completions;
  const std::string_view finish = end ? finish_name(end->finish) : "";
  if (end) num_tokens_ += static_cast<int64_t>(end->token_ids.size());
  if (form_.prompt_only) {
    if (end) event(out, index, R"("text":"")", {}, finish);
    return;
  }
  one.length += count_code_points(text);
  Json logprobs;
  if (form_.num_logprobs >= 0) {
    for (const Draw& draw : draws) one.placer.push(draw);
    if (end && end->stop_token) one.placer.push(*end->stop_token);
    const std::vector<PlacedToken> tokens = one.placer.take(one.length, end && !end->stop_string);
    if (!tokens.empty())
      logprobs =
          is_chat ? chat_logprobs(tokenizer_, tokens) : completion_logprobs(tokenizer_, tokens, form_.num_logprobs);
  }
  if (!is_chat) {
    if (!text.empty() || !logprobs.is_null() || end)
      event(out, index, fmt::format(R"("text":{})", json_quote(text)), logprobs, finish);
    return;
  }
  auto [reasoning, content] = one.splitter.push(text);
  if (end) {
    const auto rest = one.splitter.finish();
    reasoning += rest.reasoning;
    content += rest.content;
  }
  const auto delta = [&](std::string_view name, const std::string& value) {
    event(out, index, fmt::format(R"("delta":{{"{}":{}}})", name, json_quote(value)), std::exchange(logprobs, {}), "");
  };
  if (!reasoning.empty()) delta("reasoning_content", reasoning);
  if (!content.empty()) delta("content", content);
  if (!logprobs.is_null() || end) event(out, index, R"("delta":{})", logprobs, finish);
}

void ApiStream::finish(std::string& out) {
  if (form_.include_usage)
    out += fmt::format("{}\"choices\":[],\"usage\":{}}}\n\n", beginning_, api_usage(form_, num_tokens_).dump());
  out += kEnd;
}

void ApiStream::fail(std::string& out, const Error& error) {
  out += fmt::format("data: {}\n\n", api_error(error).dump());
  out += kEnd;
}

// ------------------------------------------------------------------------------------------------ errors

int api_status(const Error& error) {
  if (const auto* api = dynamic_cast<const ApiError*>(&error)) return api->status();
  switch (error.kind()) {
    case ErrorKind::invalid:
    case ErrorKind::unsupported:
    case ErrorKind::usage: return 400;
    case ErrorKind::busy: return 503;
    case ErrorKind::io:
    case ErrorKind::device: break;
  }
  return 500;
}

Json api_error(const Error& error) {
  std::string param, code;
  if (const auto* refused = dynamic_cast<const RequestError*>(&error)) {
    param = refused->param();
    code = refused->code();
  } else if (const auto* api = dynamic_cast<const ApiError*>(&error)) {
    code = api->code();
  }
  Json inner = Json::object();
  inner.set("message", error.what())
      .set("type", error_type(api_status(error)))
      .set("param", string_or_null(param))
      .set("code", string_or_null(code));
  Json body = Json::object();
  return body.set("error", std::move(inner));
}

}  // namespace qwill
