// A stream and a whole answer say the same, however the answer came in pieces.
#include <gtest/gtest.h>

#include <random>

#include "base/error.h"
#include "llm/delivery.h"
#include "llm/parts.h"
#include "server/openai_response.h"
#include "server/openai_stream.h"
#include "support/builtin_llm.h"

namespace qwill {
namespace {

const Tokenizer& tokenizer() { return *test::builtin_llm().parts().tokenizer; }

// An answer of these ids, as the engine's events make it, told to `sink` part by part.
GenerateResult answer_of(const std::vector<int32_t>& ids, const std::vector<std::string>& stops,
                         const Llm::Sink& sink) {
  Answer answer(&tokenizer(), stops, sink);
  auto result = answer.result();
  for (size_t i = 0; i < ids.size() && !answer.ended(); ++i) {
    TokenEvent event;
    event.draw = Draw{.id = ids[i], .logprob = -0.125F * static_cast<float>(i), .top = {{.id = ids[i], .logprob = -1}}};
    if (i + 1 == ids.size()) event.finish = FinishReason::length;
    answer.take(std::move(event), "");
  }
  return result.get();
}

// The events of a stream, of which the last is [DONE].
std::vector<Json> events_of(std::string_view text) {
  std::vector<Json> events;
  while (!text.empty()) {
    const size_t end = text.find("\n\n");
    EXPECT_NE(end, std::string_view::npos);
    EXPECT_TRUE(text.starts_with("data: "));
    const std::string_view data = text.substr(6, end - 6);
    text.remove_prefix(end + 2);
    if (data == "[DONE]") {
      EXPECT_TRUE(text.empty());
      return events;
    }
    events.push_back(Json::parse(data));
  }
  ADD_FAILURE() << "no [DONE]";
  return events;
}

void append(Json& list, const Json& more) {
  for (const Json& one : more.as_array()) list.push_back(one);
}

// Puts the choices of a stream together again, in the form of a whole answer.
Json joined(const std::vector<Json>& events, const AnswerForm& form) {
  const bool is_chat = form.endpoint == Endpoint::chat_completions;
  std::vector<std::string> texts(4), reasonings(4), finishes(4);
  std::vector<std::map<std::string, Json>> logprobs(4);
  Json usage;
  for (const Json& event : events) {
    for (const Json& choice : event.find("choices")->as_array()) {
      const auto i = static_cast<size_t>(choice.integer("index"));
      EXPECT_TRUE(finishes[i].empty()) << "nothing comes after the end";
      if (is_chat) {
        const Json& delta = *choice.find("delta");
        texts[i] += delta.string_or("content", "");
        reasonings[i] += delta.string_or("reasoning_content", "");
      } else {
        texts[i] += choice.find("text")->as_string();
      }
      finishes[i] = choice.string_or("finish_reason", "");
      if (const Json* some = choice.find_value("logprobs"))
        for (const auto& [name, list] : some->as_object()) {
          if (list.is_null()) continue;
          if (!logprobs[i].contains(name)) logprobs[i][name] = Json::array();
          append(logprobs[i][name], list);
        }
    }
    if (const Json* some = event.find_value("usage")) usage = *some;
  }
  Json out = Json::object();
  for (size_t i = 0; i < texts.size(); ++i) {
    Json one = Json::object();
    one.set("text", texts[i]).set("reasoning", reasonings[i]).set("finish", finishes[i]);
    for (const auto& [name, list] : logprobs[i]) one.set(name, list);
    out.set(std::to_string(i), one);
  }
  return out.set("usage", usage);
}

Json of_whole(const Json& body, const AnswerForm& form) {
  const bool is_chat = form.endpoint == Endpoint::chat_completions;
  Json out = Json::object();
  for (size_t i = 0; i < 4; ++i) {
    const Json& choice = body.find("choices")->as_array()[i];
    Json one = Json::object();
    if (is_chat)
      one.set("text", choice.find("message")->string_or("content", ""))
          .set("reasoning", choice.find("message")->string_or("reasoning_content", ""));
    else
      one.set("text", *choice.find("text")).set("reasoning", "");
    one.set("finish", *choice.find("finish_reason"));
    std::map<std::string, Json> sorted;
    if (const Json* some = choice.find_value("logprobs"))
      for (const auto& [name, list] : some->as_object())
        if (!list.is_null()) sorted[name] = list;
    for (const auto& [name, list] : sorted) one.set(name, list);
    out.set(std::to_string(i), one);
  }
  return out.set("usage", *body.find("usage"));
}

void compare(const AnswerForm& form, const std::vector<std::vector<int32_t>>& ids,
             const std::vector<std::string>& stops, uint32_t seed) {
  struct Part {
    size_t choice;
    std::string text;
    std::vector<Draw> draws;
    std::optional<GenerateResult> result;
  };
  std::vector<std::vector<Part>> parts(ids.size());
  std::vector<GenerateResult> results;
  for (size_t i = 0; i < ids.size(); ++i) {
    results.push_back(answer_of(ids[i], stops, [&](const AnswerPart& part) {
      parts[i].push_back({i, std::string(part.text), {part.draws.begin(), part.draws.end()}, {}});
      if (part.result) parts[i].back().result = *part.result;
    }));
    results.back().prompt_draws.assign(form.echoed.empty() ? 0 : form.echoed[0].size() - 1, {.id = 7, .top = {}});
    if (!form.echoed.empty())
      for (size_t k = 0; k + 1 < form.echoed[0].size(); ++k) results.back().prompt_draws[k].id = form.echoed[0][k + 1];
  }
  // Parts of the choices come in any order, and a slow client gets several at once.
  std::mt19937 random(seed);
  ApiStream stream(form, &tokenizer(), "1", 2);
  std::string text;
  std::vector<size_t> next(ids.size(), 0);
  for (;;) {
    std::vector<size_t> open;
    for (size_t i = 0; i < ids.size(); ++i)
      if (next[i] < parts[i].size()) open.push_back(i);
    if (open.empty()) break;
    const size_t i = open[random() % open.size()];
    Part joined_part = parts[i][next[i]++];
    for (auto more = random() % 3; more > 0 && next[i] < parts[i].size(); --more) {
      Part& another = parts[i][next[i]++];
      joined_part.text += another.text;
      joined_part.draws.insert(joined_part.draws.end(), another.draws.begin(), another.draws.end());
      joined_part.result = another.result;
    }
    std::optional<AnswerEnd> end;
    if (joined_part.result) end.emplace(*joined_part.result);
    stream.begin(text, static_cast<int64_t>(i), results[i].prompt_draws);
    stream.add(text, static_cast<int64_t>(i), joined_part.text, joined_part.draws, end ? &*end : nullptr);
  }
  stream.finish(text);
  const Json whole = api_response(form, &tokenizer(), results, "1", 2);
  EXPECT_EQ(joined(events_of(text), form).dump(), of_whole(whole, form).dump());
}

TEST(ApiStream, SaysWhatAWholeAnswerSays) {
  const auto encode = [](std::string_view text) { return tokenizer().encode(text, Tokenizer::Special::parse); };
  const std::vector<std::vector<int32_t>> ids = {
      encode("<think>\nA thought, é 日本語 🦊.\n</think>\n\nA river is long."), encode("A river is long, isn't it? 🦊"),
      encode("no thought at all</think>"), encode("<think>\nwithout end 日")};
  uint32_t seed = 0;
  for (const Endpoint endpoint : {Endpoint::chat_completions, Endpoint::completions})
    for (const auto start :
         {ReasoningSplitter::Start::maybe, ReasoningSplitter::Start::reasoning, ReasoningSplitter::Start::content})
      for (const int32_t num_logprobs : {-1, 0, 1})
        for (const bool echo : {false, true})
          for (const bool prompt_only : {false, true})
            for (const auto& stops : {std::vector<std::string>{}, {" is lo", "語 "}}) {
              if (endpoint == Endpoint::chat_completions && echo) continue;
              if (prompt_only && !echo) continue;
              AnswerForm form{.endpoint = endpoint,
                              .model = "m",
                              .prompt_tokens = 3,
                              .num_logprobs = num_logprobs,
                              .reasoning = start,
                              .prompt_only = prompt_only,
                              .num_choices = 4,
                              .include_usage = true};
              if (echo) form.echoed = {encode("Say, fox 🦊:")};
              compare(form, ids, stops, ++seed);
              if (HasFailure()) return;
            }
}

TEST(ApiStream, AnErrorEndsIt) {
  std::string text;
  ApiStream::fail(text, ApiError(504, "timeout", "too long"));
  EXPECT_EQ(text,
            "data: {\"error\":{\"message\":\"too long\",\"type\":\"server_error\",\"param\":null,\"code\":\"timeout\"}}"
            "\n\ndata: [DONE]\n\n");
}

}  // namespace
}  // namespace qwill
