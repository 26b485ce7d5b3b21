// The engine's own time a step, on one core: schedule, build the batch, commit. The device is left out: it takes no
// time and draws the same token again and again.
//
//     bench_scheduler
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <memory>
#include <vector>

#include "engine/engine_core.h"
#include "support/random.h"

namespace {

using namespace qwill;

class NoDevice final : public Runner {
 public:
  void launch(const Batch& batch, std::span<const PageCopy>, std::span<const SamplingRow> rows) override {
    num_rows = batch.num_rows();
    if (!rows.empty()) draws_.push_back(rows.size());
  }
  std::vector<Draw> take_draws() override {
    std::vector<Draw> draws(draws_.front(), Draw{7, 0, {}});
    draws_.pop_front();
    return draws;
  }
  int64_t num_rows = 0;

 private:
  std::deque<size_t> draws_;
};

struct Bench {
  explicit Bench(EngineConfig config, uint64_t seed = 1) : random(seed) {
    config.page_size = 64;
    config.chunk_size = 2048;
    config.mixed_chunk_size = 512;
    config.overlap = true;
    ModelConfig model;
    model.vocab_size = 150'000;
    auto owned = std::make_unique<NoDevice>();
    runner = owned.get();
    engine = std::make_unique<EngineCore>(std::move(owned), model, config);
  }

  std::vector<int32_t> prompt(int64_t length) {
    std::vector<int32_t> ids;
    while (static_cast<int64_t>(ids.size()) < length) ids.push_back(static_cast<int32_t>(random.below(150'000)));
    return ids;
  }
  void add(std::vector<int32_t> ids, int64_t max_tokens) {
    Request request{std::move(ids), {}};
    request.sampling.max_tokens = max_tokens;
    engine->add(std::move(request));
  }
  // Microseconds of each of so many steps.
  void measure(const char* what, int steps, const std::function<void()>& between = [] {}) {
    std::vector<double> us;
    int64_t rows = 0;
    for (int i = 0; i < steps && !engine->idle(); ++i) {
      between();
      const auto start = std::chrono::steady_clock::now();
      engine->step();
      us.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count());
      rows += runner->num_rows;
    }
    std::ranges::sort(us);
    const EngineStats stats = engine->stats();
    fmt::print("{:64} {:6} steps of {:5} rows  {:7.1f} us  (99 %: {:7.1f})  {} run, {} wait\n", what, us.size(),
               rows / std::ssize(us), us[us.size() / 2], us[us.size() * 99 / 100], stats.running, stats.waiting);
  }

  test::Random random;
  NoDevice* runner;
  std::unique_ptr<EngineCore> engine;
};

void decode(int64_t num_sequences) {
  Bench b({.max_seq_len = 4096, .num_pages = num_sequences * 64, .max_sequences = num_sequences});
  for (int64_t i = 0; i < num_sequences; ++i) b.add(b.prompt(2000), 2000);
  b.measure("all begin at once", 1);
  while (b.engine->stats().computed_prompt_tokens < num_sequences * 2000) b.engine->step();
  b.measure("all decode, 2,000 tokens each", 1000);
  b.measure("all decode, 1,000 short requests wait for a place", 500, [&, added = false]() mutable {
    if (!std::exchange(added, true))
      for (int i = 0; i < 1000; ++i) b.add(b.prompt(100), 100);
  });
}

void one_beginning() {
  Bench b({.max_seq_len = 16'384, .num_pages = 1024 * 64, .max_sequences = 1024});
  const std::vector<int32_t> beginning = b.prompt(2000);
  b.add(beginning, 1);
  while (!b.engine->idle()) b.engine->step();
  for (int i = 0; i < 1024; ++i) {
    std::vector<int32_t> ids = beginning;
    for (const int32_t id : b.prompt(1000)) ids.push_back(id);
    b.add(ids, 100);
  }
  b.measure("1,024 with one beginning of 2,000 tokens begin at once", 1);
}

void long_context() {
  Bench b({.max_seq_len = 40'000, .num_pages = 256 * 64, .max_sequences = 256});
  b.add(b.prompt(32'000), 4000);
  for (int i = 0; i < 255; ++i) b.add(b.prompt(2000), 2000);
  while (b.engine->stats().computed_prompt_tokens < 32'000 + 255 * 2000) b.engine->step();
  b.measure("256 decode, one of them with 32,000 tokens", 500);
}

void mixed() {
  Bench b({.max_seq_len = 16'384, .num_pages = 400 * 64, .max_sequences = 256});
  for (int i = 0; i < 200; ++i) b.add(b.prompt(2000), 10'000);
  while (b.engine->stats().computed_prompt_tokens < 200 * 2000) b.engine->step();
  b.measure("200 decode, others come and prefill 2,000 tokens for 20", 1000, [&] {
    if (b.engine->stats().waiting < 3) b.add(b.prompt(2000), 20);
  });
}

void samples() {
  Bench b({.max_seq_len = 16'384, .num_pages = 400 * 64, .max_sequences = 256});
  const std::vector<int32_t> prompt = b.prompt(8000);
  for (int i = 0; i < 256; ++i) b.add(prompt, 100);
  b.measure("256 samples of a prompt of 8,000 tokens, which one computes", 4);
}

void no_room() {
  Bench b({.max_seq_len = 40'000, .num_pages = 700, .max_sequences = 256});
  const std::vector<int32_t> prompt = b.prompt(32'000);
  b.add(prompt, 1);
  while (!b.engine->idle()) b.engine->step();
  for (int i = 0; i < 3; ++i) b.add(b.prompt(2000), 4000);
  for (int i = 0; i < 100; ++i) b.engine->step();
  std::vector<int32_t> longer = prompt;
  for (const int32_t id : b.prompt(6000)) longer.push_back(id);
  b.add(longer, 100);
  b.measure("3 decode, 38,000 tokens of which most are cached have no room", 300);
}

}  // namespace

int main() {
  decode(256);
  decode(1024);
  one_beginning();
  long_context();
  mixed();
  samples();
  no_room();
}
