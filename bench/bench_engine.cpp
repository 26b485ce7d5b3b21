// The engine under load, on random weights: throughput against the ceiling that a schedule without any overhead would
// reach with the rates measured in the same run, latency between tokens while long prompts arrive, and what a prefix
// hit saves.
//
//     bench_engine random:8b offline --prompts 192 --prompt-len 1024 --gen-len 1024
//     bench_engine random:8b offline --trace bench/traces/chat-1000.txt
//     bench_engine random:8b arrivals      32 streams decode while a prompt of 8k tokens arrives every second
//     bench_engine random:8b prefix        time to the first token of 8k tokens, unknown and known
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <latch>
#include <memory>
#include <thread>
#include <vector>

#include "base/error.h"
#include "engine/engine_core.h"
#include "llm/backend.h"
#include "llm/bench.h"
#include "weights/checkpoint.h"

namespace qwill {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_between(Clock::time_point a, Clock::time_point b) {
  return std::chrono::duration<double>(b - a).count();
}

double percentile(std::vector<double> values, double p) {
  std::ranges::sort(values);
  return values[std::min(values.size() - 1, static_cast<size_t>(p * static_cast<double>(values.size())))];
}

struct Lengths {
  int64_t prompt, output;
};

struct Options {
  LlmOptions llm;
  std::string scenario, trace;
  int64_t prompts = 192, prompt_len = 1024, gen_len = 1024, max_seqs = 256, mixed_chunk = 0, kv_gb = 0;
  int64_t long_prompt = 8192, streams = 32;
  double seconds = 20, presence_penalty = 0;
};

// A model with random weights, and an engine over it.
struct Bench {
  explicit Bench(const Options& options)
      : o(options), backend(open_backend(options.llm)), config(random_config(options.llm.model).value()) {
    tensors = random_source(config, backend.on_cuda);
    model = load_model(*backend.ops, config, rope_settings(config), *tensors, o.llm.dtype);
    token_bytes = static_cast<double>(config.kv_elements_per_token() * dtype_bytes(backend.ops->kv_dtype()));
  }

  std::unique_ptr<EngineCore> make_core(int64_t max_seq_len, int64_t max_sequences) {
    EngineConfig engine{.max_seq_len = max_seq_len,
                        .chunk_size = backend.chunk_size,
                        .mixed_chunk_size = o.mixed_chunk > 0 ? o.mixed_chunk : backend.mixed_chunk_size,
                        .max_sequences = max_sequences};
    const int64_t wanted = pages_for(max_seq_len, engine.page_size) * max_sequences;
    constexpr int64_t kForSteps = int64_t{3} << 30;
    const int64_t bytes = o.kv_gb > 0       ? o.kv_gb * 1'000'000'000
                          : backend.on_cuda ? cuda_free_bytes(backend.cuda) - kForSteps
                                            : int64_t{8} << 30;
    engine.num_pages = std::min(wanted, bytes / (static_cast<int64_t>(token_bytes) * engine.page_size));
    limits = engine;
    return std::make_unique<EngineCore>(*backend.ops, *model, engine);
  }

  Request request(int64_t prompt, int64_t output, uint32_t stream) const {
    Request r;
    r.prompt = random_prompt(prompt, config.vocab_size, stream);
    r.sampling.max_tokens = output;
    if (stream % 2 == 1) r.sampling.presence_penalty = o.presence_penalty;
    return r;
  }

