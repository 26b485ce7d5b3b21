// What the scheduler promises, one situation at a time, without a device: a step is only looked at.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <set>

#include "engine/scheduler.h"
#include "support/random.h"

namespace qwill {
namespace {

using test::Random;
using testing::ElementsAre;
using testing::IsEmpty;
using Ids = std::vector<int32_t>;

constexpr int32_t kDrawn = 7;

// A scheduler that is driven as EngineCore does it.
struct Driver {
  explicit Driver(const SchedulerLimits& limits, bool overlap_steps = true)
      : scheduler(limits), overlap(overlap_steps) {}

  // The prompt is drawn from a seed, so that the same seed gives the same beginning.
  int64_t add(int64_t prompt_len, int64_t max_tokens, int32_t priority = 0, uint64_t seed = 0) {
    const int64_t id = next_id++;
    auto s = std::make_shared<Sequence>();
    Random random(seed == 0 ? static_cast<uint64_t>(id) + 1000 : seed);
    for (int64_t i = 0; i < prompt_len; ++i) s->tokens.push_back(static_cast<int32_t>(random.below(1000)) + 10);
    s->id = id;
    s->priority = priority;
    s->prompt_len = prompt_len;
    s->max_len = prompt_len + max_tokens;
    sequences[id] = s;
    scheduler.add(s);
    return id;
  }

  // One whose prompt is scored.
  int64_t add_scored(int64_t prompt_len, int64_t max_tokens, int32_t priority = 0, uint64_t seed = 0) {
    const int64_t id = add(prompt_len, max_tokens, priority, seed);
    sequences[id]->sampling.num_prompt_logprobs = 0;
    return id;
  }

  // Returns the rows that each sequence has in this step.
  std::map<int64_t, int64_t> step() {
    std::vector<TokenEvent> events;
    Step step = scheduler.schedule({}, events);
    std::map<int64_t, int64_t> rows;
    for (const Scheduled& s : step.rows) rows[s.sequence->id] += s.count;
    under_way.push_back(std::move(step));
    while (under_way.size() > (overlap && !rows.empty() ? 1u : 0u)) {
      const Step& oldest = under_way.front();
      std::vector<Draw> draws(static_cast<size_t>(oldest.num_draws), Draw{kDrawn, 0, {}});
      auto draw = draws.begin();
      for (const Scheduled& s : oldest.rows) {
        draw += s.num_given;
        if (s.draws) draw++->stops = std::ranges::count(s.sequence->sampling.stop_ids, kDrawn) > 0;
      }
      scheduler.commit(oldest, std::move(draws), events);
      under_way.pop_front();
    }
    scheduler.check_pages();
    for (const TokenEvent& event : events) {
      num_told[event.sequence] += std::ssize(event.prompt);
      if (event.finish) {
        ended.push_back(event.sequence);
        if (event.finish == FinishReason::cancelled) cancelled.insert(event.sequence);
      }
    }
    return rows;
  }
  void steps(int count) {
    for (int i = 0; i < count; ++i) step();
  }
  bool runs(int64_t id) const { return sequences.at(id)->state == Sequence::State::running; }

