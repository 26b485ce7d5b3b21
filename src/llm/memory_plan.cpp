#include "llm/memory_plan.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <optional>

#include "base/error.h"
#include "base/system_memory.h"
#include "engine/model_runner.h"
#include "engine/page_pool.h"
#include "weights/checkpoint.h"

namespace qwill {
namespace {

// What nobody can count before it is there. On a card: kernels as they are loaded, what the driver rounds up, and
// recorded steps. At the start that is 5 to 38 MB (tests/cuda/test_card_memory.cpp); later there may be a recorded step
// for each of 18 sizes and some 12 reaches of context, 0.6 MB each for 8B, 1.7 MB for 30B-A3B. The process's context is
// not in what the card says is free, but it is in memory that somebody allows: 527 MiB on an H100. On the CPU:
// tokenizer, requests, what a step keeps for a moment.
constexpr int64_t kDriverBytes = int64_t{512} << 20, kContextBytes = int64_t{544} << 20,
                  kProgramBytes = int64_t{128} << 20;
// The logits of so many rows are 0.6 GB; 1,000 conversations end 10 % sooner than with a quarter of them.
constexpr int64_t kLargeCard = 48'000'000'000, kLargeCardSequences = 1024, kCardSequences = 256;
constexpr int64_t kFewTokens = 256;  // a cache of less is of no use

// In the order of printing.
struct Description {
  std::string_view purpose, text;
};
constexpr Description kDescriptions[] = {
    {"weights", "matrices as the card multiplies them, norms in f32"},
    {"weight_files", "mapped, read where they are"},
    {"weight_copies", "what was converted, norms in f32"},
    {"widened", "one matrix of four bits as bf16"},
    {"cache", "keys and values"},
    {"activations", "results of a step's ops, and their operands"},
    {"logits", "also queries, keys and values before attention"},
    {"attention", "parts of long sequences, to be merged"},
    {"experts", "rows in the order of their experts"},
    {"inputs", "tokens, positions, page tables"},
    {"sampling", "settings, penalties, draws"},
    {"step_program", "decode steps of one row as one kernel"},
    {"thread_scratch", "what a thread needs for itself"},
    {"driver", "an allowance: kernels, recorded steps"},
    {"context", "an allowance: the driver's, where memory is allowed and not measured"},
    {"program", "an allowance: tokenizer, requests"},
};

const Description* find_description(std::string_view purpose) {
  const auto* const found = std::ranges::find(kDescriptions, purpose, &Description::purpose);
  CHECK(found != std::end(kDescriptions), "every purpose is described");
  return found;
}

int64_t free_bytes(const DeviceChoice& device) {
  return device.on_cuda ? cuda_free_bytes(device.cuda) : available_memory_bytes();
}

// A model that was loaded dry.
class Rehearsal {
 public:
  Rehearsal(const LlmOptions& options, const DeviceChoice& device, const PlannedModel& planned)
      : options_(options), device_(device), planned_(planned) {
    CpuOptions cpu = device.cpu;
    CudaOptions cuda = device.cuda;
    cpu.dry = true;
    cuda.dry = device.card;
    ops_ = device.on_cuda ? make_cuda_ops(cuda) : make_cpu_ops(cpu);
    model_ = load_model(*ops_, planned.config, rope_settings(planned.config), planned.tensors, options.dtype);
  }

  // Adds to the plan what is held with so many pages. To be called with ascending numbers: buffers only grow.
  void run(MemoryPlan& plan, int64_t num_pages) {
    PagedKv kv = ModelRunner::make_room(*ops_, *model_,
                                        {.num_pages = num_pages,
                                         .page_size = plan.page_size,
                                         .kv_dtype = chosen_dtype(options_.kv_dtype),
                                         .num_drawable = planned_.config.vocab_size,
                                         .max_seq_len = plan.max_seq_len,
                                         .max_rows = device_.chunk_size,
                                         .max_sequences = plan.max_sequences});
    plan.kv_dtype = kv.geometry.dtype;
    plan.page_bytes = kv.geometry.token_bytes() * plan.page_size;
    plan.num_pages = num_pages;
    plan.pools.clear();
    if (!device_.on_cuda) plan.pools.push_back({"weight_files", planned_.file_bytes});
    for (const MemoryPool& pool : ops_->memory()) {
      if (pool.purpose == kPinnedPurpose)
        plan.pinned_bytes = pool.bytes;
      else
        plan.pools.push_back(pool);
    }
    plan.pools.push_back(device_.on_cuda ? MemoryPool{"driver", kDriverBytes} : MemoryPool{"program", kProgramBytes});
    if (device_.on_cuda && options_.memory_bytes > 0) plan.pools.push_back({"context", kContextBytes});
    std::ranges::sort(plan.pools, {}, [](const MemoryPool& pool) { return find_description(pool.purpose); });
    ops_->free_kv(kv);
  }