  const Options& o;
  Backend backend;
  ModelConfig config;
  std::unique_ptr<TensorSource> tensors;
  std::unique_ptr<Model> model;
  double token_bytes;
  EngineConfig limits;
};

double run_all(Engine& engine, const Bench& bench, const std::vector<Lengths>& trace, uint32_t first_stream) {
  std::vector<Request> requests;
  for (const Lengths& l : trace)
    requests.push_back(bench.request(l.prompt, l.output, first_stream + static_cast<uint32_t>(requests.size())));
  std::latch left(static_cast<int64_t>(trace.size()));
  const auto start = Clock::now();
  for (Request& request : requests)
    engine.submit(std::move(request), [&](TokenEvent&& event) {
      if (event.finish) left.count_down();
    });
  left.wait();
  return seconds_between(start, Clock::now());
}

// Seconds that the same requests take if a step costs nothing but this: its weights at the measured bandwidth or its
// rows at the measured rate of prefill, whichever takes longer, and the cache that it reads at the measured bandwidth.
// `split`: prompt rows at that rate, and besides weights and cache of decoding rows at the bandwidth, as if rows that
// decode were multiplied in no time.
double least_seconds(const Bench& bench, const std::vector<Lengths>& trace, double bandwidth, double prefill_rate,
                     bool split) {
  const EngineConfig& e = bench.limits;
  Scheduler scheduler({.num_pages = e.num_pages,
                       .page_size = e.page_size,
                       .chunk_size = e.chunk_size,
                       .mixed_chunk_size = e.mixed_chunk_size,
                       .row_tile = bench.backend.ops->row_tile(),
                       .max_sequences = e.max_sequences});
  for (size_t i = 0; i < trace.size(); ++i) {
    auto sequence = std::make_shared<Sequence>();
    sequence->id = static_cast<int64_t>(i);
    sequence->tokens.assign(static_cast<size_t>(trace[i].prompt), static_cast<int32_t>(i));
    sequence->prompt_len = trace[i].prompt;
    sequence->max_len = trace[i].prompt + trace[i].output;
    scheduler.add(sequence);
  }
  double seconds = 0;
  while (!scheduler.idle()) {
    std::vector<TokenEvent> events;
    const Step step = scheduler.schedule(Clock::now(), events);
    double prompt_rows = 0, decodes = 0, kv_bytes = 0;
    for (const Scheduled& rows : step.rows) {
      const bool decoding = rows.first >= rows.sequence->prompt_len;
      (decoding ? decodes : prompt_rows) += static_cast<double>(rows.count);
      if (decoding) kv_bytes += static_cast<double>(rows.first) * bench.token_bytes;
    }
    const double rows = prompt_rows + decodes;
    const double weights = bench.model->weight_bytes(static_cast<int64_t>(rows)) / bandwidth;
    seconds += kv_bytes / bandwidth;
    seconds +=
        split ? prompt_rows / prefill_rate + (decodes > 0 ? weights : 0) : std::max(weights, rows / prefill_rate);
    scheduler.commit(step, std::vector<Draw>(static_cast<size_t>(step.num_draws)), events);
  }
  return seconds;
}

double measure_bandwidth(const Bench& bench) {
  if (bench.backend.on_cuda) return cuda_read_bandwidth(bench.backend.cuda, int64_t{1} << 30);
  static const std::vector<std::byte> memory(size_t{256} << 20, std::byte{1});
  return read_bandwidth(bench.backend.cpu, memory, 3);
}

// Prompt rows a second, of prompts as long as those of the trace are together in a step.
double measure_prefill(Engine& engine, const Bench& bench) {
  double best = 0;
  for (uint32_t i = 0; i < 4; ++i) {
    const int64_t rows = 2 * bench.backend.chunk_size;
    const std::vector<Lengths> two(2, Lengths{rows / 2, 1});
    best = std::max(best, static_cast<double>(rows) / run_all(engine, bench, two, 1'000'000 + 2 * i));
  }
  return best;
}

void offline(Bench& bench) {
  std::vector<Lengths> trace;
  if (bench.o.trace.empty()) {
    trace.assign(static_cast<size_t>(bench.o.prompts), {bench.o.prompt_len, bench.o.gen_len});
  } else {
    std::ifstream file(bench.o.trace);
    for (Lengths l{}; file >> l.prompt >> l.output;) trace.push_back(l);
    if (trace.empty()) fail_invalid("{}: no lengths in it", bench.o.trace);
  }
  int64_t longest = 0, outputs = 0;
  for (const Lengths& l : trace) {
    longest = std::max(longest, l.prompt + l.output);
    outputs += l.output;
  }
  double bandwidth = measure_bandwidth(bench);
  Engine engine(bench.make_core(std::max(longest, bench.backend.chunk_size + 1), bench.o.max_seqs),
                static_cast<int64_t>(trace.size()) + 2);
  const double rate = measure_prefill(engine, bench);
  const double seconds = run_all(engine, bench, trace, 0);
  bandwidth = std::max(bandwidth, measure_bandwidth(bench));
  const double least = least_seconds(bench, trace, bandwidth, rate, false),
               split = least_seconds(bench, trace, bandwidth, rate, true);
  const EngineStats stats = engine.stats();
  const auto total = static_cast<double>(outputs);
  fmt::print(
      "offline: {} prompts, {} pages, {} at once: {:.2f} s, {:.0f} output tok/s; ceiling {:.0f}: {:.1f} % (were "
      "decoding rows multiplied in no time: {:.0f}, {:.1f} %); {:.0f} GB/s, prefill {:.0f} tok/s\n"
      "         {} steps, {} preempted, {} prompt tokens hit\n",
      trace.size(), stats.num_pages, bench.o.max_seqs, seconds, total / seconds, total / least, 100 * least / seconds,
      total / split, 100 * split / seconds, bandwidth / 1e9, rate, stats.steps, stats.preempted,
      stats.prefix_hit_tokens);
}

void arrivals(Bench& bench) {
  const auto count = static_cast<size_t>(bench.o.streams);
  Engine engine(bench.make_core(2 * bench.o.long_prompt, bench.o.streams + 4), 1000);
  std::vector<double> gaps;  // of the engine's thread
  std::vector<Clock::time_point> last(count);
  std::atomic<bool> recording = false;
  std::vector<int64_t> ids;
  std::latch ended(static_cast<int64_t>(count));
  for (size_t i = 0; i < count; ++i)
    ids.push_back(
        engine.submit(bench.request(512, bench.o.long_prompt, static_cast<uint32_t>(i)), [&, i](TokenEvent&& e) {
          const auto now = Clock::now();
          if (e.draw && recording) gaps.push_back(1e3 * seconds_between(last[i], now));
          last[i] = now;
          if (e.finish) ended.count_down();
        }));
  std::this_thread::sleep_for(std::chrono::seconds(1));
  recording = true;
  const auto arrivals = static_cast<int64_t>(bench.o.seconds);
  std::vector<double> ttft(static_cast<size_t>(arrivals), 0);
  std::latch prompts(arrivals);
  const auto begin = Clock::now();
  for (int64_t s = 0; s < arrivals; ++s) {
    std::this_thread::sleep_until(begin + std::chrono::seconds(s));
    const auto sent = Clock::now();
    engine.submit(bench.request(bench.o.long_prompt, 1, static_cast<uint32_t>(1000 + s)), [&, s, sent](TokenEvent&& e) {
      if (e.draw) ttft[static_cast<size_t>(s)] = seconds_between(sent, Clock::now());
      if (e.finish) prompts.count_down();
    });
  }
  prompts.wait();
  const double total = seconds_between(begin, Clock::now());
  recording = false;
  for (const int64_t id : ids) engine.cancel(id);
  ended.wait();
  fmt::print(
      "arrivals: {} streams, a prompt of {} every second for {} s (done after {:.2f} s): between tokens p50 {:.2f} "
      "ms, p99 {:.2f} ms, most {:.2f} ms ({} gaps); time to first token of the prompts p50 {:.0f} ms, most {:.0f} ms\n",
      count, bench.o.long_prompt, arrivals, total, percentile(gaps, 0.5), percentile(gaps, 0.99), percentile(gaps, 1),
      gaps.size(), 1e3 * percentile(ttft, 0.5), 1e3 * percentile(ttft, 1));
}

void prefix(Bench& bench) {
  Engine engine(bench.make_core(bench.o.long_prompt + 128, 4), 1000);
  const auto ttft = [&](uint32_t stream) { return 1e3 * run_all(engine, bench, {{bench.o.long_prompt, 1}}, stream); };
  std::vector<double> misses, hits;
  for (uint32_t i = 0; i < 5; ++i) {
    misses.push_back(ttft(i));
    for (int again = 0; again < 4; ++again) hits.push_back(ttft(i));
  }
  fmt::print(
      "prefix: first token of {} tokens: unknown {:.1f} ms, known {:.2f} ms (medians; most {:.2f} ms); {} of {} "
      "prompt tokens hit\n",
      bench.o.long_prompt, percentile(misses, 0.5), percentile(hits, 0.5), percentile(hits, 1),
      engine.stats().prefix_hit_tokens, engine.stats().prompt_tokens);
}

}  // namespace
}  // namespace qwill

