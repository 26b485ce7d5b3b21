#include "llm/bench.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <numeric>

#include "base/build_info.h"
#include "base/error.h"
#include "cpu/weight_memory.h"
#include "engine/batch_builder.h"
#include "llm/backend.h"
#include "weights/warm_up.h"

namespace qwill {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

constexpr int64_t kBeyondCaches = int64_t{512} << 20;
constexpr int64_t kProbedBytes = int64_t{4} << 30;  // of a card

// Where the weights come from, and the memory that the bandwidth is measured on.
struct Weights {
  ModelConfig config;
  std::optional<Checkpoint> checkpoint;
  std::unique_ptr<TensorSource> tensors;
  cpu::WeightMemory probed;  // of weights' kind: those may be in the caches, or repacked and gone

  explicit Weights(const LlmOptions& options) {
    if (const auto random = random_config(options.model)) {
      config = *random;
    } else {
      checkpoint.emplace(Checkpoint::open(ModelFolder::find(options.model, options.hub_cache)));
      config = checkpoint->config();
    }
  }
  std::string_view panels() const { return checkpoint ? checkpoint->panels() : std::string_view(); }

  void open(const LlmOptions& options, bool on_cuda) {
    if (checkpoint) {
      if (!on_cuda) warm_up(checkpoint->files(), checkpoint->rare_bytes(), 2, options.progress, options.cancel);
      tensors = std::make_unique<CheckpointTensors>(*checkpoint);
    } else {
      tensors = random_source(config, on_cuda);
    }
    if (on_cuda) return;
    probed = cpu::WeightMemory(kBeyondCaches);
    std::memset(probed.data(), 1, kBeyondCaches);
  }
};

// Elements of weights that one row meets.
double elements_met(const ModelConfig& config) {
  double met = 0;
  for (const ExpectedTensor& tensor : expected_tensors(config)) {
    if (tensor.name == "model.embed_tokens.weight" && !config.tie_word_embeddings) continue;  // one row
    const auto count = static_cast<double>(tensor.num_elements());
    met += tensor.name.find(".experts.") == std::string::npos
               ? count
               : count * static_cast<double>(config.moe->num_experts_per_tok) /
                     static_cast<double>(config.moe->num_experts);
  }
  return met;
}

// Operations of a prefill: products (the head's for one row only) and causal attention.
double prefill_operations(const ModelConfig& config, int64_t tokens) {
  const auto T = static_cast<double>(tokens), head = static_cast<double>(config.vocab_size * config.hidden_size);
  const double attention = 2 * T * T * static_cast<double>(config.num_heads * config.head_dim * config.num_layers);
  return 2 * (elements_met(config) - head) * T + 2 * head + attention;
}

// Runs the model's steps as the engine does: forward, then a draw.
class Runner {
 public:
  Runner(Ops& ops, const Model& model, DType kv_dtype, int64_t num_sequences, int64_t max_len)
      : ops_(ops), model_(model), pages_per_sequence_(pages_for(max_len, kPageSize)) {
    const ModelConfig& c = model.config();
    kv_ = ops.allocate_kv({.num_layers = c.num_layers,
                           .num_kv_heads = c.num_kv_heads,
                           .head_dim = c.head_dim,
                           .page_size = kPageSize,
                           .num_pages = pages_per_sequence_ * num_sequences,
                           .dtype = kv_dtype});
  }
  ~Runner() { ops_.free_kv(kv_); }
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  int64_t kv_token_bytes() const { return kv_.geometry.token_bytes(); }
  // Seconds until a token is drawn behind the prompt, which becomes sequence `index`.
  double prefill(int64_t index, std::vector<int32_t> prompt, int64_t chunk) {
    Sequence sequence;
    sequence.tokens = std::move(prompt);
    for (int64_t page = 0; page < pages_per_sequence_; ++page)
      sequence.pages.push_back(static_cast<int32_t>(index * pages_per_sequence_ + page));
    const auto start = Clock::now();
    Tensor logits;
    while (sequence.num_cached < sequence.size()) {
      const int64_t count = std::min(chunk, sequence.size() - sequence.num_cached);
      BatchBuilder builder(kPageSize);
      const bool last = sequence.num_cached + count == sequence.size();
      builder.add(sequence, sequence.num_cached, count, {.last = last});
      logits = model_.forward(ops_, builder.take(), kv_);
      sequence.num_cached += count;
    }
    ops_.sample(logits, std::vector<SamplingRow>(1), model_.config().vocab_size);
    sequence.tokens.push_back(ops_.take_draws()[0].id);
    const double seconds = seconds_since(start);
    sequences_.resize(std::max(sequences_.size(), static_cast<size_t>(index) + 1));
    sequences_[static_cast<size_t>(index)] = std::move(sequence);
    return seconds;
  }

