#include "llm/bench.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/build_info.h"
#include "base/cpu_features.h"
#include "base/error.h"
#include "cpu/cpu_ops.h"
#include "weights/warm_up.h"

namespace qwill {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

std::vector<int32_t> random_prompt(int64_t length, int64_t vocab_size, uint32_t stream) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < length; ++i)
    ids.push_back(
        static_cast<int32_t>(philox_uniform(1, stream, static_cast<uint64_t>(i), 0) * static_cast<double>(vocab_size)));
  return ids;
}

constexpr size_t kBeyondCaches = size_t{256} << 20;

// Where the weights come from, and the memory that the bandwidth is measured on.
struct Weights {
  ModelConfig config;
  std::optional<Checkpoint> checkpoint;
  std::unique_ptr<TensorSource> tensors;
  std::span<const std::byte> memory;
  std::vector<std::byte> stand_in;  // for weights that the caches could hold

  explicit Weights(const LlmOptions& options) {
    if (options.model.starts_with("random:")) {
      config = published_config(std::string_view(options.model).substr(7));
      auto random = std::make_unique<RandomTensors>(config);
      memory = random->memory();
      tensors = std::move(random);
    } else {
      checkpoint.emplace(Checkpoint::open(ModelFolder::find(options.model, options.hub_cache)));
      config = checkpoint->config();
      warm_up(checkpoint->files(), 2, options.progress, options.cancel);
      memory = checkpoint->files().front().file().bytes();
      tensors = std::make_unique<CheckpointTensors>(*checkpoint);
    }
    if (memory.size() < kBeyondCaches) {
      stand_in.assign(kBeyondCaches, std::byte{1});
      memory = stand_in;
    }
  }
};

// Weights and cache that one decode step of `batch` sequences reads, at this context.
double step_bytes(const ModelConfig& config, int64_t batch, double context) {
  double elements = 0;
  for (const ExpectedTensor& tensor : expected_tensors(config)) {
    if (tensor.name == "model.embed_tokens.weight" && !config.tie_word_embeddings) continue;  // a few rows
    double count = 1;
    for (const int64_t size : tensor.shape) count *= static_cast<double>(size);
    if (config.moe && tensor.name.find(".experts.") != std::string::npos) {
      const auto experts = static_cast<double>(config.moe->num_experts);
      const double share = static_cast<double>(config.moe->num_experts_per_tok) / experts;
      count *= 1 - std::pow(1 - share, static_cast<double>(batch));
    }
    elements += count;
  }
  const double cache = static_cast<double>(config.kv_elements_per_token()) * 4 * context * static_cast<double>(batch);
  return elements * 2 + cache;
}

// Runs one request to its first token; seconds.
double time_prefill(Engine& engine, std::vector<int32_t> prompt) {
  Request request{std::move(prompt), {}};
  request.sampling.max_tokens = 1;
  const auto start = Clock::now();
  engine.add(std::move(request));
  while (!engine.idle()) engine.step();
  return seconds_since(start);
}

// Seconds of each step once all sequences decode.
std::vector<double> time_decode(Engine& engine, const BenchOptions& options, int64_t context, int64_t vocab_size) {
  for (int64_t b = 0; b < options.batch; ++b) {
    Request request{random_prompt(context, vocab_size, static_cast<uint32_t>(b)), {}};
    request.sampling.max_tokens = options.gen_len + 64 * options.batch;
    engine.add(std::move(request));
  }
  std::vector<double> steps;
  bool decoding = false;  // the step before drew for every sequence, so this one is all decode rows
  while (static_cast<int64_t>(steps.size()) < options.gen_len) {
    const auto start = Clock::now();
    const auto events = engine.step();
    const double seconds = seconds_since(start);
    const auto drawn = std::ranges::count_if(events, [](const TokenEvent& e) { return e.draw.has_value(); });
    if (decoding) steps.push_back(seconds);
    decoding = drawn == options.batch;
  }
  return steps;
}

}  // namespace

BenchReport run_bench(const BenchOptions& options) {
  require_device(options.llm.device);
  const int64_t context = options.context >= 0 ? options.context : options.prompt_len;
  const Weights weights(options.llm);
  const ModelConfig& config = weights.config;
  const CpuOptions cpu{.num_threads = options.llm.num_threads, .path = options.llm.cpu_path};
  const auto ops = make_cpu_ops(cpu);
  const auto model = load_model(*ops, config, rope_settings(config), *weights.tensors, options.llm.dtype);
  const int64_t longest = std::max(options.prompt_len, context) + options.gen_len + 64 * options.batch + 1;
  Engine engine(
      *ops, *model,
      {.max_seq_len = longest, .num_pages = (longest + 63) / 64 * options.batch, .chunk_size = options.llm.chunk_size});
  constexpr int kProbes = 3;

  BenchReport report;
  report.device =
      fmt::format("cpu ({}, {} threads)", cpu_path_name(cpu), cpu.num_threads > 0 ? cpu.num_threads : available_cpus());
  std::vector<double> prefills;
  for (int i = 0; i <= options.repeats; ++i) {
    const double seconds = time_prefill(engine, random_prompt(options.prompt_len, config.vocab_size, 1000));
    if (i > 0) prefills.push_back(seconds);  // the first touches memory
  }
  report.prefill_tok_s = static_cast<double>(options.prompt_len) / median(prefills);

  double bandwidth = read_bandwidth(cpu, weights.memory, kProbes);
  report.ms_per_step = 1e3 * median(time_decode(engine, options, std::max<int64_t>(context, 1), config.vocab_size));
  bandwidth = std::max(bandwidth, read_bandwidth(cpu, weights.memory, kProbes));

  report.decode_tok_s = static_cast<double>(options.batch) * 1e3 / report.ms_per_step;
  report.bytes_per_step =
      step_bytes(config, options.batch, static_cast<double>(context) + static_cast<double>(options.gen_len) / 2);
  report.achieved_gb_s = report.bytes_per_step / report.ms_per_step / 1e6;
  report.measured_gb_s = bandwidth / 1e9;
  report.ratio = report.achieved_gb_s / report.measured_gb_s;
  return report;
}

Json BenchReport::to_json() const {
  Json json = Json::object();
  json.set("prefill_tok_s", prefill_tok_s)
      .set("decode_tok_s", decode_tok_s)
      .set("ms_per_step", ms_per_step)
      .set("bytes_per_step", bytes_per_step)
      .set("achieved_gb_s", achieved_gb_s)
      .set("measured_gb_s", measured_gb_s)
      .set("ratio", ratio)
      .set("device", device)
      .set("commit", build_commit());
  return json;
}

std::string BenchReport::to_text() const {
  return fmt::format(
      "device    {}\n"
      "prefill   {:.1f} tok/s\n"
      "decode    {:.2f} tok/s, {:.3f} ms a step, {:.3f} GB read a step\n"
      "bandwidth {:.1f} GB/s of the {:.1f} GB/s measured in this run: {:.1f} %\n"
      "commit    {}\n",
      device, prefill_tok_s, decode_tok_s, ms_per_step, bytes_per_step / 1e9, achieved_gb_s, measured_gb_s, 100 * ratio,
      build_commit());
}

}  // namespace qwill