 private:
  const LlmOptions& options_;
  const DeviceChoice& device_;
  const PlannedModel& planned_;
  std::unique_ptr<Ops> ops_;
  std::unique_ptr<Model> model_;
};

// Pages that fit beside everything else of the plan; less than 0 if that does not fit.
int64_t pages_that_fit(const MemoryPlan& plan) {
  const int64_t left = plan.memory_bytes - (plan.total_bytes() - plan.num_pages * plan.page_bytes);
  return left < 0 ? -1 : left / plan.page_bytes;
}

// The same, each with what steps of their length need; leaves the plan of so many. `most`: these fit beside steps of
// one page.
int64_t pages_that_fit(MemoryPlan& plan, const LlmOptions& options, const DeviceChoice& device,
                       const PlannedModel& model, int64_t most) {
  const auto run = [&](int64_t pages) { Rehearsal(options, device, model).run(plan, pages); };
  run(most);
  for (int64_t fewest = std::max<int64_t>(1, pages_that_fit(plan)); fewest < most;) {
    const int64_t pages = fewest + (most - fewest + 1) / 2;
    run(pages);
    if (pages_that_fit(plan) >= pages)
      fewest = pages;
    else
      most = pages - 1;
  }
  run(most);
  return most;
}

[[noreturn]] void fail_room(const MemoryPlan& plan, bool on_cuda, bool is_limit, int64_t needed_pages, int64_t pages) {
  const auto gb = [](int64_t bytes) { return static_cast<double>(bytes) / 1e9; };
  int64_t weights = 0;
  for (const MemoryPool& pool : plan.pools)
    if (pool.purpose.starts_with("weight") || pool.purpose == "widened") weights += pool.bytes;
  const int64_t steps = plan.total_bytes() - plan.num_pages * plan.page_bytes - weights;
  const std::string needs = fmt::format(
      "{}: the weights need {:.2f} GB, steps {:.2f} GB and a cache of {} tokens {:.2f} GB, and {:.2f} GB {}",
      plan.device, gb(weights), gb(steps), plan.max_seq_len, gb(needed_pages * plan.page_bytes), gb(plan.memory_bytes),
      is_limit ? "are allowed" : "are free");
  const ErrorKind kind = on_cuda ? ErrorKind::device : ErrorKind::invalid;
  const int64_t tokens = pages * plan.page_size;
  if (tokens >= kFewTokens) fail(kind, "{}: --max-seq-len {} would fit", needs, tokens);
  fail(kind, "{}: use a smaller model{}", needs, on_cuda ? ", --dtype int4 or --device cpu" : " or more memory");
}

}  // namespace

int64_t MemoryPlan::total_bytes() const {
  return std::accumulate(pools.begin(), pools.end(), int64_t{0},
                         [](int64_t bytes, const MemoryPool& pool) { return bytes + pool.bytes; });
}

int64_t MemoryPlan::sequences_at_full_length() const {
  return std::min(max_sequences, num_pages / pages_for(max_seq_len, page_size));
}

MemoryPlan plan_memory(const LlmOptions& options, const DeviceChoice& device, const PlannedModel& model) {
  MemoryPlan plan;
  plan.device = device.name;
  plan.memory_bytes = options.memory_bytes > 0 ? options.memory_bytes : free_bytes(device);
  plan.max_seq_len = options.max_seq_len > 0 ? options.max_seq_len : model.config.context_len();
  plan.max_sequences = device.max_sequences > 0          ? device.max_sequences
                       : plan.memory_bytes >= kLargeCard ? kLargeCardSequences
                                                         : kCardSequences;
  const int64_t one = pages_for(plan.max_seq_len, plan.page_size);
  const int64_t most = std::numeric_limits<int32_t>::max() / plan.page_size;  // a slot is an int32

  Rehearsal trial(options, device, model);
  for (const int64_t pages : {int64_t{1}, one}) {  // with one page, what is far too long costs no time
    trial.run(plan, pages);
    int64_t fit = pages_that_fit(plan);
    if (fit >= one) continue;
    if (fit > pages) fit = pages_that_fit(plan, options, device, model, fit);
    if (const int64_t tokens = fit * plan.page_size; options.max_seq_len == 0 && tokens >= kFewTokens) {
      LlmOptions shorter = options;  // nobody asked for the model's whole context
      shorter.max_seq_len = tokens;
      return plan_memory(shorter, device, model);
    }
    fail_room(plan, device.on_cuda, options.memory_bytes > 0, one, fit);
  }
  // Buffers need no less with more pages: no plan has more than these.
  const int64_t limit = std::min({plan.max_sequences * one, pages_that_fit(plan), most});
  trial.run(plan, limit);
  if (const int64_t pages = std::max(one, std::min(limit, pages_that_fit(plan))); pages < limit)
    Rehearsal(options, device, model).run(plan, pages);
  return plan;
}

MemoryPlan plan_memory(const LlmOptions& options) {
  const std::optional<ModelConfig> random = random_config(options.model);
  std::optional<Checkpoint> checkpoint;
  if (!random) checkpoint.emplace(Checkpoint::open(ModelFolder::find(options.model, options.hub_cache)));
  DeviceChoice device = choose_device(options, checkpoint ? checkpoint->panels() : "");
  if (device.on_cuda) {
    if (cuda_exists() || options.memory_bytes == 0) {
      with_context(options.device, [&] {
        device.card = cuda_card(device.cuda);
        device.name = cuda_device_name(device.cuda);
      });
    } else {
      device.name += " (not here: an H100 is assumed)";
    }
  }
  if (random) {
    const ModelConfig config = with_rope(*random, options.rope);
    return plan_memory(options, device, {config, RandomValues(config), 2 * config.num_parameters()});
  }
  return plan_memory(
      options, device,
      {with_rope(checkpoint->config(), options.rope), CheckpointTensors(*checkpoint), checkpoint->total_bytes()});
}

namespace {

// 1234567 as "1,234,567".
std::string grouped(int64_t number) {
  const std::string digits = std::to_string(number);
  std::string text;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

}  // namespace

Json MemoryPlan::to_json() const {
  Json by_purpose = Json::object(), json = Json::object();
  for (const MemoryPool& pool : pools) by_purpose.set(pool.purpose, pool.bytes);
  json.set("device", device)
      .set("pools", std::move(by_purpose))
      .set("total_bytes", total_bytes())
      .set("memory_bytes", memory_bytes)
      .set("pinned_bytes", pinned_bytes)
      .set("kv_dtype", dtype_name(kv_dtype))
      .set("page_size", page_size)
      .set("page_bytes", page_bytes)
      .set("num_pages", num_pages)
      .set("cache_tokens", cache_tokens())
      .set("max_seq_len", max_seq_len)
      .set("max_sequences", max_sequences)
      .set("sequences_at_full_length", sequences_at_full_length());
  return json;
}

std::string MemoryPlan::to_text() const {
  std::string text = device + "\n\n";
  const auto line = [&](std::string_view name, int64_t bytes, std::string_view note) {
    text += fmt::format("{:<15}{:>19} B {:>9.3f} GB{}{}\n", name, grouped(bytes), static_cast<double>(bytes) / 1e9,
                        note.empty() ? "" : "  ", note);
  };
  for (const MemoryPool& pool : pools) line(pool.purpose, pool.bytes, find_description(pool.purpose)->text);
  line("total", total_bytes(), "");
  line("memory", memory_bytes, "that may be used");
  if (pinned_bytes > 0) line("pinned", pinned_bytes, "of the host, locked: inputs, draws, logits on their way");
  text +=
      fmt::format("\nThe cache holds {} tokens: {} pages of {} tokens, {} bytes each in {}.\n", grouped(cache_tokens()),
                  grouped(num_pages), page_size, grouped(page_bytes), dtype_name(kv_dtype));
  text += fmt::format("Of sequences of {} tokens {} {} at once, and of shorter ones up to {}.\n", grouped(max_seq_len),
                      grouped(sequences_at_full_length()), sequences_at_full_length() == 1 ? "runs" : "run",
                      grouped(max_sequences));
  return text;
}

}  // namespace qwill
