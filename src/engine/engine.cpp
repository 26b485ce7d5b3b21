#include "engine/engine.h"

#include <algorithm>

#include "base/error.h"
#include "engine/batch_builder.h"

namespace qwill {
namespace {

constexpr int64_t kScoredRows = 512;  // logits of so many rows at once

int64_t pages_for(int64_t tokens, int64_t page_size) { return (tokens + page_size - 1) / page_size; }

EngineConfig complete(EngineConfig config, const ModelConfig& model) {
  CHECK(config.max_seq_len > 0 && config.chunk_size > 0, "engine limits are positive");
  if (config.num_pages == 0) config.num_pages = pages_for(config.max_seq_len, config.page_size);
  if (config.num_drawable == 0) config.num_drawable = model.vocab_size;
  config.num_drawable = std::min(config.num_drawable, model.vocab_size);
  return config;
}

}  // namespace

Engine::Engine(Ops& ops, const Model& model, const EngineConfig& config)
    : ops_(ops), model_(model), config_(complete(config, model.config())), pool_(config_.num_pages) {
  const ModelConfig& m = model.config();
  kv_ = ops_.allocate_kv({.num_layers = m.num_layers,
                          .num_kv_heads = m.num_kv_heads,
                          .head_dim = m.head_dim,
                          .page_size = config_.page_size,
                          .num_pages = config_.num_pages,
                          .dtype = config_.kv_dtype.value_or(ops.kv_dtype())});
  reserve();
}

// Makes room for the largest steps, and runs decode steps of every size once, so that none of it happens later.
void Engine::reserve() {
  // Sequences of one row each that stores nothing, the first with `rows` more; `pages` of each in the table.
  const auto step = [&](int64_t sequences, int64_t first_rows, int64_t context, bool all_logits) {
    Batch batch;
    batch.max_pages = pages_for(context, config_.page_size);
    batch.row_begin.push_back(0);
    for (int64_t s = 0; s < sequences; ++s) {
      const int64_t rows = s == 0 ? first_rows : 1;
      batch.row_begin.push_back(batch.row_begin.back() + static_cast<int32_t>(rows));
      batch.seq_lens.push_back(static_cast<int32_t>(context));
    }
    const auto rows = static_cast<size_t>(batch.row_begin.back()), count = static_cast<size_t>(sequences);
    batch.tokens.assign(rows, 0);
    batch.draw_source.assign(rows, Batch::kFromHost);
    batch.positions.assign(rows, 0);
    batch.slots.assign(rows, -1);
    batch.rope.assign(count, RopeKind::plain);
    batch.cache_namespace.assign(count, 0);
    batch.adapter.assign(count, 0);
    batch.page_table.assign(count * static_cast<size_t>(batch.max_pages), 0);
    for (size_t r = 0; r < (all_logits ? rows : count); ++r)
      batch.logit_rows.push_back(all_logits ? static_cast<int32_t>(r) : batch.row_begin[r + 1] - 1);
    batch.is_decode = rows == count && all_logits;
    return batch;
  };
  const std::span<const int64_t> sizes = ops_.recorded_sizes();
  if (sizes.empty()) return;
  const int64_t context = std::min(config_.max_seq_len, config_.num_pages * config_.page_size);
  const int64_t sequences = config_.max_sequences;
  ops_.rehearse(true);
  model_.forward(ops_, step(sequences, std::min(config_.chunk_size, context), context, false), kv_);
  const int64_t scored = std::min({kScoredRows, config_.chunk_size, context});
  model_.forward(ops_, step(1, scored, context, true), kv_);
  Tensor logits;
  for (const int64_t size : sizes) {
    logits = model_.forward(ops_, step(size, 1, context, true), kv_);
    if (size >= sequences) break;
  }
  ops_.rehearse(false);
  ops_.sample(logits, std::vector<SamplingRow>(static_cast<size_t>(logits.rows)), config_.num_drawable);
  ops_.take_draws();
  for (int twice = 0; twice < 2; ++twice)
    for (const int64_t size : sizes) {
      Batch batch = step(size, 1, 1, true);
      std::ranges::fill(batch.seq_lens, 0);
      model_.forward(ops_, batch, kv_);
      if (size >= sequences) break;
    }
}

Engine::~Engine() { ops_.free_kv(kv_); }

Sequence Engine::make_sequence(Request request, int64_t max_len) {
  const int64_t vocab_size = model_.config().vocab_size;
  if (request.prompt.empty()) fail_invalid("the prompt is empty: give at least one token");
  for (const int32_t id : request.prompt)
    if (id < 0 || id >= vocab_size)
      fail_invalid("the prompt has token id {}: the model has ids 0 to {}", id, vocab_size - 1);
  Sequence sequence;
  sequence.id = next_id_++;
  sequence.request = std::move(request);
  sequence.max_len = max_len;
  const ModelConfig& m = model_.config();
  if (m.yarn && (config_.rope_when == RopeWhen::always || max_len > m.trained_len())) sequence.rope = RopeKind::yarn;
  return sequence;
}

int64_t Engine::add(Request request) {
  if (!failure_.empty()) fail(ErrorKind::device, "{}: the model must be loaded again", failure_);
  request.sampling.check();
  const auto prompt = static_cast<int64_t>(request.prompt.size());
  const int64_t room = std::min(config_.max_seq_len, config_.num_pages * config_.page_size) - prompt;
  if (room < 1)
    fail_invalid(
        "the prompt has {} tokens, and a sequence may have {} with its answer: shorten it or raise --max-seq-len",
        prompt, prompt + room);
  const int64_t max_len = prompt + std::min(room, request.sampling.max_tokens);
  running_.push_back(make_sequence(std::move(request), max_len));
  return running_.back().id;
}

void Engine::cancel(int64_t sequence) { cancelled_.push_back(sequence); }

std::vector<TokenEvent> Engine::step() {
  const std::vector<Scheduled> scheduled = schedule();
  const Batch batch = build(scheduled);
  try {
    return commit(scheduled, run(batch, scheduled));
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::device) throw;
    return fail_all(e.what());
  }
}

