#include "server/openai_stream.h"

#include <fmt/format.h>

#include <utility>

#include "server/openai_logprobs.h"
#include "server/openai_response.h"

namespace qwill {
namespace {

constexpr std::string_view kEnd = "data: [DONE]\n\n";

}  // namespace

// One choice of a stream.
struct ApiStream::Choice {
  Choice(const AnswerForm& form, const Tokenizer* tokenizer) : splitter(form.reasoning), placer(tokenizer) {}

  ReasoningSplitter splitter;
  TokenPlacer placer;
  bool begun = false;
  int64_t length = 0;  // code points of the text so far
};

ApiStream::ApiStream(const AnswerForm& form, const Tokenizer* tokenizer, const std::string& id, int64_t created)
    : form_(form), tokenizer_(tokenizer) {
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
                    const AnswerEnd* end) {
  Choice& one = choice(index);
  const bool is_chat = form_.endpoint == Endpoint::chat_completions;
  const std::string_view finish = end ? finish_name(end->finish) : "";
  if (end) num_tokens_ += end->num_tokens;
  if (form_.prompt_only) {
    if (end) event(out, index, R"("text":"")", {}, finish);
    return;
  }
  one.length += count_code_points(text);
  Json logprobs;
  if (form_.num_logprobs >= 0) {
    for (const Draw& draw : draws) one.placer.push(draw);
    if (end && end->stop_token) one.placer.push(*end->stop_token);
    const std::vector<PlacedToken> tokens = one.placer.take(one.length, end && !end->by_stop_string);
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

}  // namespace qwill