  // Seconds of each of `count` decode steps of all sequences. Tokens stay where they are drawn: the next step is under
  // way when the host reads them.
  std::vector<double> decode(int64_t count) {
    std::vector<double> seconds;
    auto before = Clock::now();
    for (int64_t step = 0; step <= count + 2; ++step) {
      if (step < count + 2) {
        BatchBuilder builder(kPageSize);
        for (Sequence& sequence : sequences_) {
          builder.add(sequence, sequence.num_cached, 1, {.last = true});
          ++sequence.num_cached;
          sequence.tokens.push_back(0);  // its place: the id is on its way
        }
        Batch batch = builder.take();
        batch.is_decode = true;
        if (step > 0) std::iota(batch.draw_source.begin(), batch.draw_source.end(), 0);
        const Tensor logits = model_.forward(ops_, batch, kv_);
        ops_.sample(logits, std::vector<SamplingRow>(sequences_.size()), model_.config().vocab_size);
      }
      if (step == 0) continue;
      ops_.take_draws();
      seconds.push_back(std::chrono::duration<double>(Clock::now() - before).count());
      before = Clock::now();
    }
    // Two steps began before the first was read, and none before the last.
    return {seconds.begin() + 1, seconds.end() - 1};
  }

 private:
  static constexpr int64_t kPageSize = 64;
  Ops& ops_;
  const Model& model_;
  int64_t pages_per_sequence_;
  PagedKv kv_;
  std::vector<Sequence> sequences_;
};

}  // namespace

std::vector<int32_t> random_prompt(int64_t length, int64_t vocab_size, uint32_t stream) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < length; ++i)
    ids.push_back(
        static_cast<int32_t>(philox_uniform(1, stream, static_cast<uint64_t>(i), 0) * static_cast<double>(vocab_size)));
  return ids;
}