// The device's memory is not to be trusted any more: every sequence ends, and no other begins.
std::vector<TokenEvent> Engine::fail_all(const std::string& what) {
  failure_ = what;
  std::vector<TokenEvent> events;
  for (Sequence& sequence : running_) {
    pool_.release(sequence.pages);
    events.push_back({.sequence = sequence.id, .draw = {}, .finish = FinishReason::failed});
  }
  running_.clear();
  cancelled_.clear();
  return events;
}

// Gives the sequence `count` pages, if need be those of sequences that arrived after it, the last first.
bool Engine::extend_pages(Sequence& sequence, int64_t count) {
  for (auto last = running_.rbegin(); !pool_.extend(sequence.pages, count); ++last) {
    if (&*last == &sequence) return false;
    pool_.release(last->pages);
    last->num_cached = 0;
  }
  return true;
}

std::vector<Engine::Scheduled> Engine::schedule() {
  std::vector<Scheduled> scheduled;
  int64_t budget = config_.chunk_size;  // of prompt rows
  for (Sequence& sequence : running_) {
    if (std::ranges::find(cancelled_, sequence.id) != cancelled_.end()) continue;
    const int64_t missing = sequence.size() - sequence.num_cached;
    const int64_t count = missing == 1 ? 1 : std::min(missing, budget);
    if (count == 0 || !extend_pages(sequence, pages_for(sequence.num_cached + count, config_.page_size))) continue;
    if (missing > 1) budget -= count;
    scheduled.push_back({&sequence, count, count == missing});
  }
  return scheduled;
}

Batch Engine::build(const std::vector<Scheduled>& scheduled) const {
  BatchBuilder builder(config_.page_size);
  for (const auto& [sequence, count, draws] : scheduled)
    builder.add(*sequence, count, draws ? BatchBuilder::Logits::last : BatchBuilder::Logits::none);
  Batch batch = builder.take();
  batch.is_decode =
      !scheduled.empty() && std::ranges::all_of(scheduled, [](const Scheduled& s) { return s.count == 1 && s.draws; });
  return batch;
}

