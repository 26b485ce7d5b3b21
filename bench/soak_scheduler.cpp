// Random traffic through the engine over a played device, for as long as one likes: every promise is checked after
// every step (tests/engine/simulation.h), and memory must not grow.
//
//     soak_scheduler [STEPS [SEED]]        10 million steps, seed 1
//
// Exit status 1 if a promise is broken, a page is lost, or the mean memory of the last fifth is more than 1 % above
// that of the second; the first warms up.
#include <fmt/core.h>

#include <array>
#include <chrono>
#include <cstdlib>

#include "engine/simulation.h"
#include "resident_memory.h"

namespace {

using namespace qwill;
using bench::resident_bytes;

int soak(int64_t num_steps, uint64_t seed) {
  const EngineConfig config{.max_seq_len = 1000,
                            .num_pages = 4000,
                            .page_size = 4,
                            .chunk_size = 256,
                            .mixed_chunk_size = 64,
                            .max_sequences = 64,
                            .overlap = true};
  test::Simulation simulation(config, {.num_requests = INT64_MAX,
                                       .max_live = 300,
                                       .mean_interval_ns = 9'000'000,
                                       .max_prompt = 400,
                                       .max_tokens = 100,
                                       .num_stems = 300,
                                       .requests_per_namespace = 1000,
                                       .steps_between_failures = 100'000,
                                       .check_pages_every = 1000,
                                       .seed = seed});
  fmt::print("seed {}\n", seed);
  const auto start = std::chrono::steady_clock::now();
  const auto seconds = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  double next_report = 5;
  const auto report = [&] {
    const EngineStats stats = simulation.stats();
    fmt::print(
        "{:.0f} s: {} steps ({:.0f} a second), {} requests, {} failures of the device; {} run, {} wait; "
        "pages: {} free + {} cached + {} used = {}; {:.1f} MB\n",
        seconds(), simulation.num_steps(), static_cast<double>(simulation.num_steps()) / seconds(),
        simulation.num_added(), simulation.num_failures(), stats.running, stats.waiting, stats.free_pages,
        stats.cached_pages, stats.num_pages - stats.free_pages - stats.cached_pages, stats.num_pages,
        static_cast<double>(resident_bytes()) / 1e6);
    std::fflush(stdout);
  };
  std::array<double, 5> sum_bytes = {}, num_samples = {};  // of each fifth
  while (simulation.num_steps() < num_steps) {
    simulation.step();
    const int64_t step = simulation.num_steps();
    if (step % 1000 != 0) continue;
    const auto fifth = static_cast<size_t>(5 * (step - 1) / num_steps);
    sum_bytes[fifth] += static_cast<double>(resident_bytes());
    ++num_samples[fifth];
    if (seconds() < next_report) continue;
    report();
    next_report += 5;
  }
  report();
  const double growth = (sum_bytes[4] / num_samples[4]) / (sum_bytes[1] / num_samples[1]) - 1;
  fmt::print("memory grew by {:.2f} %\n", 100 * growth);
  return growth > 0.01 ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return soak(argc > 1 ? std::atoll(argv[1]) : 10'000'000, argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1);
  } catch (const std::exception& e) {
    fmt::print(stderr, "{}\n", e.what());
    return 1;
  }
}
