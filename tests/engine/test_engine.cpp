// The engine's thread among many others: nothing is lost, nobody waits for ever, every sink has one end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <latch>
#include <map>
#include <mutex>
#include <numeric>
#include <semaphore>
#include <thread>

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

Request greedy(Ids prompt, int64_t max_tokens) {
  Request request{.prompt = std::move(prompt), .sampling = {}};
  request.sampling.max_tokens = max_tokens;
  return request;
}

Ids random_prompt(Random& random, int64_t length) {
  Ids prompt;
  for (int64_t i = 0; i < length; ++i) prompt.push_back(static_cast<int32_t>(random.below(97)));
  return prompt;
}

// What the sinks saw, by sequence; waits for ends.
class Answers {
 public:
  struct Answer {
    Ids tokens;
    std::optional<FinishReason> finish;
  };

  void take(const TokenEvent& event) {
    const std::lock_guard lock(mutex_);
    Answer& answer = answers_[event.sequence];
    EXPECT_FALSE(answer.finish) << "an event behind the end";
    if (event.draw) answer.tokens.push_back(event.draw->id);
    if (!event.finish) return;
    answer.finish = event.finish;
    ++num_ended_;
    ended_.notify_all();
  }
  Engine::Sink sink() {
    return [this](TokenEvent&& event) { take(event); };
  }
  void wait_for(size_t num_ended) {
    std::unique_lock lock(mutex_);
    ended_.wait(lock, [&] { return num_ended_ >= num_ended; });
  }
  size_t num_ended() {
    const std::lock_guard lock(mutex_);
    return num_ended_;
  }
  std::map<int64_t, Answer> all() {
    const std::lock_guard lock(mutex_);
    return answers_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable ended_;
  std::map<int64_t, Answer> answers_;
  size_t num_ended_ = 0;
};

// A device that runs one step for each permit, draws the token 1 always, and throws in one of the steps.
class GatedRunner final : public Runner {
 public:
  struct Gate {
    std::counting_semaphore<> permits{0}, begun{0};
    void open() { permits.release(1 << 20); }
  };
  explicit GatedRunner(Gate& gate, std::function<void(int step)> before = {})
      : gate_(gate), before_(std::move(before)) {}

  void launch(const Batch&, std::span<const PageCopy>, std::span<const SamplingRow> rows) override {
    gate_.begun.release();
    gate_.permits.acquire();
    if (before_) before_(step_++);
    num_draws_ = rows.size();
  }
  std::vector<Draw> take_draws() override {
    return std::vector<Draw>(num_draws_, Draw{.id = 1, .logprob = 0, .top = {}});
  }

 private:
  Gate& gate_;
  std::function<void(int)> before_;
  int step_ = 0;
  size_t num_draws_ = 0;
};

std::unique_ptr<EngineCore> gated_core(GatedRunner::Gate& gate, int64_t max_sequences,
                                       std::function<void(int step)> before = {}) {
  return std::make_unique<EngineCore>(
      std::make_unique<GatedRunner>(gate, std::move(before)), FakeModel().config(),
      EngineConfig{.max_seq_len = 512, .num_pages = 64, .max_sequences = max_sequences});
}

struct Thrown {
  ErrorKind kind;
  std::string message;
};
std::optional<Thrown> thrown_by(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return Thrown{e.kind(), e.what()};
  }
  return std::nullopt;
}
ErrorKind kind_of(const std::function<void()>& f) {
  const std::optional<Thrown> thrown = thrown_by(f);
  EXPECT_TRUE(thrown) << "nothing was thrown";
  return thrown ? thrown->kind : ErrorKind::io;
}