std::vector<Draw> Engine::run(const Batch& batch, const std::vector<Scheduled>& scheduled) {
  if (scheduled.empty()) return {};
  const Tensor logits = model_.forward(ops_, batch, kv_);
  std::vector<SamplingRow> rows;
  for (const auto& [sequence, count, draws] : scheduled) {
    if (!draws) continue;
    const SamplingParams& p = sequence->request.sampling;
    rows.push_back({.temperature = p.temperature,
                    .top_k = p.top_k,
                    .top_p = p.top_p,
                    .min_p = p.min_p,
                    .repetition_penalty = p.repetition_penalty,
                    .presence_penalty = p.presence_penalty,
                    .frequency_penalty = p.frequency_penalty,
                    .logit_bias = p.logit_bias,
                    .prompt = sequence->request.prompt,
                    .output = sequence->output,
                    .seed = p.seed,
                    .choice = p.choice,
                    .position = static_cast<uint64_t>(sequence->size()),
                    .num_logprobs = p.num_logprobs});
  }
  if (rows.empty()) return {};
  ops_.sample(logits, rows, config_.num_drawable);
  return ops_.take_draws();
}

std::vector<TokenEvent> Engine::commit(const std::vector<Scheduled>& scheduled, const std::vector<Draw>& draws) {
  std::vector<TokenEvent> events;
  auto draw = draws.begin();
  for (const auto& [sequence, count, drew] : scheduled) {
    sequence->num_cached += count;
    if (!drew) continue;
    TokenEvent event;
    event.sequence = sequence->id;
    event.draw = *draw++;
    const auto& stop_ids = sequence->request.sampling.stop_ids;
    if (std::ranges::find(stop_ids, event.draw->id) != stop_ids.end()) {
      event.stop_id = event.draw->id;
      event.draw.reset();
      event.finish = FinishReason::stop;
    } else {
      sequence->output.push_back(event.draw->id);
      if (sequence->size() >= sequence->max_len) event.finish = FinishReason::length;
    }
    events.push_back(std::move(event));
  }
  for (const Sequence& sequence : running_)
    if (std::ranges::find(cancelled_, sequence.id) != cancelled_.end())
      events.push_back({.sequence = sequence.id, .draw = {}, .finish = FinishReason::cancelled});
  cancelled_.clear();
  for (const TokenEvent& event : events) {
    if (!event.finish) continue;
    const auto ended = std::ranges::find(running_, event.sequence, &Sequence::id);
    if (ended == running_.end()) continue;
    pool_.release(ended->pages);
    running_.erase(ended);
  }
  return events;
}

void Engine::score(std::span<const int32_t> tokens, const LogitsVisitor& visit, const Model::Observer& observe) {
  const auto total = static_cast<int64_t>(tokens.size());
  if (total > config_.max_seq_len)
    fail_invalid("the prompt has {} tokens, and a sequence may have {}: shorten it or raise --max-seq-len", total,
                 config_.max_seq_len);
  Sequence sequence = make_sequence({{tokens.begin(), tokens.end()}, {}}, total);
  // Returns the pages also when the visitor throws.
  const struct Lease {
    PagePool& pool;
    std::vector<int32_t>& pages;
    ~Lease() { pool.release(pages); }
  } lease{pool_, sequence.pages};
  if (!pool_.extend(sequence.pages, pages_for(total, config_.page_size)))
    fail_invalid("the prompt has {} tokens, and the cache has {} free pages of {}", total, pool_.num_free(),
                 config_.page_size);
  const auto on_host = [&](const Tensor& t) -> Tensor {
    return {const_cast<float*>(ops_.to_host(t).data()), t.rows, t.cols, DType::f32};
  };
  Model::Observer observe_on_host;
  if (observe) observe_on_host = [&](int64_t layer, const Tensor& x) { observe(layer, on_host(x)); };
  while (sequence.num_cached < total) {
    const int64_t count = std::min({kScoredRows, config_.chunk_size, total - sequence.num_cached});
    BatchBuilder builder(config_.page_size);
    builder.add(sequence, count, visit ? BatchBuilder::Logits::all : BatchBuilder::Logits::none);
    const Tensor logits = model_.forward(ops_, builder.take(), kv_, observe_on_host);
    if (visit) visit(sequence.num_cached, on_host(logits));
    sequence.num_cached += count;
  }
}

}  // namespace qwill
