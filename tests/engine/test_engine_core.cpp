// The generation loop with a model whose tokens are known.
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <map>

#include "base/error.h"
#include "engine/engine_core.h"
#include "engine/fake_model.h"
#include "ops/reference.h"
#include "support/random.h"

namespace qwill {
namespace {

using test::FakeModel;
using test::Random;
using testing::HasSubstr;
using Ids = std::vector<int32_t>;

Ids random_prompt(uint64_t seed, int64_t length) {
  Random random(seed);
  Ids prompt;
  for (int64_t i = 0; i < length; ++i) prompt.push_back(static_cast<int32_t>(random.below(97)));
  return prompt;
}

struct Answer {
  Ids tokens;
  std::vector<Draw> prompt = {};
  std::optional<FinishReason> finish;
  int32_t stop_id = -1;
};

// Runs to the end, at most max_steps.
std::map<int64_t, Answer> run(EngineCore& engine, int max_steps = 5000) {
  std::map<int64_t, Answer> answers;
  for (int step = 0; !engine.idle(); ++step) {
    if (step == max_steps) {
      ADD_FAILURE() << "not done after " << max_steps << " steps";
      break;
    }
    for (const TokenEvent& event : engine.step()) {
      Answer& answer = answers[event.sequence];
      EXPECT_FALSE(answer.finish) << "an event behind the end";
      EXPECT_TRUE(event.prompt.empty() || answer.tokens.empty()) << "the prompt comes first";
      answer.prompt.insert(answer.prompt.end(), event.prompt.begin(), event.prompt.end());
      if (event.draw) answer.tokens.push_back(event.draw->id);
      answer.finish = event.finish;
      if (event.stop_token) answer.stop_id = event.stop_token->id;
    }
  }
  return answers;
}

struct Fixture {
  explicit Fixture(EngineConfig config) : ops(make_reference_ops()), engine(*ops, model, config) {}
  std::unique_ptr<Ops> ops = make_reference_ops();
  FakeModel model;
  EngineCore engine;
};

Request greedy(Ids prompt, int64_t max_tokens) {
  Request request{std::move(prompt), {}};
  request.sampling.max_tokens = max_tokens;
  return request;
}

std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(Engine, GeneratesTheModelsTokensInAnyChunks) {
  for (const int64_t chunk_size : {1, 3, 64, 100, 512}) {
    Fixture f({.max_seq_len = 320, .chunk_size = chunk_size});
    for (const int64_t length : {1, 2, 63, 64, 65, 200}) {
      for (const int64_t max_tokens : {1, 2, 70}) {
        const Ids prompt = random_prompt(static_cast<uint64_t>(length), length);
        const int64_t id = f.engine.add(greedy(prompt, max_tokens));
        const Answer answer = run(f.engine)[id];
        EXPECT_EQ(answer.tokens, f.model.continuation(prompt, max_tokens)) << length << " in chunks of " << chunk_size;
        EXPECT_EQ(answer.finish, FinishReason::length);
        EXPECT_EQ(f.engine.scheduler().num_available_pages(), f.engine.config().num_pages);
      }
    }
  }
}

TEST(Engine, StepsHoldToTheChunkSize) {
  Fixture f({.max_seq_len = 1000, .num_pages = 64, .chunk_size = 50});
  for (uint64_t i = 0; i < 4; ++i) f.engine.add(greedy(random_prompt(i, 120), 10));
  while (!f.engine.idle()) {
    f.engine.step();
    EXPECT_LE(f.model.num_rows(), 50 + 4) << "prompt rows, and one of each that decodes";
  }
}

TEST(Engine, StopIdsEndAnAnswerAndAreNotPartOfIt) {
  Fixture f({.max_seq_len = 100});
  const Ids prompt = {5, 6, 7}, expected = f.model.continuation(prompt, 20);
  Request request = greedy(prompt, 20);
  request.sampling.stop_ids = {96, expected[4]};
  const size_t stop_at = static_cast<size_t>(
      std::min(std::ranges::find(expected, 96), std::ranges::find(expected, expected[4])) - expected.begin());
  const int64_t id = f.engine.add(request);
  const Answer answer = run(f.engine)[id];
  EXPECT_EQ(answer.tokens, Ids(expected.begin(), expected.begin() + static_cast<int64_t>(stop_at)));
  EXPECT_EQ(answer.finish, FinishReason::stop);
  EXPECT_EQ(answer.stop_id, expected[stop_at]);
  request.sampling.stop_ids = {expected[0]};
  const int64_t at_once = f.engine.add(request);
  EXPECT_TRUE(run(f.engine)[at_once].tokens.empty());
}

TEST(Engine, AnAnswerEndsWhereTheRoomEnds) {
  Fixture f({.max_seq_len = 70});
  for (const int64_t length : {1, 63, 64, 68, 69}) {
    const Ids prompt = random_prompt(3, length);
    const int64_t id = f.engine.add(greedy(prompt, 1000));
    const Answer answer = run(f.engine)[id];
    EXPECT_EQ(answer.tokens, f.model.continuation(prompt, 70 - length));
    EXPECT_EQ(answer.finish, FinishReason::length);
  }
}

TEST(Engine, RefusesWhatItCanNeverServe) {
  Fixture f({.max_seq_len = 70});
  EXPECT_THAT(error_of([&] { f.engine.add(greedy(random_prompt(1, 70), 1)); }),
              testing::AllOf(HasSubstr("has 70 tokens"), HasSubstr("may have 70")));
  EXPECT_THAT(error_of([&] { f.engine.add(greedy(random_prompt(1, 200), 1)); }),
              testing::AllOf(HasSubstr("has 200 tokens"), HasSubstr("may have 70")));
  EXPECT_THAT(error_of([&] { f.engine.add(greedy({}, 1)); }), HasSubstr("empty"));
  EXPECT_THAT(error_of([&] { f.engine.add(greedy({1, 97}, 1)); }),
              testing::AllOf(HasSubstr("97"), HasSubstr("0 to 96")));
  EXPECT_THAT(error_of([&] { f.engine.add(greedy({-1}, 1)); }), HasSubstr("-1"));
  EXPECT_THAT(error_of([&] { f.engine.add(greedy({1}, 0)); }), HasSubstr("max_tokens"));
  EXPECT_TRUE(f.engine.idle());
  Fixture few_pages({.max_seq_len = 1000, .num_pages = 2});
  EXPECT_THAT(error_of([&] { few_pages.engine.add(greedy(random_prompt(1, 128), 1)); }),
              testing::AllOf(HasSubstr("has 128 tokens"), HasSubstr("may have 128")));
  const int64_t id = few_pages.engine.add(greedy(random_prompt(1, 127), 9));
  EXPECT_EQ(run(few_pages.engine)[id].tokens.size(), 1u);
}

TEST(Engine, SamplingParamsNameWhatIsOutOfRange) {
  const auto error = [](auto change) {
    SamplingParams params;
    change(params);
    return error_of([&] { params.check(); });
  };
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN(), kInf = std::numeric_limits<double>::infinity();
  for (const double bad : {-1.0, kNan, kInf})
    EXPECT_THAT(error([&](auto& p) { p.temperature = bad; }), HasSubstr("temperature"));
  for (const double bad : {0.0, -0.5, 1.1, kNan})
    EXPECT_THAT(error([&](auto& p) { p.top_p = bad; }), HasSubstr("top_p"));
  for (const double bad : {-0.1, 1.1, kNan}) EXPECT_THAT(error([&](auto& p) { p.min_p = bad; }), HasSubstr("min_p"));
  for (const double bad : {0.0, -1.0, kNan, kInf})
    EXPECT_THAT(error([&](auto& p) { p.repetition_penalty = bad; }), HasSubstr("repetition_penalty"));
  for (const double bad : {101.0, -101.0, kNan}) {
    EXPECT_THAT(error([&](auto& p) { p.presence_penalty = bad; }), HasSubstr("presence_penalty"));
    EXPECT_THAT(error([&](auto& p) { p.frequency_penalty = bad; }), HasSubstr("frequency_penalty"));
  }
  EXPECT_THAT(error([](auto& p) { p.top_k = -1; }), HasSubstr("top_k"));
  EXPECT_THAT(error([](auto& p) { p.max_tokens = 0; }), HasSubstr("max_tokens"));
  for (const int32_t bad : {1001, -2}) {
    EXPECT_THAT(error([&](auto& p) { p.num_logprobs = bad; }), HasSubstr("num_logprobs"));
    EXPECT_THAT(error([&](auto& p) { p.num_prompt_logprobs = bad; }), HasSubstr("num_prompt_logprobs"));
  }
  EXPECT_THAT(error([](auto& p) { p.stop_ids = {2, -1}; }), HasSubstr("stop_ids"));
  EXPECT_THAT(error([](auto& p) { p.logit_bias = {{-1, 0.0f}}; }), HasSubstr("logit_bias"));
  EXPECT_THAT(error([](auto& p) { p.logit_bias = {{1, std::nanf("")}}; }), HasSubstr("logit_bias"));
  EXPECT_EQ(error([](auto& p) { p.logit_bias = {{1, -std::numeric_limits<float>::infinity()}}; }), "no error");
}

// Greedy and drawn answers of many sequences at once are those of each alone.
TEST(Engine, ManySequencesAnswerAsEachAlone) {
  std::vector<Request> requests;
  Random random(1);
  for (uint64_t i = 0; i < 30; ++i) {
    Request request = greedy(random_prompt(i, random.between(1, 150)), random.between(1, 40));
    request.sampling.seed = i;
    if (i % 2) request.sampling.temperature = 1;
    if (i % 3 == 0) request.sampling.repetition_penalty = 1.3;
    if (i % 5 == 0) request.sampling.presence_penalty = 0.5;
    requests.push_back(std::move(request));
  }
  Fixture alone({.max_seq_len = 300, .chunk_size = 300});
  std::vector<Ids> wanted;
  for (const Request& request : requests) {
    const int64_t id = alone.engine.add(request);
    wanted.push_back(run(alone.engine)[id].tokens);
  }
  for (const int64_t num_pages : {5, 9, 200}) {  // with few pages most wait, or lose theirs and begin again
    for (const int64_t chunk_size : {7, 64, 1000}) {
      Fixture together({.max_seq_len = 300, .num_pages = num_pages, .chunk_size = chunk_size});
      std::vector<int64_t> ids;
      for (const Request& request : requests) ids.push_back(together.engine.add(request));
      std::map<int64_t, Answer> answers = run(together.engine);
      for (size_t i = 0; i < ids.size(); ++i)
        EXPECT_EQ(answers[ids[i]].tokens, wanted[i])
            << fmt::format("sequence {}, {} pages, chunks of {}", i, num_pages, chunk_size);
      EXPECT_EQ(together.engine.scheduler().num_available_pages(), num_pages);
    }
  }
}

// Each may grow to the whole cache: the first must not wait for pages that the second holds.
TEST(Engine, SequencesThatTogetherOutgrowTheCacheEnd) {
  Fixture f({.max_seq_len = 256, .num_pages = 4});
  std::vector<int64_t> ids;
  for (uint64_t i = 0; i < 3; ++i) ids.push_back(f.engine.add(greedy(random_prompt(i, 60), 196)));
  std::map<int64_t, Answer> answers = run(f.engine, 1000);
  for (uint64_t i = 0; i < 3; ++i)
    EXPECT_EQ(answers[ids[i]].tokens, f.model.continuation(random_prompt(i, 60), 196)) << i;
  EXPECT_EQ(f.engine.scheduler().num_available_pages(), 4);
}

TEST(Engine, CancelsInEveryState) {
  Fixture f({.max_seq_len = 300, .num_pages = 6, .chunk_size = 50});
  const auto cancelled = [&](int64_t id) {
    f.engine.cancel(id);
    f.engine.cancel(id);  // once more changes nothing
    int count = 0;
    for (const TokenEvent& event : f.engine.step()) {
      if (event.sequence != id) continue;
      ++count;
      EXPECT_FALSE(event.draw);
      EXPECT_EQ(event.finish, FinishReason::cancelled);
    }
    return count;
  };
  const int64_t decoding = f.engine.add(greedy(random_prompt(1, 40), 100));
  const int64_t prefilling = f.engine.add(greedy(random_prompt(2, 250), 1));
  const int64_t queued = f.engine.add(greedy(random_prompt(3, 200), 1));
  f.engine.step();
  f.engine.step();
  EXPECT_EQ(cancelled(queued), 1);
  EXPECT_EQ(cancelled(prefilling), 1);
  EXPECT_FALSE(f.engine.idle());
  EXPECT_EQ(cancelled(decoding), 1);
  EXPECT_TRUE(f.engine.idle());
  EXPECT_EQ(f.engine.scheduler().num_available_pages(), 6);
  EXPECT_EQ(cancelled(decoding), 0) << "gone";
  EXPECT_EQ(cancelled(12345), 0) << "never there";
  const int64_t next = f.engine.add(greedy({1, 2}, 3));
  EXPECT_EQ(run(f.engine)[next].tokens, f.model.continuation({1, 2}, 3));
}

// A model whose device fails in one step.
class FailingModel final : public Model {
 public:
  Tensor forward(Ops& ops, const Batch& batch, PagedKv& kv, const Observer& observe) const override {
    if (--steps_left == 0) throw Error(ErrorKind::device, "cuda: product: an illegal memory access was encountered");
    return model.forward(ops, batch, kv, observe);
  }
  const ModelConfig& config() const override { return model.config(); }
  double weight_bytes(int64_t rows) const override { return model.weight_bytes(rows); }
  FakeModel model;
  mutable int steps_left = 5;
};

TEST(Engine, ADeviceThatFailsEndsEverySequenceOnce) {
  const auto ops = make_reference_ops();
  const FailingModel model;
  EngineCore engine(*ops, model, {.max_seq_len = 256, .num_pages = 12, .chunk_size = 16});
  const int64_t free_pages = engine.scheduler().num_available_pages();
  for (uint64_t i = 0; i < 3; ++i) {
    Request request{random_prompt(i, 20), {}};
    request.sampling.max_tokens = 50;
    engine.add(std::move(request));
  }
  const auto answers = run(engine);
  EXPECT_EQ(answers.size(), 3u);
  for (const auto& [id, answer] : answers) EXPECT_EQ(answer.finish, FinishReason::failed);
  EXPECT_TRUE(engine.idle());
  EXPECT_EQ(engine.scheduler().num_available_pages(), free_pages);
  EXPECT_TRUE(engine.step().empty());
  try {
    engine.add({random_prompt(9, 3), {}});
    ADD_FAILURE() << "a failed device takes no more";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::device);
    EXPECT_THAT(e.what(), HasSubstr("illegal memory access"));
  }
}

TEST(Engine, AnIdleStepIsNothing) {
  Fixture f({.max_seq_len = 10});
  EXPECT_TRUE(f.engine.idle());
  EXPECT_TRUE(f.engine.step().empty());
}

// Sequences come and are cancelled at random; every one gets exactly one end, and all pages come back.
TEST(Engine, RandomTrafficLosesNothing) {
  for (uint64_t seed = 0; seed < 5; ++seed) {
    Random random(seed);
    Fixture f({.max_seq_len = 200, .num_pages = random.between(4, 12), .chunk_size = random.between(1, 100)});
    std::map<int64_t, Answer> answers;
    std::map<int64_t, std::pair<Ids, int64_t>> asked;
    std::vector<int64_t> live;
    for (int step = 0; step < 3000 && (step < 300 || !f.engine.idle()); ++step) {
      if (step < 300 && random.below(4) == 0) {
        const Ids prompt = random_prompt(random.next(), random.between(1, 150));
        const int64_t max_tokens = random.between(1, 49);
        live.push_back(f.engine.add(greedy(prompt, max_tokens)));
        asked[live.back()] = {prompt, max_tokens};
      }
      if (!live.empty() && random.below(20) == 0)
        f.engine.cancel(live[static_cast<size_t>(random.below(static_cast<int64_t>(live.size())))]);
      for (const TokenEvent& event : f.engine.step()) {
        Answer& answer = answers[event.sequence];
        ASSERT_FALSE(answer.finish);
        if (event.draw) answer.tokens.push_back(event.draw->id);
        answer.finish = event.finish;
        if (event.finish) std::erase(live, event.sequence);
      }
    }
    ASSERT_TRUE(f.engine.idle());
    EXPECT_EQ(f.engine.scheduler().num_available_pages(), f.engine.config().num_pages);
    ASSERT_EQ(answers.size(), asked.size());
    for (const auto& [id, request] : asked) {
      const auto& [prompt, max_tokens] = request;
      const auto got = static_cast<int64_t>(answers[id].tokens.size());
      EXPECT_EQ(answers[id].tokens, f.model.continuation(prompt, got)) << id;
      EXPECT_EQ(answers[id].finish == FinishReason::cancelled ? got < max_tokens : got == max_tokens, true) << id;
    }
  }
}

TEST(Engine, DrawsCarryLogprobsWhenAsked) {
  Fixture f({.max_seq_len = 30});
  Request request = greedy({1, 2, 3}, 2);
  request.sampling.num_logprobs = 2;
  f.engine.add(request);
  while (!f.engine.idle())
    for (const TokenEvent& event : f.engine.step()) {
      ASSERT_EQ(event.draw->top.size(), 2u);
      EXPECT_EQ(event.draw->top[0].id, event.draw->id);
      EXPECT_EQ(event.draw->top[0].logprob, event.draw->logprob);
    }
}

TEST(Engine, PaddingIsNeverDrawn) {
  Fixture f({.max_seq_len = 200, .num_drawable = 10});
  Request request = greedy({50, 60}, 100);
  request.sampling.temperature = 2;
  const int64_t id = f.engine.add(request);
  const Answer answer = run(f.engine)[id];
  EXPECT_EQ(answer.tokens.size(), 100u);
  for (const int32_t token : answer.tokens) EXPECT_LT(token, 10);
}

TEST(Engine, YarnIsUsedAlwaysOrWhenNeeded) {
  for (const RopeWhen when : {RopeWhen::always, RopeWhen::needed}) {
    auto ops = make_reference_ops();
    FakeModel model;
    model.config().yarn = YarnConfig{};
    model.config().yarn->original_max_position_embeddings = 64;
    EngineCore engine(*ops, model, {.max_seq_len = 256, .rope_when = when});
    for (const int64_t max_tokens : {54, 55}) {
      const int64_t id = engine.add(greedy(random_prompt(1, 10), max_tokens));
      engine.step();
      const bool yarn = when == RopeWhen::always || max_tokens == 55;
      EXPECT_EQ(model.ropes(), std::vector<RopeKind>{yarn ? RopeKind::yarn : RopeKind::plain});
      engine.cancel(id);
      engine.step();
    }
  }
}

std::vector<float> scored(EngineCore& engine, const Ids& tokens) {
  std::vector<float> all;
  int64_t next = 0;
  engine.score(tokens, [&](int64_t first, const Tensor& logits) {
    EXPECT_EQ(first, next);
    next += logits.rows;
    all.insert(all.end(), logits.row<const float>(0), logits.row<const float>(logits.rows));
  });
  EXPECT_EQ(next, static_cast<int64_t>(tokens.size()));
  return all;
}

TEST(EngineScore, ChunksGiveWhatTheWholeGives) {
  for (const int64_t length : {1, 64, 65, 200}) {
    const Ids tokens = random_prompt(1, length);
    std::vector<float> wanted;
    for (size_t n = 1; n <= tokens.size(); ++n) {
      const std::vector<float> row = FakeModel().logits(std::span(tokens).first(n));
      wanted.insert(wanted.end(), row.begin(), row.end());
    }
    for (const int64_t chunk_size : {1, 3, 64, 100, 512}) {
      Fixture f({.max_seq_len = 200, .chunk_size = chunk_size});
      EXPECT_EQ(scored(f.engine, tokens), wanted) << length << " in chunks of " << chunk_size;
      EXPECT_EQ(f.engine.scheduler().num_available_pages(), f.engine.config().num_pages);
    }
  }
}

// --- the same in steps that hold others too ---

bool same(const std::vector<Draw>& a, const std::vector<Draw>& b) {
  const auto same_top = [](const TokenLogprob& x, const TokenLogprob& y) {
    return x.id == y.id && x.logprob == y.logprob;
  };
  return std::ranges::equal(a, b, [&](const Draw& x, const Draw& y) {
    return x.id == y.id && x.logprob == y.logprob && std::ranges::equal(x.top, y.top, same_top);
  });
}

// What a request should be told of its prompt.
std::vector<Draw> prompt_draws(const Request& request) {
  std::vector<Draw> draws;
  if (request.sampling.num_prompt_logprobs < 0) return draws;
  for (size_t n = 1; n < request.prompt.size(); ++n) {
    draws.emplace_back().id = request.prompt[n];
    add_logprobs(draws.back(), FakeModel().logits(std::span(request.prompt).first(n)),
                 request.sampling.num_prompt_logprobs);
  }
  return draws;
}

Request scored_request(uint64_t seed, int64_t length, int64_t max_tokens, int32_t num_prompt_logprobs = 0) {
  Request request = greedy(random_prompt(seed, length), max_tokens);
  request.sampling.num_prompt_logprobs = num_prompt_logprobs;
  return request;
}

TEST(EngineScore, APromptIsScoredInAnyChunks) {
  for (const bool overlap : {false, true})
    for (const int64_t chunk_size : {1, 3, 64, 100, 512})
      for (const int64_t max_given_rows : {1, 10, 64, 500}) {
        Fixture f({.max_seq_len = 320, .chunk_size = chunk_size, .max_given_rows = max_given_rows, .overlap = overlap});
        for (const int64_t length : {1, 2, 64, 65, 200}) {
          const Request request = scored_request(1, length, 3, 2);
          const int64_t id = f.engine.add(request);
          const Answer answer = run(f.engine)[id];
          EXPECT_TRUE(same(answer.prompt, prompt_draws(request))) << length << " in chunks of " << chunk_size;
          EXPECT_EQ(answer.tokens, f.model.continuation(request.prompt, 3));
        }
        EXPECT_EQ(f.engine.scheduler().num_available_pages(), f.engine.config().num_pages);
      }
}

// Those that are scored lose their pages and begin again like others, and others answer as if they were not there.
TEST(EngineScore, PromptsAreScoredBesideOthers) {
  std::vector<Request> requests;
  Random random(1);
  for (uint64_t i = 0; i < 30; ++i) {
    requests.push_back(scored_request(i / 2, random.between(1, 150), random.between(1, 40),
                                      static_cast<int32_t>(random.between(-1, 2))));
    requests.back().priority = static_cast<int32_t>(random.below(2));
  }
  for (const bool overlap : {false, true}) {
    int64_t preempted = 0;
    for (const int64_t num_pages : {5, 9, 200})
      for (const int64_t chunk_size : {7, 64, 1000}) {
        Fixture f({.max_seq_len = 300,
                   .num_pages = num_pages,
                   .chunk_size = chunk_size,
                   .max_given_rows = 20,
                   .max_sequences = 8,
                   .overlap = overlap});
        std::map<int64_t, Answer> answers;
        std::map<int64_t, const Request*> request_of;
        for (const Request& request : requests) {
          request_of[f.engine.add(request)] = &request;
          for (const TokenEvent& event : f.engine.step()) {
            Answer& answer = answers[event.sequence];
            answer.prompt.insert(answer.prompt.end(), event.prompt.begin(), event.prompt.end());
            if (event.draw) answer.tokens.push_back(event.draw->id);
          }
        }
        for (const auto& [id, rest] : run(f.engine)) {
          answers[id].prompt.insert(answers[id].prompt.end(), rest.prompt.begin(), rest.prompt.end());
          answers[id].tokens.insert(answers[id].tokens.end(), rest.tokens.begin(), rest.tokens.end());
        }
        for (const auto& [id, request] : request_of) {
          EXPECT_TRUE(same(answers[id].prompt, prompt_draws(*request)))
              << fmt::format("sequence {}, {} pages, chunks of {}, overlap {}", id, num_pages, chunk_size, overlap);
          EXPECT_EQ(answers[id].tokens, f.model.continuation(request->prompt, request->sampling.max_tokens));
        }
        preempted += f.engine.stats().preempted;
      }
    EXPECT_GT(preempted, 5);
  }
}

// A request that goes on behind its output scores its prompt again, and nothing of the output.
TEST(EngineScore, AContinuedRequestScoresItsPrompt) {
  Fixture f({.max_seq_len = 200, .chunk_size = 30});
  Request request = scored_request(3, 70, 20);
  const Ids whole = f.model.continuation(request.prompt, 20);
  request.output.assign(whole.begin(), whole.begin() + 12);
  for (int twice = 0; twice < 2; ++twice) {  // also when all of it is cached
    const int64_t id = f.engine.add(Request::from_json(request.to_json()));
    const Answer answer = run(f.engine)[id];
    EXPECT_TRUE(same(answer.prompt, prompt_draws(request)));
    EXPECT_EQ(answer.tokens, Ids(whole.begin() + 12, whole.end()));
  }
}

TEST(EngineScore, ACancelledPromptIsScoredNoMore) {
  for (const bool overlap : {false, true}) {
    Fixture f({.max_seq_len = 300, .num_pages = 10, .max_given_rows = 10, .max_sequences = 2, .overlap = overlap});
    const Request request = scored_request(1, 200, 5);
    const int64_t id = f.engine.add(request), other = f.engine.add(greedy({1, 2, 3}, 30));
    std::vector<Draw> told;
    Ids others;
    for (int step = 0; !f.engine.idle(); ++step) {
      if (step == 5) f.engine.cancel(id);
      for (const TokenEvent& event : f.engine.step()) {
        if (event.sequence == other) {
          if (event.draw) others.push_back(event.draw->id);
          continue;
        }
        EXPECT_LE(step, 5);
        EXPECT_EQ(event.finish.has_value(), step == 5);
        EXPECT_EQ(event.prompt.size(), step == 5 ? 0u : 10u);
        told.insert(told.end(), event.prompt.begin(), event.prompt.end());
      }
    }
    std::vector<Draw> wanted = prompt_draws(request);
    wanted.resize(overlap ? 40 : 50);
    EXPECT_TRUE(same(told, wanted));
    EXPECT_EQ(others, f.model.continuation({1, 2, 3}, 30));
    EXPECT_EQ(f.engine.scheduler().num_available_pages(), 10);
  }
}

TEST(EngineScore, WithoutVisitorNoLogitsAreMade) {
  Fixture f({.max_seq_len = 200});
  f.engine.score(random_prompt(1, 200), nullptr);
  EXPECT_EQ(f.engine.scheduler().num_available_pages(), f.engine.config().num_pages);
}

TEST(EngineScore, ReturnsItsPagesWhenTheVisitorThrows) {
  Fixture f({.max_seq_len = 200, .chunk_size = 50});
  const auto stop = [](int64_t first, const Tensor&) {
    if (first == 50) fail_invalid("enough");
  };
  for (int i = 0; i < 10; ++i) EXPECT_EQ(error_of([&] { f.engine.score(random_prompt(1, 200), stop); }), "enough");
  EXPECT_EQ(f.engine.scheduler().num_available_pages(), f.engine.config().num_pages);
}

TEST(EngineScore, RefusalsNameNumbers) {
  Fixture f({.max_seq_len = 100});
  EXPECT_THAT(error_of([&] { scored(f.engine, random_prompt(1, 101)); }),
              testing::AllOf(HasSubstr("has 101 tokens"), HasSubstr("may have 100")));
  EXPECT_THAT(error_of([&] { scored(f.engine, {}); }), HasSubstr("empty"));
  EXPECT_THAT(error_of([&] { scored(f.engine, {3, 97}); }), HasSubstr("0 to 96"));
  f.engine.add(greedy(random_prompt(1, 50), 9));
  f.engine.step();
  EXPECT_THAT(error_of([&] { scored(f.engine, random_prompt(1, 100)); }),
              testing::AllOf(HasSubstr("has 100 tokens"), HasSubstr("1 free pages of 64")));
}

TEST(EngineScore, LeavesRunningSequencesAlone) {
  Fixture f({.max_seq_len = 100, .num_pages = 10});
  const Ids prompt = random_prompt(4, 70);
  const int64_t id = f.engine.add(greedy(prompt, 20));
  Ids tokens;
  while (!f.engine.idle()) {
    for (const TokenEvent& event : f.engine.step())
      if (event.sequence == id && event.draw) tokens.push_back(event.draw->id);
    scored(f.engine, random_prompt(5, 90));
  }
  EXPECT_EQ(tokens, f.model.continuation(prompt, 20));
}

}  // namespace
}  // namespace qwill