TEST(EngineThread, ManyThreadsSubmitAndCancel) {
  constexpr int kThreads = 6, kEach = 25;
  const auto ops = make_reference_ops();
  const FakeModel model;
  Answers answers;
  std::mutex mutex;
  std::map<int64_t, std::pair<Request, bool>> asked;  // and whether it was cancelled
  {
    Engine engine(
        std::make_unique<EngineCore>(
            *ops, model,
            EngineConfig{.max_seq_len = 256, .num_pages = 9, .chunk_size = 70, .max_sequences = 5, .overlap = true}),
        1000);
    std::vector<std::thread> threads;
    for (uint64_t t = 0; t < kThreads; ++t)
      threads.emplace_back([&, t] {
        Random random(t);
        for (int i = 0; i < kEach; ++i) {
          const Request request = greedy(random_prompt(random, random.between(1, 120)), random.between(1, 30));
          const int64_t id = engine.submit(request, answers.sink());
          const bool cancelled = random.below(4) == 0;
          {
            const std::lock_guard lock(mutex);
            asked.emplace(id, std::pair(request, cancelled));
          }
          if (random.below(3) == 0) engine.call([](EngineCore& core) { core.scheduler().check_pages(); });
          if (cancelled) engine.cancel(id);
          engine.cancel(random.between(1 << 20, 1 << 21));  // unknown
          EXPECT_LE(engine.stats().running, 5);
        }
      });
    for (std::thread& thread : threads) thread.join();
    answers.wait_for(kThreads * kEach);
    const EngineStats stats = engine.stats();
    EXPECT_EQ(stats.finished, kThreads * kEach);
    EXPECT_EQ(stats.running + stats.waiting, 0);
    EXPECT_EQ(stats.free_pages + stats.cached_pages, stats.num_pages);
  }
  EXPECT_EQ(asked.size(), kThreads * kEach);
  for (const auto& [id, answer] : answers.all()) {
    const auto& [request, cancelled] = asked.at(id);
    const auto count = static_cast<int64_t>(answer.tokens.size());
    EXPECT_EQ(answer.tokens, model.continuation(request.prompt, count));
    const bool whole = count == request.sampling.max_tokens;
    EXPECT_TRUE(whole || cancelled);
    EXPECT_EQ(answer.finish, whole ? FinishReason::length : FinishReason::cancelled);
  }
}

TEST(EngineThread, AFullQueueIsBusyUntilOneEnds) {
  GatedRunner::Gate gate;
  Answers answers;
  Engine engine(gated_core(gate, 2), 3);
  std::vector<int64_t> ids;
  for (int i = 0; i < 5; ++i) ids.push_back(engine.submit(greedy({1, 2}, 100), answers.sink()));
  const auto submit_one = [&] { engine.submit(greedy({1}, 1), answers.sink()); };
  EXPECT_EQ(kind_of(submit_one), ErrorKind::busy);
  gate.begun.acquire();  // a step is under way
  EXPECT_EQ(kind_of(submit_one), ErrorKind::busy);
  engine.cancel(ids[4]);
  gate.permits.release();
  gate.begun.acquire();
  gate.permits.release();
  answers.wait_for(1);
  EXPECT_FALSE(thrown_by(submit_one));
  EXPECT_EQ(kind_of(submit_one), ErrorKind::busy);
  gate.open();
  answers.wait_for(6);
  EXPECT_FALSE(thrown_by(submit_one));
  answers.wait_for(7);
}

TEST(EngineThread, WhatCanNeverBeServedIsRefusedAtTheDoor) {
  GatedRunner::Gate gate;
  gate.open();
  Answers answers;
  Engine engine(gated_core(gate, 2), 3);
  for (int i = 0; i < 20; ++i) {  // and takes no place
    EXPECT_EQ(kind_of([&] { engine.submit(greedy({}, 1), answers.sink()); }), ErrorKind::invalid);
    EXPECT_EQ(kind_of([&] { engine.submit(greedy({1}, 0), answers.sink()); }), ErrorKind::usage);
    EXPECT_EQ(kind_of([&] { engine.submit(greedy(Ids(512, 1), 1), answers.sink()); }), ErrorKind::invalid);
  }
  engine.submit(greedy({1}, 3), answers.sink());
  answers.wait_for(1);
  EXPECT_EQ(answers.all().size(), 1u);
}

TEST(EngineThread, EverySinkHasItsEndBeforeTheDestructorReturns) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Random random(seed);
    GatedRunner::Gate gate;
    gate.permits.release(random.between(0, 30));
    Answers answers;
    auto engine = std::make_unique<Engine>(gated_core(gate, 4), 100);
    for (int i = 0; i < 12; ++i) engine->submit(greedy({1, 2}, random.between(1, 400)), answers.sink());
    gate.begun.acquire();
    std::thread opens([&] { gate.open(); });
    engine.reset();
    EXPECT_EQ(answers.num_ended(), 12u);
    opens.join();
  }
}

TEST(EngineThread, AStoppedEngineTakesNoMore) {
  GatedRunner::Gate gate;
  gate.open();
  Answers answers;
  Engine engine(gated_core(gate, 4), 100);
  for (int i = 0; i < 8; ++i) engine.submit(greedy({1, 2}, 400), answers.sink());
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&] {
      engine.stop();
      EXPECT_EQ(answers.num_ended(), 8u);
    });
  for (std::thread& thread : threads) thread.join();
  // One of these gets the thread id of the engine's thread, which is gone, if all live at once.
  std::latch all_live(8);
  std::vector<std::thread> later;
  for (int t = 0; t < 8; ++t)
    later.emplace_back([&] {
      all_live.arrive_and_wait();
      engine.stop();
    });
  for (std::thread& thread : later) thread.join();
  EXPECT_EQ(kind_of([&] { engine.submit(greedy({1}, 1), answers.sink()); }), ErrorKind::busy);
  EXPECT_EQ(kind_of([&] { engine.call([](EngineCore&) {}); }), ErrorKind::busy);
  engine.cancel(0);
  EXPECT_EQ(engine.stats().finished, 8);
}