  Scheduler scheduler;
  bool overlap;
  int64_t next_id = 0;
  std::map<int64_t, std::shared_ptr<Sequence>> sequences;
  std::deque<Step> under_way;
  std::vector<int64_t> ended;
  std::set<int64_t> cancelled;
  std::map<int64_t, int64_t> num_told;  // tokens of prompts
};

TEST(Scheduler, AHigherPriorityTakesTheLastOnesPlace) {
  Driver d({.num_pages = 100, .page_size = 4, .max_sequences = 2});
  const int64_t first = d.add(10, 50, 5), second = d.add(10, 50, 5);
  d.steps(3);
  const int64_t urgent = d.add(10, 50, 1);
  d.step();
  EXPECT_TRUE(d.runs(first));
  EXPECT_FALSE(d.runs(second));
  EXPECT_TRUE(d.runs(urgent));
  EXPECT_EQ(d.scheduler.stats().preempted, 1);
}

TEST(Scheduler, WithReserveNoneBeginsAgain) {
  Driver d({.num_pages = 100, .page_size = 4, .max_sequences = 2, .reserve = true});
  const int64_t first = d.add(10, 50, 5), second = d.add(10, 50, 5);
  d.steps(3);
  const int64_t urgent = d.add(10, 50, 1), other = d.add(10, 50, 5);
  d.steps(3);
  EXPECT_TRUE(d.runs(first) && d.runs(second));
  d.scheduler.cancel(first);
  d.step();
  EXPECT_TRUE(d.runs(urgent)) << "the next to begin";
  EXPECT_FALSE(d.runs(other));
  EXPECT_EQ(d.scheduler.stats().preempted, 0);
}

// The one that lost its place a moment ago cannot begin yet, since its last token is still on the device.
TEST(Scheduler, NobodyOvertakesOneThatWasPreempted) {
  for (const bool overlap : {false, true}) {
    Driver d({.num_pages = 100, .page_size = 4, .max_sequences = 3}, overlap);
    const int64_t first = d.add(10, 50, 5), big = d.add(200, 50, 5), second = d.add(20, 50, 5);
    d.steps(5);
    ASSERT_TRUE(d.runs(first) && d.runs(big) && d.runs(second));
    const int64_t behind = d.add(10, 50, 5);
    d.add(220, 50, 1);  // its pages are those of big and second
    d.step();
    d.step();
    EXPECT_FALSE(d.runs(big));
    EXPECT_FALSE(d.runs(behind)) << "overlap " << overlap;
  }
}

// One that waits until its beginning is cached has its place and its pages kept.
TEST(Scheduler, NobodyOvertakesOneThatWaitsForAPrefix) {
  Driver places({.num_pages = 100, .page_size = 4, .chunk_size = 16, .mixed_chunk_size = 16, .max_sequences = 2});
  places.add(80, 50, 0, 1);
  const int64_t twin = places.add(80, 50, 0, 1), behind = places.add(10, 50);
  places.steps(8);
  EXPECT_TRUE(places.runs(twin));
  EXPECT_FALSE(places.runs(behind));

  Driver pages({.num_pages = 30, .page_size = 4, .chunk_size = 16, .mixed_chunk_size = 16, .max_sequences = 3});
  pages.add(60, 10, 0, 1);
  const int64_t longer = pages.add(72, 10, 0, 1), large = pages.add(44, 10), small = pages.add(4, 10);
  // 15 pages for the first, 3 more and one of growth for the second: 11 do not fit beside them, and 1 must not pass 11.
  pages.steps(8);
  EXPECT_TRUE(pages.runs(longer));
  EXPECT_FALSE(pages.runs(large));
  EXPECT_FALSE(pages.runs(small));
}

// Half of the budget goes to prompts in order; the other half to the shortest rest first.
TEST(Scheduler, DividesTheBudgetOfPrompts) {
  Driver d({.num_pages = 1000, .page_size = 4, .chunk_size = 100, .mixed_chunk_size = 100, .max_sequences = 8});
  d.add(30, 1);
  d.add(200, 1);
  d.add(300, 1);
  d.add(20, 1);
  EXPECT_THAT(d.step(), ElementsAre(std::pair(0, 30), std::pair(1, 50), std::pair(3, 20)));
  EXPECT_THAT(d.step(), ElementsAre(std::pair(1, 100)));
  EXPECT_THAT(d.step(), ElementsAre(std::pair(1, 50), std::pair(2, 50)));

  Driver all({.num_pages = 1000, .page_size = 4, .chunk_size = 100, .mixed_chunk_size = 100, .max_sequences = 8});
  all.add(30, 1);
  all.add(40, 1);
  all.add(30, 1);
  EXPECT_THAT(all.step(), ElementsAre(std::pair(0, 30), std::pair(1, 40), std::pair(2, 30)));

  Driver one({.num_pages = 1000, .page_size = 4, .chunk_size = 1, .mixed_chunk_size = 1, .max_sequences = 8});
  one.add(3, 1);
  one.add(2, 1);
  EXPECT_THAT(one.step(), ElementsAre(std::pair(0, 1)));
}

// The bound that scheduler.h gives: 2 R / B steps, rounded up.
TEST(Scheduler, APromptIsDoneWithinTheBound) {
  Random random(1);
  for (int round = 0; round < 50; ++round) {
    const int64_t budget = random.between(1, 60);
    Driver d({.num_pages = 2000,
              .page_size = 64,
              .chunk_size = budget + random.between(0, 9),
              .mixed_chunk_size = budget,
              .max_sequences = 1000});
    struct Prompt {
      int64_t id, bound;
    };
    std::vector<Prompt> prompts;
    int64_t rows = 0;
    for (int i = 0; i < 8; ++i) {
      const int64_t length = random.between(2, 300);
      rows += length;
      prompts.push_back({d.add(length, 5), (2 * rows + budget - 1) / budget});
    }
    for (int64_t step = 1; step <= prompts.back().bound; ++step) {
      for (int i = 0; i < 3; ++i)
        d.add(random.between(1, 10), random.between(1, 5));  // an endless stream of short ones
      d.step();
      for (const Prompt& prompt : prompts) {
        if (step < prompt.bound) continue;
        const Sequence& s = *d.sequences[prompt.id];
        ASSERT_TRUE(s.num_cached >= s.prompt_len || s.state == Sequence::State::ended)
            << "prompt " << prompt.id << " after " << step << " steps of " << budget << " rows";
      }
    }
  }
}

// --- prompts that are scored ---

// Few rows are given, and what these leave of the budget is for others.
TEST(Scheduler, DividesTheRowsThatAreGiven) {
  Driver d({.num_pages = 1000,
            .page_size = 4,
            .chunk_size = 100,
            .mixed_chunk_size = 100,
            .max_given_rows = 10,
            .max_sequences = 8});
  d.add_scored(30, 1);
  d.add(200, 1);
  EXPECT_THAT(d.step(), ElementsAre(std::pair(0, 10), std::pair(1, 90)));
  d.add_scored(7, 1);
  d.add_scored(400, 1);
  // Five in order, five to the shortest; the last row of a prompt is a draw.
  EXPECT_THAT(d.step(), ElementsAre(std::pair(0, 5), std::pair(1, 90), std::pair(2, 5)));
  EXPECT_THAT(d.step(), ElementsAre(std::pair(0, 9), std::pair(1, 20), std::pair(2, 2)));
  EXPECT_THAT(d.step(), ElementsAre(std::pair(0, 6), std::pair(3, 5)));
  EXPECT_EQ(d.num_told[0], 24) << "of the steps that are done";
  d.step();
  EXPECT_EQ(d.num_told[0], 29);
  EXPECT_EQ(d.num_told[2], 6);
  EXPECT_EQ(d.num_told[1], 0);
}

// The bounds that scheduler.h gives.
TEST(Scheduler, AScoredPromptIsDoneWithinItsBound) {
  Random random(1);
  for (int round = 0; round < 50; ++round) {
    const int64_t budget = random.between(1, 60), given = random.between(1, 30);
    Driver d({.num_pages = 3000,
              .page_size = 64,
              .chunk_size = budget + random.between(0, 9),
              .mixed_chunk_size = budget,
              .max_given_rows = given,
              .max_sequences = 2000});
    struct Prompt {
      int64_t id, bound;
    };
    std::vector<Prompt> prompts;
    int64_t rows = 0, scored = 0, last = 0;
    for (int i = 0; i < 8; ++i) {
      const int64_t length = random.between(2, 300);
      const bool is_scored = random.below(2) == 0;
      rows += length;
      if (is_scored) scored += length - 1;
      prompts.push_back({is_scored ? d.add_scored(length, 5) : d.add(length, 5),
                         (2 * rows + budget - 1) / budget + (is_scored ? (2 * scored + given - 1) / given : 0)});
      last = std::max(last, prompts.back().bound);
    }
    for (int64_t step = 1; step <= last; ++step) {
      for (int i = 0; i < 2; ++i) {  // an endless stream of short ones
        const int64_t length = random.between(1, 10);
        if (random.below(2))
          d.add(length, 3);
        else
          d.add_scored(length, 3);
      }
      d.step();
      for (const Prompt& prompt : prompts) {
        if (step < prompt.bound) continue;
        const Sequence& s = *d.sequences[prompt.id];
        ASSERT_TRUE(s.num_cached >= s.prompt_len || s.state == Sequence::State::ended)
            << "prompt " << prompt.id << " after " << step << " steps of " << budget << " and " << given << " rows";
      }
    }
  }
}

// What is cached has no logits: it serves only rows that were scored before their sequence lost its place.
TEST(Scheduler, AScoredPromptIsComputedOnce) {
  for (const bool overlap : {false, true}) {
    Driver d({.num_pages = 100,
              .page_size = 4,
              .chunk_size = 50,
              .mixed_chunk_size = 50,
              .max_given_rows = 8,
              .max_sequences = 1},
             overlap);
    d.add(41, 1, 0, 1);
    while (!d.scheduler.idle()) d.step();
    const int64_t id = d.add_scored(41, 3, 5, 1);
    d.steps(2);
    EXPECT_EQ(d.scheduler.stats().prefix_hit_tokens, 0);
    d.add(9, 1, 1);  // takes its place
    d.step();
    EXPECT_FALSE(d.runs(id));
    while (!d.scheduler.idle()) d.step();
    EXPECT_EQ(d.scheduler.stats().preempted, 1);
    EXPECT_EQ(d.scheduler.stats().prefix_hit_tokens, 16);
    EXPECT_EQ(d.num_told[id], 40) << "each once";
    EXPECT_EQ(d.sequences[id]->size(), 44);
  }
}

// Neither for the prefix that it computes slowly, nor does it wait for what would not serve it.
TEST(Scheduler, NobodyWaitsForAScoredPrompt) {
  Driver d({.num_pages = 100,
            .page_size = 4,
            .chunk_size = 50,
            .mixed_chunk_size = 50,
            .max_given_rows = 4,
            .max_sequences = 4});
  d.add_scored(80, 5, 0, 1);
  d.add_scored(80, 5, 0, 1);
  const int64_t first = d.add(80, 5, 0, 1), second = d.add(80, 5, 0, 1);
  d.step();
  EXPECT_TRUE(d.runs(1) && d.runs(first));
  EXPECT_FALSE(d.runs(second)) << "what the first computes serves it as well";
  d.steps(3);
  EXPECT_TRUE(d.runs(second));
  EXPECT_GT(d.sequences[first]->size(), 80);
  EXPECT_LT(d.num_told[0], 20);
}

// Whatever begins, begins again or finds its beginning in the cache: each of its tokens is a hit or computed.
TEST(Scheduler, CountsWhatItComputes) {
  Driver d({.num_pages = 100, .page_size = 4, .max_sequences = 2});
  d.add(10, 40, 5);
  d.add(21, 40, 5);
  d.steps(20);
  d.add(80, 1, 1);  // one of them begins again, its output included
  while (!d.scheduler.idle()) d.step();
  const EngineStats stats = d.scheduler.stats();
  EXPECT_EQ(stats.preempted, 1);
  EXPECT_EQ(stats.prompt_tokens, stats.prefix_hit_tokens + stats.computed_prompt_tokens);
  EXPECT_GT(stats.prompt_tokens, 10 + 21 + 80 + 30);
}

// All but one of many samples take the prompt's full pages from the cache.
TEST(Scheduler, SamplesOfOnePromptComputeItOnce) {
  for (const bool overlap : {false, true}) {
    Driver d({.num_pages = 1000, .page_size = 16, .chunk_size = 50, .mixed_chunk_size = 50, .max_sequences = 100},
             overlap);
    for (int i = 0; i < 100; ++i) d.add(400, 20, 0, 1);
    while (!d.scheduler.idle()) d.step();
    EXPECT_LE(d.scheduler.stats().computed_prompt_tokens, 400 + 99 * 16);
  }
}

// While a step is under way the next holds a row of everyone that decodes, whose token is on the device.
TEST(Scheduler, OverlappedStepsWaitForNoDraw) {
  Driver d({.num_pages = 100, .page_size = 4, .max_sequences = 2});
  d.add(5, 10);
  d.sequences[d.add(5, 10)]->sampling.presence_penalty = 1;  // which counts it there
  for (int i = 0; i < 10; ++i) EXPECT_THAT(d.step(), testing::SizeIs(2));
  EXPECT_THAT(d.step(), IsEmpty());
  EXPECT_TRUE(d.scheduler.idle());
}

// A prompt is not held up by pages that those behind it in order have taken since it began.
TEST(Scheduler, TheFirstPromptTakesPagesOfThoseBehind) {
  Driver d({.num_pages = 10, .page_size = 4, .chunk_size = 1, .mixed_chunk_size = 1, .max_sequences = 2});
  const int64_t prompt = d.add(26, 1);
  d.steps(2);
  d.add(1, 36);  // of the 10 pages it takes the last before the prompt needs its sixth
  for (int i = 2; i < 26; ++i) EXPECT_TRUE(d.step().contains(prompt)) << "step " << i;
}

// In an overlapped step a sequence may have a row for its end token, which is not known and must not be remembered.
TEST(Scheduler, WhatFollowsAnEndIsNotCached) {
  Driver d({.num_pages = 100, .page_size = 4, .max_sequences = 2});
  const int64_t id = d.add(6, 10, 0, 1);
  Sequence& s = *d.sequences[id];
  s.sampling.stop_ids = {kDrawn};
  s.tokens.reserve(8);
  s.tokens.push_back(99);  // what a read beyond the end would find
  s.tokens.pop_back();
  while (!d.scheduler.idle()) d.step();
  ASSERT_EQ(s.num_cached, 0);
  const int64_t next = d.add(6, 10, 0, 1);
  d.sequences[next]->tokens.insert(d.sequences[next]->tokens.end(), {99, 99});
  d.step();
  EXPECT_EQ(d.scheduler.stats().prefix_hit_tokens, 6);
}

// Cancelled after any number of steps, in whatever state it is then: its end comes with the next step, and once.
TEST(Scheduler, CancelsWithinAStepInEveryState) {
  for (const bool overlap : {false, true}) {
    std::set<Sequence::State> seen;
    for (int64_t victim = 0; victim < 6; ++victim)
      for (int when = 0; when < 40; ++when) {
        Driver d({.num_pages = 14, .page_size = 4, .chunk_size = 8, .mixed_chunk_size = 8, .max_sequences = 3},
                 overlap);
        d.add(20, 10, 1, 1);
        d.add(20, 20, 1, 1);  // waits for the prefix
        d.add(9, 20, 2);      // preempted
        d.add(12, 5, 2);
        d.steps(when / 2);
        d.add(12, 5, 0);
        d.add(3, 9, 1);
        d.steps(when - when / 2);
        seen.insert(d.sequences[victim]->state);
        const auto ends = [&] { return std::ranges::count(d.ended, victim); };
        const bool lives = ends() == 0;
        d.scheduler.cancel(victim);
        d.scheduler.cancel(victim);
        d.step();
        ASSERT_EQ(ends(), 1) << "sequence " << victim << " after " << when << " steps";
        EXPECT_EQ(d.cancelled.contains(victim), lives);
        for (int i = 0; i < 500 && !d.scheduler.idle(); ++i) d.step();
        ASSERT_TRUE(d.scheduler.idle());
        EXPECT_EQ(d.ended.size(), 6u);
        EXPECT_EQ(d.scheduler.num_available_pages(), 14);
      }
    EXPECT_EQ(seen.size(), 3u);
  }
}

// A short prompt is not held up by long ones, however many come.
TEST(Scheduler, AShortPromptPassesLongOnes) {
  Driver d({.num_pages = 3000,
            .page_size = 64,
            .chunk_size = 100,
            .mixed_chunk_size = 100,
            .max_sequences = 1000,
            .prefix_cache = false});
  Random random(1);
  for (int i = 0; i < 50; ++i) {
    d.add(1000, 5);
    d.add(1000, 5);
    const int64_t id = d.add(random.between(2, 50), 5);
    EXPECT_EQ(d.step()[id], d.sequences[id]->prompt_len);
  }
}

// A step of a few rows more would cost as much as one of the next multiple.
TEST(Scheduler, AMixedStepIsFilledToWholeTiles) {
  const auto rows_beside = [](int64_t num_decodes, int64_t mixed_chunk_size) {
    Driver d({.num_pages = 1000,
              .page_size = 4,
              .chunk_size = 100,
              .mixed_chunk_size = mixed_chunk_size,
              .row_tile = 8,
              .max_sequences = 20});
    for (int64_t i = 0; i < num_decodes; ++i) d.add(1, 50);
    d.step();
    d.add(90, 1);
    int64_t rows = 0;
    for (const auto& [id, count] : d.step()) rows += count;
    return rows;
  };
  EXPECT_EQ(rows_beside(3, 16), 16);  // 13 of the prompt
  EXPECT_EQ(rows_beside(8, 16), 24);  // all 16
  EXPECT_EQ(rows_beside(7, 12), 16);  // 9
  EXPECT_EQ(rows_beside(2, 8), 8);    // 6
  EXPECT_EQ(rows_beside(3, 4), 7);    // whole tiles would leave the prompt less than half
}

}  // namespace
}  // namespace qwill
