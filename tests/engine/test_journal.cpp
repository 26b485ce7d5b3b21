// A request survives being written and read, to the bit, and what is no journal is refused by the name of its field.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/json.h"
#include "qwill/request.h"
#include "support/random.h"

namespace qwill {
namespace {

using testing::HasSubstr;

void expect_same(const Request& got, const Request& wanted) {
  EXPECT_EQ(got.prompt, wanted.prompt);
  EXPECT_EQ(got.output, wanted.output);
  EXPECT_EQ(got.priority, wanted.priority);
  EXPECT_EQ(got.cache_namespace, wanted.cache_namespace);
  const SamplingParams &a = got.sampling, &b = wanted.sampling;
  const auto same_bits = [](double x, double y) { EXPECT_EQ(std::bit_cast<uint64_t>(x), std::bit_cast<uint64_t>(y)); };
  same_bits(a.temperature, b.temperature);
  same_bits(a.top_p, b.top_p);
  same_bits(a.min_p, b.min_p);
  same_bits(a.repetition_penalty, b.repetition_penalty);
  same_bits(a.presence_penalty, b.presence_penalty);
  same_bits(a.frequency_penalty, b.frequency_penalty);
  EXPECT_EQ(a.top_k, b.top_k);
  EXPECT_EQ(a.logit_bias, b.logit_bias);
  EXPECT_EQ(a.seed, b.seed);
  EXPECT_EQ(a.choice, b.choice);
  EXPECT_EQ(a.max_tokens, b.max_tokens);
  EXPECT_EQ(a.stop_ids, b.stop_ids);
  EXPECT_EQ(a.num_logprobs, b.num_logprobs);
  EXPECT_EQ(a.num_prompt_logprobs, b.num_prompt_logprobs);
}

TEST(Journal, CarriesEveryField) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  Request request;
  request.prompt = {0, 7, std::numeric_limits<int32_t>::max()};
  request.output = {3, 3, 1};
  request.priority = std::numeric_limits<int32_t>::min();
  request.cache_namespace = 12;
  request.sampling = {.temperature = 0.1 + 0.2,
                      .top_k = std::numeric_limits<int64_t>::max(),
                      .top_p = std::nextafter(1.0, 0.0),
                      .min_p = std::numeric_limits<double>::denorm_min(),
                      .repetition_penalty = 1e300,
                      .presence_penalty = -0.0,
                      .frequency_penalty = -99.99999999999999,
                      .logit_bias = {{5, -kInf}, {5, kInf}, {0, 0.1f}, {9, std::numeric_limits<float>::denorm_min()}},
                      .seed = std::numeric_limits<uint64_t>::max(),
                      .choice = std::numeric_limits<uint32_t>::max(),
                      .max_tokens = std::numeric_limits<int64_t>::max(),
                      .stop_ids = {2, 0},
                      .num_logprobs = 1000,
                      .num_prompt_logprobs = 7};
  const std::string json = request.to_json();
  EXPECT_EQ(json.find('\n'), std::string::npos);
  expect_same(Request::from_json(json), request);
  EXPECT_EQ(Request::from_json(json).to_json(), json);
}

TEST(Journal, NumbersReadBackToTheBit) {
  test::Random random(1);
  for (int i = 0; i < 2000; ++i) {
    Request request{.prompt = {1}, .sampling = {}};
    const auto positive = std::bit_cast<double>(random.next() >> 1);
    if (std::isfinite(positive) && positive > 0) request.sampling.repetition_penalty = positive;
    request.sampling.top_p = static_cast<double>((random.next() >> 11) + 1) * 0x1p-53;
    request.sampling.logit_bias = {{0, std::bit_cast<float>(static_cast<uint32_t>(random.next()))}};
    if (std::isnan(request.sampling.logit_bias[0].second)) continue;
    request.sampling.seed = random.next();
    expect_same(Request::from_json(request.to_json()), request);
  }
}

TEST(Journal, WhatIsNotSaidIsAsInANewRequest) {
  Request request{.prompt = {4}, .sampling = {}};
  request.sampling.seed = 3;
  expect_same(Request::from_json(R"({"prompt": [4], "sampling": {"seed": 3}})"), request);
}

TEST(Journal, TheDeadlineStaysBehind) {
  Request request{.prompt = {1}, .sampling = {}, .deadline = Request::Clock::now()};
  EXPECT_FALSE(Request::from_json(request.to_json()).deadline);
}

TEST(Journal, RefusesByTheNameOfTheField) {
  const auto error_of = [](const std::string& json) -> std::string {
    try {
      Request::from_json(json);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::invalid) << json;
      return e.what();
    }
    return "no error";
  };
  EXPECT_THAT(error_of(""), HasSubstr("invalid JSON at byte 0"));
  EXPECT_THAT(error_of("[]"), HasSubstr("expected an object"));
  EXPECT_EQ(error_of("{}"), "prompt: missing");
  EXPECT_EQ(error_of(R"({"prompt":[]})"), "prompt: expected a token at least");
  EXPECT_EQ(error_of(R"({"prompt":null})"), "prompt: expected an array, found null");
  EXPECT_EQ(error_of(R"({"prompt":[1],"promt":[1]})"), "promt: there is no such field");
  EXPECT_EQ(error_of(R"({"prompt":[1],"sampling":{"seeds":1}})"), "sampling: seeds: there is no such field");
  EXPECT_EQ(error_of(R"({"prompt":[1],"sampling":[]})"), "sampling: expected an object, found an array");
  EXPECT_EQ(error_of(R"({"prompt":[1,-1]})"), "prompt: item 1: expected an integer from 0 to 2147483647, found -1");
  EXPECT_THAT(error_of(R"({"prompt":[2147483648]})"), HasSubstr("found 2147483648"));
  EXPECT_EQ(error_of(R"({"prompt":[1.0]})"), "prompt: item 0: expected an integer, found a number");
  EXPECT_EQ(error_of(R"({"prompt":[1],"output":["2"]})"), "output: item 0: expected an integer, found a string");
  EXPECT_THAT(error_of(R"({"prompt":[1],"priority":99999999999})"), HasSubstr("priority: expected an integer from"));
  EXPECT_THAT(error_of(R"({"prompt":[1],"cache_namespace":true})"), HasSubstr("cache_namespace: "));
  EXPECT_THAT(error_of(R"({"prompt":[1],"deadline":1})"), HasSubstr("deadline: there is no such field"));