int main(int argc, char** argv) {
  using namespace qwill;
  Options o;
  CLI::App app("Measures the engine under load.");
  std::string dtype = "auto";
  app.add_option("MODEL", o.llm.model, "random:8b and the like")->required();
  app.add_option("SCENARIO", o.scenario, "offline, arrivals or prefix")->required();
  app.add_option("--device", o.llm.device);
  app.add_option("--dtype", dtype, "auto, fp8 or int4");
  app.add_option("--threads", o.llm.num_threads);
  app.add_option("--chunk-size", o.llm.chunk_size);
  app.add_option("--mixed-chunk", o.mixed_chunk);
  app.add_option("--trace", o.trace);
  app.add_option("--prompts", o.prompts);
  app.add_option("--prompt-len", o.prompt_len);
  app.add_option("--gen-len", o.gen_len);
  app.add_option("--max-seqs", o.max_seqs);
  app.add_option("--kv-gb", o.kv_gb, "of the cache (default: what is free)");
  app.add_option("--streams", o.streams);
  app.add_option("--long-prompt", o.long_prompt);
  app.add_option("--seconds", o.seconds);
  app.add_option("--presence-penalty", o.presence_penalty, "of every other request");
  CLI11_PARSE(app, argc, argv);
  try {
    o.llm.dtype = dtype == "fp8" ? DTypeChoice::fp8 : dtype == "int4" ? DTypeChoice::int4 : DTypeChoice::automatic;
    Bench bench(o);
    fmt::print("{} {} on {}\n", o.llm.model, dtype, bench.backend.name);
    if (o.scenario == "offline")
      offline(bench);
    else if (o.scenario == "arrivals")
      arrivals(bench);
    else if (o.scenario == "prefix")
      prefix(bench);
    else
      fail(ErrorKind::usage, "there is no scenario \"{}\"", o.scenario);
  } catch (const Error& e) {
    fmt::print(stderr, "bench_engine: {}\n", e.what());
    return 1;
  }
  return 0;
}
