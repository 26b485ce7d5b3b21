// Text in, text out with the built-in model, many requests at once.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <bit>
#include <map>
#include <thread>
#include <utility>

#include "base/error.h"
#include "qwill/llm.h"

namespace qwill {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

std::unique_ptr<Llm> open_built_in(int64_t max_sequences = 6) {
  LlmOptions options;
  options.device = "cpu";
  options.num_threads = 1;
  options.max_seq_len = 256;
  options.max_sequences = max_sequences;
  return Llm::open(options);
}

GenerateRequest request_for(const Llm& llm, std::string_view prompt, int64_t max_tokens) {
  GenerateRequest request;
  request.prompt = llm.encode(prompt);
  request.sampling.max_tokens = max_tokens;
  request.ignore_eos = true;
  return request;
}

void expect_same(const GenerateResult& got, const GenerateResult& wanted) {
  EXPECT_EQ(got.text, wanted.text);
  EXPECT_EQ(got.token_ids, wanted.token_ids);
  EXPECT_EQ(got.finish, wanted.finish);
  EXPECT_EQ(got.stop_string, wanted.stop_string);
  ASSERT_EQ(got.stop_token.has_value(), wanted.stop_token.has_value());
  if (got.stop_token) {
    EXPECT_EQ(got.stop_token->id, wanted.stop_token->id);
  }
  const auto expect_same_draws = [](const std::vector<Draw>& a, const std::vector<Draw>& b) {
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) {
      EXPECT_EQ(a[i].id, b[i].id) << i;
      EXPECT_EQ(std::bit_cast<uint32_t>(a[i].logprob), std::bit_cast<uint32_t>(b[i].logprob)) << i;
      EXPECT_EQ(a[i].top.size(), b[i].top.size()) << i;
    }
  };
  expect_same_draws(got.draws, wanted.draws);
  expect_same_draws(got.prompt_draws, wanted.prompt_draws);
}

TEST(Llm, ManyAtOnceAnswerAsOneByOne) {
  std::vector<GenerateRequest> requests;
  std::vector<GenerateResult> wanted;
  const auto one_by_one = open_built_in(1), at_once = open_built_in();
  for (uint32_t i = 0; i < 12; ++i) {
    GenerateRequest request = request_for(*one_by_one, i % 2 ? "Once upon a time" : "The little dog", 10 + 3 * i);
    request.ignore_eos = i % 3 == 0;
    request.sampling.temperature = i < 4 ? 0 : 0.9;
    request.sampling.seed = 7;
    request.sampling.choice = i;
    request.sampling.num_logprobs = 0;
    request.sampling.num_prompt_logprobs = static_cast<int32_t>(i % 5) - 1;
    if (i % 4 == 1) request.stop = {" was", "."};
    requests.push_back(request);
    wanted.push_back(one_by_one->generate(request));
  }
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      std::vector<std::pair<size_t, Llm::Job>> jobs;
      std::map<size_t, std::string> streamed;
      for (size_t i = t; i < requests.size(); i += 3) {  // some more than once
        std::string& text = streamed[i];
        jobs.emplace_back(i, at_once->submit(requests[i], [&](const AnswerPart& part) { text += part.text; }));
      }
      for (auto& [i, job] : jobs) {
        expect_same(job.result.get(), wanted[i]);
        EXPECT_EQ(streamed[i], wanted[i].text);
        EXPECT_EQ(at_once->decode(at_once->encode(wanted[i].text)), wanted[i].text);
      }
    });
  for (std::thread& thread : threads) thread.join();
}

// Put behind its prompt, an answer has the log-probabilities with which it was drawn.
TEST(Llm, APromptIsScoredAsItWasDrawn) {
  const auto llm = open_built_in();
  GenerateRequest request = request_for(*llm, "Once upon a time", 100);
  const size_t prompt_len = request.prompt.size();
  request.ignore_eos = true;
  request.sampling.num_logprobs = 2;
  const GenerateResult drawn = llm->generate(request);
  EXPECT_TRUE(drawn.prompt_draws.empty());
  request.prompt.insert(request.prompt.end(), drawn.token_ids.begin(), drawn.token_ids.end());
  request.sampling.max_tokens = 1;
  request.sampling.num_prompt_logprobs = 2;
  const GenerateResult scored = llm->generate(request);
  ASSERT_EQ(scored.prompt_draws.size(), request.prompt.size() - 1);
  for (size_t i = 1; i < request.prompt.size(); ++i) EXPECT_EQ(scored.prompt_draws[i - 1].id, request.prompt[i]);
  for (size_t i = 0; i < drawn.draws.size(); ++i) {
    const Draw &a = drawn.draws[i], &b = scored.prompt_draws[prompt_len - 1 + i];
    EXPECT_EQ(std::bit_cast<uint32_t>(a.logprob), std::bit_cast<uint32_t>(b.logprob)) << i;
    EXPECT_EQ(b.top.size(), 2u);
  }
  EXPECT_EQ(scored.draws.size(), 1u);
}