  const auto sampling_error = [&](const std::string& fields) {
    return error_of(R"({"prompt":[1],"sampling":{)" + fields + "}}");
  };
  EXPECT_EQ(sampling_error(R"("seed":-1)"),
            "sampling: seed: expected an integer from 0 to 18446744073709551615, found -1");
  EXPECT_THAT(sampling_error(R"("seed":18446744073709551616)"), HasSubstr("sampling: seed: "));
  EXPECT_THAT(sampling_error(R"("choice":4294967296)"), HasSubstr("sampling: choice: "));
  EXPECT_THAT(sampling_error(R"("temperature":"hot")"), HasSubstr("sampling: temperature: expected a number"));
  EXPECT_THAT(sampling_error(R"("temperature":NaN)"), HasSubstr("sampling: temperature is nan"));
  EXPECT_THAT(sampling_error(R"("top_p":0)"), HasSubstr("sampling: top_p is 0"));
  EXPECT_THAT(sampling_error(R"("min_p":2)"), HasSubstr("sampling: min_p is 2"));
  EXPECT_THAT(sampling_error(R"("top_k":-1)"), HasSubstr("sampling: top_k is -1"));
  EXPECT_THAT(sampling_error(R"("max_tokens":0)"), HasSubstr("sampling: max_tokens is 0"));
  EXPECT_THAT(sampling_error(R"("num_logprobs":-2)"), HasSubstr("sampling: num_logprobs is -2"));
  EXPECT_THAT(sampling_error(R"("num_prompt_logprobs":1001)"), HasSubstr("sampling: num_prompt_logprobs is 1001"));
  EXPECT_THAT(sampling_error(R"("stop_ids":[-1])"), HasSubstr("sampling: stop_ids: item 0: "));
  EXPECT_THAT(sampling_error(R"("logit_bias":{"1":2})"), HasSubstr("sampling: logit_bias: expected an array"));
  EXPECT_THAT(sampling_error(R"("logit_bias":[[1]])"), HasSubstr("sampling: logit_bias: item 0: expected an id"));
  EXPECT_THAT(sampling_error(R"("logit_bias":[[1,2],[3,1e39]])"), HasSubstr("item 1: expected a bias within float32"));
  EXPECT_THAT(sampling_error(R"("logit_bias":[[1,NaN]])"), HasSubstr("sampling: logit_bias is nan"));
}

}  // namespace
}  // namespace qwill
