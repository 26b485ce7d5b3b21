#include "engine/engine_core.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "base/error.h"
#include "engine/batch_builder.h"

namespace qwill {
namespace {

EngineConfig complete(EngineConfig config, const ModelConfig& model) {
  CHECK(config.max_seq_len > 0 && config.chunk_size > 0, "engine limits are positive");
  if (config.num_pages == 0) config.num_pages = pages_for(config.max_seq_len, config.page_size);
  config.max_seq_len = std::min(config.max_seq_len, config.num_pages * config.page_size);
  if (config.mixed_chunk_size == 0) config.mixed_chunk_size = config.chunk_size;
  if (config.row_tile == 0) config.row_tile = 1;
  if (config.num_drawable == 0) config.num_drawable = model.vocab_size;
  config.num_drawable = std::min(config.num_drawable, model.vocab_size);
  return config;
}

EngineConfig for_device(EngineConfig config, const Ops& ops) {
  config.overlap = config.overlap.value_or(ops.overlaps_steps());
  if (config.row_tile == 0) config.row_tile = ops.row_tile();
  return config;
}

// For the row that follows what is known, or the token of the last step's draw that is still on the device.
SamplingRow sampling_row(const Sequence& sequence, int64_t position, int32_t draw_source) {
  const SamplingParams& p = sequence.sampling;
  return {.temperature = p.temperature,
          .top_k = p.top_k,
          .top_p = p.top_p,
          .min_p = p.min_p,
          .repetition_penalty = p.repetition_penalty,
          .presence_penalty = p.presence_penalty,
          .frequency_penalty = p.frequency_penalty,
          .logit_bias = p.logit_bias,
          .prompt = sequence.prompt(),
          .output = sequence.output(),
          .draw_source = draw_source,
          .stop_ids = p.stop_ids,
          .seed = p.seed,
          .choice = p.choice,
          .position = static_cast<uint64_t>(position),
          .num_logprobs = p.num_logprobs};
}

// For the row at this position of the prompt.
SamplingRow given_row(const Sequence& sequence, int64_t position) {
  return {.position = static_cast<uint64_t>(position + 1),
          .num_logprobs = sequence.sampling.num_prompt_logprobs,
          .given = sequence.tokens[static_cast<size_t>(position + 1)]};
}

}  // namespace

EngineCore::EngineCore(std::unique_ptr<Runner> runner, const ModelConfig& model, const EngineConfig& config)
    : config_(complete(config, model)),
      model_(model),
      runner_(std::move(runner)),
      scheduler_({.num_pages = config_.num_pages,
                  .page_size = config_.page_size,
                  .chunk_size = config_.chunk_size,
                  .mixed_chunk_size = config_.mixed_chunk_size,
                  .row_tile = config_.row_tile,
                  .max_given_rows = config_.max_given_rows,
                  .max_sequences = config_.max_sequences,
                  .reserve = config_.reserve,
                  .prefix_cache = config_.prefix_cache}) {}

EngineCore::EngineCore(Ops& ops, const Model& model, const EngineConfig& config)
    : EngineCore(nullptr, model.config(), for_device(config, ops)) {
  auto runner = std::make_unique<ModelRunner>(
      ops, model,
      ModelRunner::Limits{.num_pages = config_.num_pages,
                          .page_size = config_.page_size,
                          .kv_dtype = config_.kv_dtype,
                          .num_drawable = config_.num_drawable,
                          .max_seq_len = config_.max_seq_len,
                          .max_rows = std::max(config_.chunk_size, config_.mixed_chunk_size),
                          .max_given_rows = config_.max_given_rows,
                          .max_sequences = config_.max_sequences});
  model_runner_ = runner.get();
  runner_ = std::move(runner);
}

void EngineCore::check_tokens(std::span<const int32_t> tokens) const {
  for (const int32_t id : tokens)
    if (id < 0 || id >= model_.vocab_size)
      fail_invalid("the prompt has token id {}: the model has ids 0 to {}", id, model_.vocab_size - 1);
}

void EngineCore::check(const Request& request) const {
  request.sampling.check();
  if (request.prompt.empty()) fail_invalid("the prompt is empty: give at least one token");
  check_tokens(request.prompt);
  check_tokens(request.output);
  const auto prompt = static_cast<int64_t>(request.prompt.size()), output = static_cast<int64_t>(request.output.size());
  if (prompt >= config_.max_seq_len)
    fail_invalid(
        "the prompt has {} tokens, and a sequence may have {} with its answer: shorten it or raise "
        "--max-seq-len",
        prompt, config_.max_seq_len);
  if (output >= request.sampling.max_tokens || prompt + output >= config_.max_seq_len)
    fail_invalid("the output has {} tokens already, and may have {}: there is nothing to continue", output,
                 std::min(request.sampling.max_tokens, config_.max_seq_len - prompt));
}

std::shared_ptr<Sequence> EngineCore::make_sequence(int64_t id, Request request, int64_t max_len) const {
  auto sequence = std::make_shared<Sequence>();
  sequence->id = id;
  sequence->priority = request.priority;
  sequence->sampling = std::move(request.sampling);
  sequence->deadline = request.deadline;
  sequence->prompt_len = static_cast<int64_t>(request.prompt.size());
  sequence->tokens = std::move(request.prompt);
  sequence->tokens.insert(sequence->tokens.end(), request.output.begin(), request.output.end());
  sequence->max_len = max_len;
  sequence->prefix.cache_namespace = request.cache_namespace;
  if (model_.yarn && (config_.rope_when == RopeWhen::always || max_len > model_.trained_len()))
    sequence->prefix.rope = RopeKind::yarn;
  return sequence;
}

void EngineCore::require_working() const {
  if (!failure_.empty()) fail(ErrorKind::device, "{}: the model must be loaded again", failure_);
}

int64_t EngineCore::add(Request request) {
  require_working();
  check(request);
  const int64_t id = next_id();
  add_checked(id, std::move(request));
  return id;
}

void EngineCore::add_checked(int64_t id, Request request) {
  require_working();
  const auto prompt = static_cast<int64_t>(request.prompt.size());
  const int64_t max_len = prompt + std::min(config_.max_seq_len - prompt, request.sampling.max_tokens);
  scheduler_.add(make_sequence(id, std::move(request), max_len));
}

std::vector<TokenEvent> EngineCore::step(Request::Clock::time_point now) {
  std::vector<TokenEvent> events;
  try {
    Step step = scheduler_.schedule(now, events);
    if (!step.empty()) launch(step);
    if (under_way_) commit(*std::exchange(under_way_, std::nullopt), events);
    if (step.empty()) return events;
    if (config_.overlap.value_or(false))
      under_way_ = std::move(step);
    else
      commit(std::move(step), events);
  } catch (const std::exception& e) {
    // The device's memory is not to be trusted any more: every sequence ends, and no other begins.
    failure_ = e.what();
    under_way_.reset();
    scheduler_.fail_all(events);
  }
  return events;
}

Batch EngineCore::build(const Step& step) const {
  BatchBuilder builder(config_.page_size);
  for (const Scheduled& rows : step.rows)
    builder.add(*rows.sequence, rows.first, rows.count,
                {.last = rows.draws, .first = rows.first_given, .count = rows.num_given}, rows.draw_source);
  Batch batch = builder.take();
  batch.is_decode = std::ranges::all_of(step.rows, [](const Scheduled& s) { return s.count == 1 && s.draws; });
  return batch;
}

void EngineCore::launch(const Step& step) {
  std::vector<SamplingRow> draws;
  for (const Scheduled& rows : step.rows) {
    for (int64_t i = 0; i < rows.num_given; ++i) draws.push_back(given_row(*rows.sequence, rows.first_given + i));
    if (rows.draws) draws.push_back(sampling_row(*rows.sequence, rows.first + rows.count, rows.draw_source));
  }
  runner_->launch(build(step), step.copies, draws);
}

void EngineCore::commit(Step step, std::vector<TokenEvent>& events) {
  scheduler_.commit(step, step.num_draws > 0 ? runner_->take_draws() : std::vector<Draw>(), events);
}

void EngineCore::score(std::span<const int32_t> tokens, const LogitsVisitor& visit, const Model::Observer& observe) {
  CHECK(model_runner_, "a model gives logits");
  const auto total = static_cast<int64_t>(tokens.size());
  if (tokens.empty()) fail_invalid("the prompt is empty: give at least one token");
  check_tokens(tokens);
  if (total > config_.max_seq_len)
    fail_invalid("the prompt has {} tokens, and a sequence may have {}: shorten it or raise --max-seq-len", total,
                 config_.max_seq_len);
  const auto sequence = make_sequence(-1, {{tokens.begin(), tokens.end()}, {}}, total);
  // Returns the pages also when the visitor throws.
  const struct Loan {
    Scheduler& scheduler;
    std::vector<int32_t>& pages;
    ~Loan() { scheduler.give_back(pages); }
  } loan{scheduler_, sequence->pages};
  const int64_t available = scheduler_.num_available_pages(), needed = pages_for(total, config_.page_size);
  if (needed > available)
    fail_invalid("the prompt has {} tokens, and the cache has {} free pages of {}", total, available,
                 config_.page_size);
  sequence->pages = scheduler_.lend(needed);
  for (int64_t first = 0; first < total;) {
    const int64_t count = std::min({ModelRunner::kScoredRows, config_.chunk_size, total - first});
    BatchBuilder builder(config_.page_size);
    builder.add(*sequence, first, count, {.first = first, .count = visit ? count : 0});
    const Tensor logits = model_runner_->logits_on_host(builder.take(), observe);
    if (visit) visit(first, logits);
    first += count;
  }
}

}  // namespace qwill