TEST(Llm, AStopStringEndsAnAnswerAndIsNotPartOfIt) {
  const auto llm = open_built_in();
  const GenerateResult whole = llm->generate(request_for(*llm, "Once upon a time", 60));
  EXPECT_EQ(whole.finish, FinishReason::length);
  const size_t at = whole.text.find(' ', whole.text.size() / 2);  // across tokens
  ASSERT_NE(at, std::string::npos);
  const std::string stop = whole.text.substr(at - 2, 5);
  GenerateRequest request = request_for(*llm, "Once upon a time", 60);
  request.stop = {"not in it at all", stop};
  std::string streamed;
  const GenerateResult result = llm->generate(request, [&](const qwill::AnswerPart& part) { streamed += part.text; });
  EXPECT_EQ(result.text, whole.text.substr(0, whole.text.find(stop)));
  EXPECT_EQ(streamed, result.text);
  EXPECT_EQ(result.finish, FinishReason::stop);
  EXPECT_EQ(result.stop_string, stop);
  EXPECT_LT(result.token_ids.size(), whole.token_ids.size());
}

TEST(Llm, ASinkThatThrowsEndsItsRequestAlone) {
  const auto llm = open_built_in();
  const GenerateResult wanted = llm->generate(request_for(*llm, "The little dog", 30));
  auto throws = llm->submit(request_for(*llm, "Once upon a time", 200),
                            [](const AnswerPart&) { throw std::runtime_error("the reader has gone"); });
  auto beside = llm->submit(request_for(*llm, "The little dog", 30));
  try {
    throws.result.get();
    ADD_FAILURE() << "nothing was thrown";
  } catch (const std::runtime_error& e) {
    EXPECT_STREQ(e.what(), "the reader has gone");
  }
  expect_same(beside.result.get(), wanted);
}

TEST(Llm, CancelEndsWithWhatThereIs) {
  const auto llm = open_built_in();
  const GenerateResult whole = llm->generate(request_for(*llm, "Once upon a time", 200));
  std::promise<void> begun;
  bool told = false;
  auto job = llm->submit(request_for(*llm, "Once upon a time", 200), [&](const AnswerPart&) {
    if (!std::exchange(told, true)) begun.set_value();
  });
  begun.get_future().wait();
  llm->cancel(job.sequence);
  llm->cancel(job.sequence + 1000);  // unknown
  const GenerateResult result = job.result.get();
  // Unless the end came first.
  EXPECT_EQ(result.finish, result.token_ids.size() < 200 ? FinishReason::cancelled : FinishReason::length);
  EXPECT_THAT(whole.text, StartsWith(result.text));

  const std::atomic<bool> at_once = true;
  const GenerateResult none = llm->generate(request_for(*llm, "Once upon a time", 200), {}, &at_once);
  EXPECT_THAT(whole.text, StartsWith(none.text));
}

TEST(Llm, ADeadlineEndsAnAnswer) {
  const auto llm = open_built_in();
  GenerateRequest request = request_for(*llm, "Once upon a time", 200);
  request.deadline = Request::Clock::now();
  const GenerateResult result = llm->generate(request);
  EXPECT_EQ(result.finish, FinishReason::deadline);
  EXPECT_TRUE(result.token_ids.empty());
}

TEST(Llm, WhatRunsAtTheEndIsCancelledAndTold) {
  for (int round = 0; round < 10; ++round) {
    std::vector<Llm::Job> jobs;
    std::vector<std::string> streamed(9);
    {
      const auto llm = open_built_in(4);
      for (size_t i = 0; i < 9; ++i) {
        GenerateRequest request = request_for(*llm, "Once upon a time", 200);
        if (i % 3 == 0) request.stop = {"a"};  // the answer may end before the sequence does
        jobs.push_back(llm->submit(request, [&streamed, i](const AnswerPart& part) { streamed[i] += part.text; }));
      }
      if (round % 2) jobs[static_cast<size_t>(round) % 3].result.wait_for(std::chrono::milliseconds(round));
    }
    for (size_t i = 0; i < jobs.size(); ++i) {
      ASSERT_EQ(jobs[i].result.wait_for(std::chrono::seconds(0)), std::future_status::ready);
      EXPECT_EQ(jobs[i].result.get().text, streamed[i]);
    }
  }
}

TEST(Llm, WrongRequestsAreRefusedAtTheDoor) {
  const auto llm = open_built_in();
  const auto error_of = [&](const auto& change) -> std::string {
    GenerateRequest request = request_for(*llm, "Once", 5);
    change(request);
    try {
      llm->submit(request);
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  };
  EXPECT_THAT(error_of([](auto& r) { r.prompt.clear(); }), HasSubstr("empty"));
  EXPECT_THAT(error_of([](auto& r) { r.prompt = {1 << 20}; }), HasSubstr("token id"));
  EXPECT_THAT(error_of([](auto& r) { r.stop = {"a", ""}; }), HasSubstr("stop string"));
  EXPECT_THAT(error_of([](auto& r) { r.sampling.top_p = 0; }), HasSubstr("top_p"));
}

TEST(Llm, ATextIsReadByManyThreads) {
  const auto llm = open_built_in();
  const std::string chat = R"({"messages": [{"role": "user", "content": "Who is there?"}]})";
  const std::vector<int32_t> text_ids = llm->encode("Once upon a time"), chat_ids = llm->encode_chat(chat);
  EXPECT_FALSE(chat_ids.empty());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        EXPECT_EQ(llm->encode("Once upon a time"), text_ids);
        EXPECT_EQ(llm->decode(text_ids), "Once upon a time");
        EXPECT_EQ(llm->encode_chat(chat), chat_ids);
      }
    });
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace qwill
