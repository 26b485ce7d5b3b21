// tests/data/openai/requests.jsonl, a case a line: "url" and "body" of a request, and what is "wanted" of it or the
// "error" with which it is refused. Only what a case names is compared.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "base/error.h"
#include "server/openai_request.h"
#include "server/openai_response.h"
#include "support/builtin_llm.h"
#include "support/test_paths.h"

namespace qwill {
namespace {

constexpr uint64_t kDefaultSeed = 77;

template <typename T>
Json list(const std::vector<T>& items) {
  Json json = Json::array();
  for (const T& item : items) json.push_back(item);
  return json;
}

Json describe(const ApiRequest& api) {
  const SamplingParams& p = api.requests.front().sampling;
  Json choices = Json::array(), prompts = Json::array(), bias = Json::array();
  for (const GenerateRequest& request : api.requests) {
    choices.push_back(static_cast<int64_t>(request.sampling.choice));
    prompts.push_back(list(request.prompt));
  }
  for (const auto& [id, value] : p.logit_bias) bias.push_back(Json::array({id, static_cast<double>(value)}));
  const auto& prompt = api.requests.front().prompt;
  Json json = Json::object();
  return json.set("model", api.form.model)
      .set("stream", api.stream)
      .set("include_usage", api.form.include_usage)
      .set("echoed", static_cast<int64_t>(api.form.echoed.size()))
      .set("prompt_only", api.form.prompt_only)
      .set("reasoning", api.form.reasoning == ReasoningSplitter::Start::content ? "content" : "maybe")
      .set("requests", static_cast<int64_t>(api.requests.size()))
      .set("prompt_tokens", api.form.prompt_tokens)
      .set("choices", choices)
      .set("prompts", prompts)
      .set("times_2542", static_cast<int64_t>(std::ranges::count(prompt, 2542)))
      .set("max_tokens", p.max_tokens)
      .set("temperature", p.temperature)
      .set("top_p", p.top_p)
      .set("top_k", p.top_k)
      .set("min_p", p.min_p)
      .set("repetition_penalty", p.repetition_penalty)
      .set("presence_penalty", p.presence_penalty)
      .set("frequency_penalty", p.frequency_penalty)
      .set("logit_bias", bias)
      .set("seed", p.seed)
      .set("num_logprobs", p.num_logprobs)
      .set("stop", list(api.requests.front().stop))
      .set("stop_ids", list(p.stop_ids))
      .set("ignore_eos", api.requests.front().ignore_eos)
      .set("priority", api.requests.front().priority);
}

void check_wanted(Endpoint endpoint, const Json& body, const Json& wanted) {
  const ApiRequest api = read_api_request(test::builtin_llm(), endpoint, body, kDefaultSeed);
  const Json got = describe(api);
  for (const auto& [name, value] : wanted.as_object()) {
    if (name == "same_as") {
      const ApiRequest other = read_api_request(test::builtin_llm(), endpoint, value, kDefaultSeed);
      EXPECT_EQ(got.dump(), describe(other).dump());
      continue;
    }
    ASSERT_TRUE(got.find(name)) << name;
    EXPECT_EQ(got.find(name)->dump(), value.dump()) << name;
  }
}

void check_refused(Endpoint endpoint, const Json& body, const Json& wanted) {
  try {
    read_api_request(test::builtin_llm(), endpoint, body, kDefaultSeed);
    ADD_FAILURE() << "not refused";
  } catch (const RequestError& e) {
    EXPECT_EQ(api_status(e), 400);
    const Json error = *api_error(e).find("error");
    for (const auto& [name, value] : wanted.as_object()) EXPECT_EQ(error.find(name)->dump(), value.dump()) << name;
    EXPECT_EQ(error.as_object().size(), 4u);
  }
}

TEST(OpenAiRequest, Cases) {
  std::ifstream file(test::source_path("tests/data/openai/requests.jsonl"));
  int num_wanted = 0, num_refused = 0;
  for (std::string line; std::getline(file, line);) {
    SCOPED_TRACE(line);
    const Json test_case = Json::parse(line);
    const std::optional<Endpoint> endpoint = endpoint_of(test_case.find("url")->as_string());
    ASSERT_TRUE(endpoint);
    const Json& body = *test_case.find("body");
    if (const Json* error = test_case.find("error")) {
      check_refused(*endpoint, body, *error);
      ++num_refused;
    } else {
      check_wanted(*endpoint, body, *test_case.find("wanted"));
      ++num_wanted;
    }
  }
  EXPECT_GT(num_wanted, 20);
  EXPECT_GT(num_refused, 80);
}

TEST(OpenAiRequest, PromptsThatAreTooLong) {
  for (const auto& [size, fits] : {std::pair{2047, true}, {2048, false}}) {
    Json body = Json::object();
    body.set("prompt", list(std::vector<int32_t>(static_cast<size_t>(size), 5)));
    if (fits) {
      EXPECT_EQ(read_api_request(test::builtin_llm(), Endpoint::completions, body, 0).form.prompt_tokens, size);
    } else {
      Json error = Json::object();
      error.set("param", "prompt").set("code", "context_length_exceeded");
      check_refused(Endpoint::completions, body, error);
    }
  }
}

TEST(OpenAiRequest, NumbersThatAreNone) {
  for (const char* text :
       {R"({"prompt":"a","temperature":NaN})", R"({"prompt":"a","presence_penalty":Infinity})",
        R"({"prompt":"a","logit_bias":{"1":NaN}})", R"({"prompt":"a","repetition_penalty":Infinity})"})
    EXPECT_THROW(read_api_request(test::builtin_llm(), Endpoint::completions, Json::parse(text), 0), RequestError)
        << text;
}

TEST(OpenAiRequest, AModelWithoutTokenizer) {
  LlmOptions options;
  options.model = test::source_path("tests/data/checkpoints/06b");
  options.device = "cpu";
  options.num_threads = 1;
  const auto bare = Llm::open(options);
  const auto read = [&](const char* body) {
    return read_api_request(*bare, Endpoint::completions, Json::parse(body), 0);
  };
  EXPECT_EQ(read(R"({"prompt":[1,2]})").form.prompt_tokens, 2);
  for (const auto& [body, param] : {std::pair{R"({"prompt":"a"})", "prompt"},
                                    {R"({"prompt":[[1],"a"]})", "prompt[1]"},
                                    {R"({"prompt":[1],"stop":"a"})", "stop"}}) {
    try {
      read(body);
      ADD_FAILURE() << body;
    } catch (const RequestError& e) {
      EXPECT_EQ(e.param(), param) << e.what();
    }
  }
}

TEST(OpenAiRequest, Endpoints) {
  EXPECT_EQ(endpoint_of("/v1/completions"), Endpoint::completions);
  EXPECT_EQ(endpoint_of("/v1/chat/completions"), Endpoint::chat_completions);
  EXPECT_FALSE(endpoint_of("/v1/embeddings"));
  EXPECT_FALSE(endpoint_of(""));
}

}  // namespace
}  // namespace qwill
