#include "server/openai_logprobs.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/utf8.h"

namespace qwill {
namespace {

// JSON has no infinity; the API writes this for it.
Json logprob_json(float logprob) { return std::max(-9999.0, static_cast<double>(logprob)); }

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

// A token as the older endpoint names it, where the bytes are told nowhere else: a part of a character as
// "bytes:\xe2\x82".
std::string token_name(const Tokenizer* tokenizer, int32_t id) {
  std::string bytes = token_bytes(tokenizer, id);
  if (find_invalid_utf8(bytes) == std::string_view::npos) return bytes;
  std::string name = "bytes:";
  for (const char c : bytes) name += fmt::format("\\x{:02x}", static_cast<unsigned>(static_cast<unsigned char>(c)));
  return name;
}

}  // namespace

int64_t count_code_points(std::string_view text) {
  return std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; });
}

TokenPlacer::TokenPlacer(const Tokenizer* tokenizer, int64_t offset) : offset_(offset) {
  if (tokenizer) detokenizer_.emplace(*tokenizer, Detokenizer::Special::skip);
}

void TokenPlacer::push(const Draw& draw) {
  waiting_.push_back({draw, offset_});
  if (detokenizer_) offset_ += count_code_points(detokenizer_->push(draw.id));
}

std::vector<PlacedToken> TokenPlacer::take(int64_t end, bool all) {
  std::vector<PlacedToken> taken;
  while (!waiting_.empty() && (all || waiting_.front().offset < end)) {
    taken.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
  return taken;
}

std::vector<PlacedToken> place_prompt(const Tokenizer* tokenizer, std::span<const int32_t> prompt,
                                      std::span<const Draw> draws) {
  std::vector<PlacedToken> placed;
  std::optional<Detokenizer> detokenizer;
  if (tokenizer) detokenizer.emplace(*tokenizer);
  int64_t offset = 0;
  for (size_t i = 0; i < prompt.size(); ++i) {
    const bool scored = i > 0 && i <= draws.size();
    placed.push_back({scored ? draws[i - 1] : Draw{.id = prompt[i], .top = {}}, offset, scored});
    if (detokenizer) offset += count_code_points(detokenizer->push(prompt[i]));
  }
  return placed;
}

Json chat_logprobs(const Tokenizer* tokenizer, std::span<const PlacedToken> tokens) {
  Json content = Json::array();
  for (const PlacedToken& placed : tokens) {
    Json top = Json::array();
    for (const TokenLogprob& token : placed.draw.top) top.push_back(chat_token(tokenizer, token.id, token.logprob));
    Json token = chat_token(tokenizer, placed.draw.id, placed.draw.logprob);
    content.push_back(token.set("top_logprobs", std::move(top)));
  }
  Json logprobs = Json::object();
  return logprobs.set("content", std::move(content)).set("refusal", Json());
}

Json completion_logprobs(const Tokenizer* tokenizer, std::span<const PlacedToken> placed, int32_t num_logprobs) {
  Json tokens = Json::array(), logprobs = Json::array(), tops = Json::array(), offsets = Json::array();
  for (const auto& [draw, offset, has_logprob] : placed) {
    const std::string name = token_name(tokenizer, draw.id);
    tokens.push_back(name);
    offsets.push_back(offset);
    logprobs.push_back(has_logprob ? logprob_json(draw.logprob) : Json());
    Json top = Json::object();
    for (const TokenLogprob& token : draw.top) top.set(token_name(tokenizer, token.id), logprob_json(token.logprob));
    top.set(name, logprob_json(draw.logprob));
    tops.push_back(has_logprob ? std::move(top) : Json());
  }
  Json json = Json::object();
  return json.set("tokens", std::move(tokens))
      .set("token_logprobs", std::move(logprobs))
      .set("top_logprobs", num_logprobs > 0 ? std::move(tops) : Json())
      .set("text_offset", std::move(offsets));
}

}  // namespace qwill
