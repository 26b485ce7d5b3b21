#include "server/openai_response.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/utf8.h"
#include "text/detokenizer.h"

namespace qwill {
namespace {

// JSON has no infinity; the API writes this for it.
Json logprob_json(float logprob) { return std::max(-9999.0, static_cast<double>(logprob)); }

Json string_or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }

int64_t count_code_points(std::string_view text) {
  return std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; });
}

// The tokens that a result's text is made of: where each begins, in code points. Tokens that only belong to a stop
// string are left out.
std::vector<int64_t> text_offsets(const Tokenizer* tokenizer, const GenerateResult& result) {
  if (!tokenizer) return std::vector<int64_t>(result.token_ids.size(), 0);
  const int64_t length = count_code_points(result.text);
  std::vector<int64_t> offsets;
  Detokenizer detokenizer(*tokenizer, Detokenizer::Special::skip);
  int64_t offset = 0;
  for (const int32_t id : result.token_ids) {
    if (result.stop_string && offset >= length) break;
    offsets.push_back(offset);
    offset += count_code_points(detokenizer.push(id));
  }
  return offsets;
}

std::string token_bytes(const Tokenizer* tokenizer, int32_t id) {
  return tokenizer ? std::string(tokenizer->token_bytes(id)) : fmt::format("token_id:{}", id);
}

// {"token", "logprob", "bytes"}
Json chat_token(const Tokenizer* tokenizer, int32_t id, float logprob) {
  const std::string text = token_bytes(tokenizer, id);
  Json bytes = Json::array();
  for (const char c : text) bytes.push_back(static_cast<int>(static_cast<unsigned char>(c)));
  Json json = Json::object();
  return json.set("token", replace_invalid_utf8(text)).set("logprob", logprob_json(logprob)).set("bytes", bytes);
}

Json chat_logprobs(const Tokenizer* tokenizer, const GenerateResult& result) {
  Json content = Json::array();
  const size_t count = text_offsets(tokenizer, result).size();
  for (size_t i = 0; i < count; ++i) {
    const Draw& draw = result.draws[i];
    Json top = Json::array();
    for (const TokenLogprob& token : draw.top) top.push_back(chat_token(tokenizer, token.id, token.logprob));
    Json token = chat_token(tokenizer, draw.id, draw.logprob);
    content.push_back(token.set("top_logprobs", std::move(top)));
  }
  Json logprobs = Json::object();
  return logprobs.set("content", std::move(content)).set("refusal", Json());
}

// A token as the older endpoint names it, where the bytes are told nowhere else: a part of a character as
// "bytes:\xe2\x82".
std::string token_name(const Tokenizer* tokenizer, int32_t id) {
  std::string bytes = token_bytes(tokenizer, id);
  if (find_invalid_utf8(bytes) == std::string_view::npos) return bytes;
  std::string name = "bytes:";
  for (const char c : bytes) name += fmt::format("\\x{:02x}", static_cast<unsigned>(static_cast<unsigned char>(c)));
  return name;
}

Json completion_logprobs(const Tokenizer* tokenizer, const GenerateResult& result, int32_t num_logprobs) {
  Json tokens = Json::array(), logprobs = Json::array(), tops = Json::array(), offsets = Json::array();
  size_t i = 0;
  for (const int64_t offset : text_offsets(tokenizer, result)) {
    const Draw& draw = result.draws[i++];
    tokens.push_back(token_name(tokenizer, draw.id));
    logprobs.push_back(logprob_json(draw.logprob));
    offsets.push_back(offset);
    Json top = Json::object();
    for (const TokenLogprob& token : draw.top) top.set(token_name(tokenizer, token.id), logprob_json(token.logprob));
    top.set(token_name(tokenizer, draw.id), logprob_json(draw.logprob));
    tops.push_back(std::move(top));
  }
  Json json = Json::object();
  return json.set("tokens", std::move(tokens))
      .set("token_logprobs", std::move(logprobs))
      .set("top_logprobs", num_logprobs > 0 ? std::move(tops) : Json())
      .set("text_offset", std::move(offsets));
}

Json choice_json(const AnswerForm& form, const Tokenizer* tokenizer, const GenerateResult& result, int64_t index) {
  CHECK(result.finish == FinishReason::stop || result.finish == FinishReason::length, "the answer is complete");
  Json choice = Json::object(), logprobs;
  choice.set("index", index);
  if (form.endpoint == Endpoint::chat_completions) {
    Json message = Json::object();
    message.set("role", "assistant").set("content", result.text).set("refusal", Json());
    choice.set("message", std::move(message));
    if (form.num_logprobs >= 0) logprobs = chat_logprobs(tokenizer, result);
  } else {
    choice.set("text", result.text);
    if (form.num_logprobs >= 0) logprobs = completion_logprobs(tokenizer, result, form.num_logprobs);
  }
  return choice.set("logprobs", std::move(logprobs)).set("finish_reason", finish_name(result.finish));
}

}  // namespace

Json api_response(const AnswerForm& form, const Tokenizer* tokenizer, std::span<const GenerateResult> results,
                  const std::string& id, int64_t created) {
  const bool is_chat = form.endpoint == Endpoint::chat_completions;
  Json choices = Json::array();
  int64_t completion_tokens = 0;
  for (const GenerateResult& result : results) {
    choices.push_back(choice_json(form, tokenizer, result, static_cast<int64_t>(choices.as_array().size())));
    completion_tokens += static_cast<int64_t>(result.token_ids.size());
  }
  Json usage = Json::object();
  usage.set("prompt_tokens", form.prompt_tokens)
      .set("completion_tokens", completion_tokens)
      .set("total_tokens", form.prompt_tokens + completion_tokens);
  Json body = Json::object();
  return body.set("id", (is_chat ? "chatcmpl-" : "cmpl-") + id)
      .set("object", is_chat ? "chat.completion" : "text_completion")
      .set("created", created)
      .set("model", form.model)
      .set("choices", std::move(choices))
      .set("usage", std::move(usage));
}

int api_status(const Error& error) {
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
  const auto* refused = dynamic_cast<const RequestError*>(&error);
  Json inner = Json::object();
  inner.set("message", error.what())
      .set("type", api_status(error) == 400 ? "invalid_request_error" : "server_error")
      .set("param", refused ? string_or_null(refused->param()) : Json())
      .set("code", refused ? string_or_null(refused->code()) : Json());
  Json body = Json::object();
  return body.set("error", std::move(inner));
}

}  // namespace qwill
