#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "llm/parts.h"
#include "server/openai_response.h"
#include "support/builtin_llm.h"

namespace qwill {
namespace {

const Tokenizer& tokenizer() { return *test::builtin_llm().parts().tokenizer; }

// As if the ids had been drawn; the text up to `stop`, if it is given.
GenerateResult result_of(const std::vector<int32_t>& ids, const std::string& stop = "") {
  GenerateResult result;
  result.token_ids = ids;
  result.text = tokenizer().decode(ids, true);
  for (const int32_t id : ids) {
    result.draws.push_back({.id = id, .logprob = -0.5F, .top = {{.id = 10, .logprob = -0.25F}}});
    if (id == 10) result.draws.back().top.push_back({.id = 11, .logprob = -1});
  }
  if (!stop.empty()) {
    result.finish = FinishReason::stop;
    result.text = result.text.substr(0, result.text.find(stop));
    result.stop_string = stop;
  }
  return result;
}

std::vector<int32_t> ids_of(std::string_view text) { return tokenizer().encode(text, Tokenizer::Special::parse); }

Json choice(const AnswerForm& form, const GenerateResult& result) {
  const Json body = api_response(form, &tokenizer(), {&result, 1}, "x", 0);
  return body.find("choices")->as_array().front();
}

TEST(OpenAiResponse, Chat) {
  const AnswerForm form{.endpoint = Endpoint::chat_completions, .model = "m", .prompt_tokens = 7, .num_logprobs = -1};
  const std::vector<GenerateResult> results = {result_of(ids_of("A river")), result_of(ids_of("A river is"), " is")};
  const int64_t drawn = static_cast<int64_t>(results[0].token_ids.size() + results[1].token_ids.size());
  EXPECT_EQ(
      api_response(form, &tokenizer(), results, "12", 34).dump(),
      fmt::format(
          R"({{"id":"chatcmpl-12","object":"chat.completion","created":34,"model":"m","choices":[)"
          R"({{"index":0,"message":{{"role":"assistant","content":"A river","refusal":null}},"logprobs":null,"finish_reason":"length"}},)"
          R"({{"index":1,"message":{{"role":"assistant","content":"A river","refusal":null}},"logprobs":null,"finish_reason":"stop"}}],)"
          R"("usage":{{"prompt_tokens":7,"completion_tokens":{},"total_tokens":{}}}}})",
          drawn, 7 + drawn));
}

TEST(OpenAiResponse, Completion) {
  const AnswerForm form{.endpoint = Endpoint::completions, .model = "m", .prompt_tokens = 3, .num_logprobs = -1};
  const std::vector<GenerateResult> results = {result_of({})};
  EXPECT_EQ(api_response(form, nullptr, results, "12", 34).dump(),
            R"({"id":"cmpl-12","object":"text_completion","created":34,"model":"m","choices":[)"
            R"({"index":0,"text":"","logprobs":null,"finish_reason":"length"}],)"
            R"("usage":{"prompt_tokens":3,"completion_tokens":0,"total_tokens":3}})");
}

TEST(OpenAiResponse, ChatLogprobs) {
  const AnswerForm form{.endpoint = Endpoint::chat_completions, .model = "", .prompt_tokens = 1, .num_logprobs = 1};
  const std::vector<int32_t> ids = ids_of("é");
  const Json logprobs = *choice(form, result_of(ids)).find("logprobs");
  std::string bytes;
  for (const Json& token : logprobs.find("content")->as_array()) {
    for (const Json& byte : token.find("bytes")->as_array()) bytes += static_cast<char>(byte.as_integer());
    EXPECT_EQ(token.number("logprob"), -0.5);
    EXPECT_EQ(token.find("top_logprobs")->as_array().size(), 1u);
    EXPECT_EQ(token.find("top_logprobs")->as_array()[0].number("logprob"), -0.25);
  }
  EXPECT_EQ(bytes, "é");
  EXPECT_TRUE(logprobs.find("refusal")->is_null());
}

TEST(OpenAiResponse, CompletionLogprobs) {
  const AnswerForm form{.endpoint = Endpoint::completions, .model = "", .prompt_tokens = 1, .num_logprobs = 1};
  const std::vector<int32_t> e = ids_of("é");
  ASSERT_EQ(e.size(), 2u) << "the built-in vocabulary has no token for it";
  const Json logprobs = *choice(form, result_of({10, e[0], e[1], 11})).find("logprobs");
  const std::string ten(tokenizer().token_bytes(10)), eleven(tokenizer().token_bytes(11));
  ASSERT_EQ(ten.size(), 1u);
  EXPECT_EQ(logprobs.find("tokens")->dump(),
            "[" + json_quote(ten) + R"(,"bytes:\\xc3","bytes:\\xa9",)" + json_quote(eleven) + "]");
  EXPECT_EQ(logprobs.find("text_offset")->dump(), "[0,1,1,2]");
  EXPECT_EQ(logprobs.find("token_logprobs")->dump(), "[-0.5,-0.5,-0.5,-0.5]");
  const auto& tops = logprobs.find("top_logprobs")->as_array();
  // The drawn token is among them, with the log-probability that it was drawn with.
  EXPECT_EQ(tops[0].dump(), "{" + json_quote(ten) + ":-0.5," + json_quote(eleven) + ":-1.0}");
  EXPECT_EQ(tops[1].dump(), "{" + json_quote(ten) + R"(:-0.25,"bytes:\\xc3":-0.5})");
  const AnswerForm no_top{.endpoint = Endpoint::completions, .model = "", .prompt_tokens = 1, .num_logprobs = 0};
  EXPECT_TRUE(choice(no_top, result_of({10})).find("logprobs")->find("top_logprobs")->is_null());
}

TEST(OpenAiResponse, LogprobsEndWithTheText) {
  const AnswerForm form{.endpoint = Endpoint::completions, .model = "", .prompt_tokens = 1, .num_logprobs = 0};
  const std::vector<int32_t> ids = ids_of("A river is");
  ASSERT_GE(ids.size(), 3u);
  const Json stopped = choice(form, result_of(ids, " is"));
  EXPECT_EQ(stopped.find("text")->as_string(), "A river");
  EXPECT_EQ(stopped.find("logprobs")->find("tokens")->as_array().size(), ids.size() - 1);
  const Json whole = choice(form, result_of(ids));
  EXPECT_EQ(whole.find("logprobs")->find("tokens")->as_array().size(), ids.size());
}

TEST(OpenAiResponse, InfinityIsWritten) {
  const AnswerForm form{.endpoint = Endpoint::completions, .model = "", .prompt_tokens = 1, .num_logprobs = 0};
  GenerateResult result = result_of({10});
  result.draws[0].logprob = -HUGE_VALF;
  EXPECT_EQ(choice(form, result).find("logprobs")->find("token_logprobs")->dump(), "[-9999.0]");
}

TEST(OpenAiResponse, Errors) {
  const auto dump = [](const Error& e) { return std::to_string(api_status(e)) + " " + api_error(e).dump(); };
  EXPECT_EQ(
      dump(RequestError("n", "invalid_value", "n: 0 is below 1")),
      R"(400 {"error":{"message":"n: 0 is below 1","type":"invalid_request_error","param":"n","code":"invalid_value"}})");
  EXPECT_EQ(dump(Error(ErrorKind::busy, "later")),
            R"(503 {"error":{"message":"later","type":"server_error","param":null,"code":null}})");
  EXPECT_EQ(dump(Error(ErrorKind::device, "it broke")),
            R"(500 {"error":{"message":"it broke","type":"server_error","param":null,"code":null}})");
  EXPECT_EQ(api_status(Error(ErrorKind::usage, "")), 400);
}

}  // namespace
}  // namespace qwill