TEST(EngineThread, CallsThrowWhatTheyThrow) {
  GatedRunner::Gate gate;
  gate.open();
  Engine engine(gated_core(gate, 4), 100);
  EXPECT_EQ(kind_of([&] { engine.call([](EngineCore&) { fail(ErrorKind::io, "no"); }); }), ErrorKind::io);
  EXPECT_THROW(engine.call([](EngineCore&) { throw std::bad_alloc(); }), std::bad_alloc);
  std::atomic<int> sum = 0;  // of what one thread at a time did
  int plain = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 5; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        int seen = 0;
        engine.call([&](EngineCore&) { seen = ++plain; });
        sum += seen;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(plain, 250);
  EXPECT_EQ(sum, 250 * 251 / 2);
}

TEST(EngineThread, ADeviceThatFailsEndsEverySequenceAndIsToldFirst) {
  const std::function<void(int)> failures[] = {[](int step) {
                                                 if (step == 3) fail(ErrorKind::device, "cuda: lost");
                                               },
                                               [](int step) {
                                                 if (step == 3) throw std::runtime_error("cuda: lost");
                                               }};
  for (const auto& fails : failures) {
    GatedRunner::Gate gate;
    Answers answers;
    Engine engine(gated_core(gate, 2, fails), 100);
    std::vector<std::string> told;
    for (int i = 0; i < 4; ++i)
      engine.submit(greedy({1, 2}, 100), [&](TokenEvent&& event) {
        if (event.finish) told.push_back(engine.failure());
        answers.take(event);
      });
    gate.open();
    answers.wait_for(4);
    EXPECT_EQ(told, std::vector<std::string>(4, "cuda: lost"));
    for (const auto& [id, answer] : answers.all()) EXPECT_EQ(answer.finish, FinishReason::failed);
    const auto thrown = thrown_by([&] { engine.submit(greedy({1}, 1), answers.sink()); });
    ASSERT_TRUE(thrown);
    EXPECT_EQ(thrown->kind, ErrorKind::device);
    EXPECT_THAT(thrown->message, HasSubstr("cuda: lost"));
    engine.call([](EngineCore& core) { EXPECT_TRUE(core.idle()); });
  }
}

// Submissions that race with the failure: each is refused, or has its end.
TEST(EngineThread, NobodyWaitsForADeviceThatFailed) {
  GatedRunner::Gate gate;
  gate.open();
  Answers answers;
  Engine engine(gated_core(gate, 2,
                           [](int step) {
                             if (step == 20) fail(ErrorKind::device, "lost");
                           }),
                50);
  std::atomic<size_t> num_submitted = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (;;) {
        const auto thrown = thrown_by([&] { engine.submit(greedy({1}, 2), answers.sink()); });
        if (!thrown) ++num_submitted;
        if (thrown && thrown->kind == ErrorKind::device) return;
      }
    });
  for (std::thread& thread : threads) thread.join();
  answers.wait_for(num_submitted);
  EXPECT_EQ(answers.all().size(), num_submitted);
}

TEST(EngineThread, ASinkMaySubmitAndCancel) {
  GatedRunner::Gate gate;
  gate.open();
  Answers answers;
  Engine engine(gated_core(gate, 2), 2);
  std::function<void(int)> submit = [&](int left) {
    engine.submit(greedy({1}, 100), [&, left](TokenEvent&& event) {
      if (event.draw) engine.cancel(event.sequence);
      if (event.finish && left > 0) submit(left - 1);
      answers.take(event);
    });
  };
  submit(9);
  answers.wait_for(10);
  for (const auto& [id, answer] : answers.all()) EXPECT_EQ(answer.finish, FinishReason::cancelled);
}

TEST(EngineThread, ADeadlineEndsWhatWaits) {
  GatedRunner::Gate gate;
  gate.open();
  Answers answers;
  Engine engine(gated_core(gate, 1), 10);
  Request request = greedy({1}, 100);
  request.deadline = Request::Clock::now();
  const int64_t id = engine.submit(request, answers.sink());
  answers.wait_for(1);
  EXPECT_EQ(answers.all().at(id).finish, FinishReason::deadline);
  EXPECT_TRUE(answers.all().at(id).tokens.empty());
}

}  // namespace
}  // namespace qwill
