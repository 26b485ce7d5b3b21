// The engine over a played device, under random traffic of many kinds (simulation.h says what is checked).
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <array>

#include "engine/simulation.h"

namespace qwill {
namespace {

using test::Random;
using test::Simulation;
using test::Traffic;

#if defined(__SANITIZE_ADDRESS__)
constexpr int64_t kScale = 10;  // fewer requests where everything takes longer
#else
constexpr int64_t kScale = 1;
#endif

struct Totals {
  int64_t requests = 0, failures = 0, preempted = 0, hits = 0;
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
  for (const int64_t ended : totals.ended) EXPECT_GT(ended, 1000 / kScale);
}

}  // namespace
}  // namespace qwill