BenchReport run_bench(const BenchOptions& options) {
  const int64_t context = std::max<int64_t>(options.context >= 0 ? options.context : options.prompt_len, 1);
  Weights weights(options.llm);
  const Backend backend = open_backend(options.llm, weights.panels());
  weights.open(options.llm, backend.on_cuda);
  const ModelConfig& config = weights.config;
  const auto model = load_model(*backend.ops, config, rope_settings(config), *weights.tensors, options.llm.dtype);
  const DType kv_dtype = chosen_dtype(options.llm.kv_dtype).value_or(backend.ops->kv_dtype());
  const auto bandwidth = [&] {
    constexpr int kProbes = 3;
    return backend.on_cuda ? cuda_read_bandwidth(backend.cuda, kProbedBytes)
                           : read_bandwidth(backend.cpu, {weights.probed.data(), kBeyondCaches}, kProbes);
  };

  BenchReport report;
  report.device = backend.name;
  report.measured_gb_s = bandwidth() / 1e9;
  if (backend.on_cuda) report.measured_tflop_s = cuda_matrix_rate(backend.cuda) / 1e12;
  {
    Runner runner(*backend.ops, *model, kv_dtype, 1, options.prompt_len + 1);
    std::vector<double> prefills;
    for (int i = 0; i <= options.repeats; ++i) {
      const double seconds =
          runner.prefill(0, random_prompt(options.prompt_len, config.vocab_size, 1000), backend.chunk_size);
      if (i > 0) prefills.push_back(seconds);  // the first touches memory
    }
    const double seconds = median(prefills);
    report.prefill_tok_s = static_cast<double>(options.prompt_len) / seconds;
    report.prefill_tflop_s = prefill_operations(config, options.prompt_len) / seconds / 1e12;
  }
  constexpr int64_t kUntimed = 4;  // steps before: recordings are made, caches warm; each decode runs two more
  constexpr int64_t kPieces = 8;
  Runner runner(*backend.ops, *model, kv_dtype, options.batch, context + kUntimed + 2 + options.gen_len + 2 * kPieces);
  for (int64_t b = 0; b < options.batch; ++b)
    runner.prefill(b, random_prompt(context, config.vocab_size, static_cast<uint32_t>(b)), backend.chunk_size);
  runner.decode(kUntimed);
  const double mean_context = static_cast<double>(context) + static_cast<double>(options.gen_len) / 2;
  report.bytes_per_step = model->weight_bytes(options.batch) + static_cast<double>(runner.kv_token_bytes()) *
                                                                   mean_context * static_cast<double>(options.batch);
  // A machine that others share changes its rate from second to second: each piece of the decoding is compared with
  // what was measured around it. A card does not, and its steps are best left to follow each other.
  const int64_t num_pieces = backend.on_cuda ? 1 : std::clamp<int64_t>(options.gen_len / 4, 1, kPieces);
  std::vector<double> steps, measured, ratios;
  double before = backend.on_cuda ? report.measured_gb_s : bandwidth() / 1e9;
  for (int64_t i = 0; i < num_pieces; ++i) {
    const std::vector<double> piece =
        runner.decode(options.gen_len * (i + 1) / num_pieces - options.gen_len * i / num_pieces);
    const double after = bandwidth() / 1e9;
    measured.push_back(std::max(before, after));
    ratios.push_back(report.bytes_per_step / median(piece) / 1e9 / measured.back());
    steps.insert(steps.end(), piece.begin(), piece.end());
    before = after;
  }
  report.ms_per_step = 1e3 * median(steps);
  report.mean_ms_per_step = 1e3 * std::accumulate(steps.begin(), steps.end(), 0.0) / static_cast<double>(steps.size());
  report.decode_tok_s = static_cast<double>(options.batch) * 1e3 / report.ms_per_step;
  report.achieved_gb_s = report.bytes_per_step / report.ms_per_step / 1e6;
  report.measured_gb_s = median(measured);
  report.ratio = median(ratios);
  return report;
}

Json BenchReport::to_json() const {
  Json json = Json::object();
  json.set("prefill_tok_s", prefill_tok_s)
      .set("decode_tok_s", decode_tok_s)
      .set("ms_per_step", ms_per_step)
      .set("mean_ms_per_step", mean_ms_per_step)
      .set("bytes_per_step", bytes_per_step)
      .set("achieved_gb_s", achieved_gb_s)
      .set("measured_gb_s", measured_gb_s)
      .set("ratio", ratio);
  if (measured_tflop_s > 0)
    json.set("prefill_tflop_s", prefill_tflop_s)
        .set("measured_tflop_s", measured_tflop_s)
        .set("prefill_ratio", prefill_tflop_s / measured_tflop_s);
  json.set("device", device).set("commit", build_commit());
  return json;
}

std::string BenchReport::to_text() const {
  const std::string matrix_rate =
      measured_tflop_s > 0 ? fmt::format(", {:.0f} TFLOP/s of the {:.0f} measured in this run: {:.1f} %",
                                         prefill_tflop_s, measured_tflop_s, 100 * prefill_tflop_s / measured_tflop_s)
                           : "";
  return fmt::format(
      "device    {}\n"
      "prefill   {:.1f} tok/s{}\n"
      "decode    {:.2f} tok/s, {:.3f} ms a step, {:.3f} GB read a step\n"
      "bandwidth {:.1f} GB/s of the {:.1f} GB/s measured in this run: {:.1f} %\n"
      "commit    {}\n",
      device, prefill_tok_s, matrix_rate, decode_tok_s, ms_per_step, bytes_per_step / 1e9, achieved_gb_s, measured_gb_s,
      100 * ratio, build_commit());
}

}  // namespace qwill
