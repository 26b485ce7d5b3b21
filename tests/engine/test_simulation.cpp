// The engine over a played device, under random traffic of many kinds (simulation.h says what is checked).
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <numeric>

#include "engine/simulation.h"

namespace qwill {
namespace {

using test::Random;
using test::SimulatedRunner;
using test::Simulation;
using test::TokenSource;
using test::Traffic;
using Ids = std::vector<int32_t>;

#if defined(__SANITIZE_ADDRESS__)
constexpr int64_t kScale = 10;  // fewer requests where everything takes longer
#else
constexpr int64_t kScale = 1;
#endif

struct Totals {
  int64_t requests = 0, failures = 0, preempted = 0, hits = 0, scored = 0;
  std::array<int64_t, 5> ended = {};
};

void run(const EngineConfig& config, const Traffic& traffic, Totals& totals) {
  Simulation simulation(config, traffic);
  try {
    simulation.run();
  } catch (const std::exception& e) {
    FAIL() << fmt::format("{}; seed {}, overlap {}, reserve {}, {} pages of {}, {} sequences, chunks of {} and {}",
                          e.what(), traffic.seed, *config.overlap, config.reserve, config.num_pages, config.page_size,
                          config.max_sequences, config.chunk_size, config.mixed_chunk_size);
  }
  totals.requests += simulation.num_added();
  totals.failures += simulation.num_failures();
  totals.scored += simulation.num_scored();
  totals.preempted += simulation.stats().preempted;
  totals.hits += simulation.stats().prefix_hit_tokens;
  for (size_t i = 0; i < totals.ended.size(); ++i)
    totals.ended[i] += simulation.num_ended(static_cast<FinishReason>(i));
}

// 100,000 requests; pages of one token and of many, enough of them and so few that one sequence fills them.
TEST(Simulation, RandomTrafficKeepsEveryPromise) {
  constexpr int64_t kLongest = 130;
  Totals totals;
  Traffic traffic;
  for (const bool overlap : {false, true})
    for (const bool reserve : {false, true})
      for (const bool long_answers : {false, true})
        for (const int64_t num_tokens : {130, 500, 6000})
          for (const int64_t page_size : {1, 4, 16}) {
            Random random(++traffic.seed);
            const EngineConfig config{.max_seq_len = std::min(kLongest, num_tokens / page_size * page_size),
                                      .num_pages = num_tokens / page_size,
                                      .page_size = page_size,
                                      .chunk_size = random.between(40, 200),
                                      .mixed_chunk_size = random.between(1, 40),
                                      .row_tile = random.between(1, 20),
                                      .max_given_rows = random.between(1, random.below(2) ? 8 : 64),
                                      .max_sequences = random.between(1, 64),
                                      .reserve = reserve,
                                      .prefix_cache = random.below(6) > 0,
                                      .overlap = overlap};
            traffic.num_requests = (long_answers ? 800 : 2000) / kScale;
            traffic.max_prompt = long_answers ? 40 : 100;
            traffic.max_tokens = long_answers ? 90 : 30;
            traffic.requests_per_namespace = random.below(2) * 50;
            traffic.steps_between_failures = random.below(3) > 0 ? 2000 : 0;
            traffic.check_pages_every = num_tokens < 1000 ? 3 : 30;
            run(config, traffic, totals);
            if (HasFatalFailure()) return;
          }
  EXPECT_GE(totals.requests, 100'000 / kScale);
  // That what should be seen was seen.
  EXPECT_GT(totals.failures, 50 / kScale);
  EXPECT_GT(totals.preempted, 5000 / kScale);
  EXPECT_GT(totals.hits, 100'000 / kScale);
  EXPECT_GT(totals.scored, 100'000 / kScale);
  for (const int64_t ended : totals.ended) EXPECT_GT(ended, 1000 / kScale);
}

// An engine over a played device.
struct Fixture {
  explicit Fixture(const EngineConfig& config) {
    auto owned = std::make_unique<SimulatedRunner>(config, Simulation::kVocabSize);
    runner = owned.get();
    engine = std::make_unique<EngineCore>(std::move(owned), Simulation::model(), config);
  }
  // One step; what is drawn goes behind the output of its sequence.
  void step() {
    for (const TokenEvent& event : engine->step()) {
      if (event.draw) outputs[event.sequence].push_back(event.draw->id);
      for (const Draw& scored : event.prompt) scores[event.sequence].push_back(scored.logprob);
    }
    engine->scheduler().check_pages();
  }
  void run() {
    while (!engine->idle()) step();
  }

  SimulatedRunner* runner;
  std::unique_ptr<EngineCore> engine;
  std::map<int64_t, Ids> outputs;
  std::map<int64_t, std::vector<float>> scores;  // of prompts
};

Ids random_ids(Random& random, int64_t count, int64_t num_kinds) {
  Ids ids;
  for (int64_t i = 0; i < count; ++i) ids.push_back(static_cast<int32_t>(random.below(num_kinds)));
  return ids;
}

// The same requests in another order, at other times and within other limits get the same tokens.
TEST(Simulation, TokensDoNotDependOnOrderTimesAndLimits) {
  Random random(1);
  std::vector<Request> requests(60);
  const Ids stem = random_ids(random, 100, 200);
  for (Request& request : requests) {
    request.prompt.assign(stem.begin(), stem.begin() + random.between(0, 40));
    for (const int32_t id : random_ids(random, random.between(1, 40), 200)) request.prompt.push_back(id);
    request.sampling.seed = random.next();
    request.sampling.max_tokens = random.between(1, 40);
    request.sampling.stop_ids = random_ids(random, 3, 200);
    if (random.below(5) == 0) request.sampling.frequency_penalty = 1;
    if (random.below(4) == 0) request.sampling.num_prompt_logprobs = 0;
    request.priority = static_cast<int32_t>(random.below(3));
  }
  std::map<int64_t, std::pair<Ids, std::vector<float>>> first;
  std::vector<size_t> order(requests.size());
  std::iota(order.begin(), order.end(), size_t{0});
  for (int round = 0; round < 30; ++round) {
    const int64_t page_size = int64_t{1} << random.below(5);
    Fixture f({.max_seq_len = 120,
               .num_pages = random.between(120, 2000) / page_size + 1,
               .page_size = page_size,
               .chunk_size = random.between(20, 100),
               .mixed_chunk_size = random.between(1, 20),
               .max_given_rows = random.between(1, 30),
               .max_sequences = random.between(1, 40),
               .reserve = random.below(4) == 0,
               .prefix_cache = random.below(4) > 0,
               .overlap = random.below(2) == 0,
               .rope_when = RopeWhen::needed});
    std::map<int64_t, size_t> request_of;
    for (const size_t i : order) {
      request_of[f.engine->add(requests[i])] = i;
      for (int64_t steps = random.below(4); steps > 0; --steps) f.step();
    }
    f.run();
    std::map<int64_t, std::pair<Ids, std::vector<float>>> answers;
    for (const auto& [id, i] : request_of) answers[static_cast<int64_t>(i)] = {f.outputs[id], f.scores[id]};
    if (round == 0) first = answers;
    EXPECT_EQ(answers, first) << "round " << round;
    random.shuffle(order);
  }
  EXPECT_EQ(first.size(), requests.size());
}

// With room for all that was stored, a hit is as long as the longest beginning in common with any of it.
TEST(Simulation, HitsAreAsLongAsTheyCanBe) {
  for (const int64_t page_size : {1, 3, 8}) {
    Random random(static_cast<uint64_t>(page_size));
    Fixture f({.max_seq_len = 70,
               .num_pages = 7000 / page_size,
               .page_size = page_size,
               .chunk_size = 16,
               .mixed_chunk_size = 16,
               .max_sequences = 2,
               .overlap = true,
               .rope_when = RopeWhen::needed});
    std::map<std::pair<bool, int32_t>, std::vector<Ids>> stored;  // by rope and namespace
    int64_t hits = 0, copied = 0;
    for (int i = 0; i < 100; ++i) {
      Request request{random_ids(random, random.between(1, 12), 2), {}};
      request.cache_namespace = static_cast<int32_t>(random.below(2));
      const int64_t max_len = random.between(13, 70);
      std::vector<Ids>& known = stored[{max_len > 64, request.cache_namespace}];
      if (!known.empty() && random.below(2)) {  // goes on behind a part of something known
        const Ids& ids = known[static_cast<size_t>(random.below(std::ssize(known)))];
        request.prompt.assign(ids.begin(), ids.begin() + random.between(1, std::min<int64_t>(11, std::ssize(ids))));
        request.prompt.push_back(1);
      }
      request.sampling.max_tokens = max_len - std::ssize(request.prompt);
      int64_t longest = 0;
      for (const Ids& ids : known)
        longest = std::max<int64_t>(
            longest,
            std::ranges::mismatch(std::span(request.prompt).first(request.prompt.size() - 1), ids).in2 - ids.begin());
      const int64_t id = f.engine->add(request);
      f.run();
      const EngineStats stats = f.engine->stats();
      ASSERT_EQ(stats.prefix_hit_tokens - hits, longest) << "request " << i << ", pages of " << page_size;
      hits = stats.prefix_hit_tokens;
      copied += longest % page_size;
      Ids tokens = request.prompt;
      tokens.insert(tokens.end(), f.outputs[id].begin(), f.outputs[id].end());
      tokens.pop_back();  // the last one drawn is not computed
      known.push_back(std::move(tokens));
    }
    EXPECT_GT(hits, 200);
    EXPECT_EQ(copied > 0, page_size > 1);
  }
}

// The device works while the host draws up the next step.
TEST(Simulation, OverlapHidesTheHost) {
  std::array<int64_t, 2> clock_ns;
  for (const bool overlap : {false, true}) {
    Fixture f({.max_seq_len = 120,
               .num_pages = 100,
               .page_size = 16,
               .chunk_size = 100,
               .mixed_chunk_size = 100,
               .max_sequences = 4,
               .overlap = overlap});
    for (int i = 0; i < 4; ++i) {
      Request request{{i}, {}};
      request.sampling.max_tokens = 101;
      f.engine->add(std::move(request));
    }
    f.run();
    EXPECT_EQ(f.runner->num_steps(), 101);
    clock_ns[overlap] = f.runner->clock_ns();
  }
  EXPECT_EQ(clock_ns[0] - clock_ns[1], 100 * test::StepTime().host_ns);
}

}  // namespace
}  // namespace qwill
