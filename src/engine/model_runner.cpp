#include "engine/model_runner.h"

#include <algorithm>
#include <span>

#include "base/error.h"
#include "engine/page_pool.h"

namespace qwill {
namespace {

// Sequences with so many keys that store nothing: the first ones have prompt_rows together, the others one row each.
// The last row of each has logits, and so have given_rows of the others, if there are so many.
Batch idle_batch(int64_t page_size, int64_t sequences, int64_t prompt_rows, int64_t context, int64_t given_rows) {
  Batch batch;
  batch.max_pages = pages_for(context, page_size);
  batch.row_begin.push_back(0);
  for (int64_t s = 0; s < sequences; ++s) {
    const int64_t rows = std::clamp<int64_t>(prompt_rows, 1, context);
    prompt_rows -= rows;
    batch.row_begin.push_back(batch.row_begin.back() + static_cast<int32_t>(rows));
    batch.seq_lens.push_back(static_cast<int32_t>(context));
    const int64_t given = std::min(given_rows, rows - 1);
    given_rows -= given;
    for (int32_t r = batch.row_begin.back() - 1 - static_cast<int32_t>(given); r < batch.row_begin.back(); ++r)
      batch.logit_rows.push_back(r);
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
  batch.is_decode = rows == count;
  return batch;
}

// Calls f(size) for the sizes of recorded steps that so many sequences reach.
template <typename F>
void for_recorded_sizes(const Ops& ops, int64_t sequences, const F& f) {
  for (const int64_t size : ops.recorded_sizes()) {
    f(size);
    if (size >= sequences) break;
  }
}

}  // namespace

ModelRunner::ModelRunner(Ops& ops, const Model& model, const Limits& limits)
    : ops_(ops), model_(model), limits_(limits), kv_(make_room(ops, model, limits)) {
  record_steps();
}

PagedKv ModelRunner::make_room(Ops& ops, const Model& model, const Limits& limits) {
  const ModelConfig& m = model.config();
  PagedKv kv = ops.allocate_kv({.num_layers = m.num_layers,
                                .num_kv_heads = m.num_kv_heads,
                                .head_dim = m.head_dim,
                                .page_size = limits.page_size,
                                .num_pages = limits.num_pages,
                                .dtype = limits.kv_dtype.value_or(ops.kv_dtype())});
  if (!ops.rehearse(true)) return kv;
  const int64_t context = std::min(limits.max_seq_len, limits.num_pages * limits.page_size);
  const auto run = [&](int64_t sequences, int64_t prompt_rows, int64_t given_rows) {
    return model.forward(ops, idle_batch(limits.page_size, sequences, prompt_rows, context, given_rows), kv);
  };
  const Tensor most = run(limits.max_sequences, limits.max_rows, limits.max_given_rows);
  std::vector<SamplingRow> draws(static_cast<size_t>(most.rows));
  for (SamplingRow& draw : std::span(draws).first(draws.size() - static_cast<size_t>(limits.max_sequences)))
    draw.num_logprobs = 0;
  ops.sample(most, draws, limits.num_drawable);
  run(1, std::min({kScoredRows, limits.max_rows, context}), kScoredRows);
  run(limits.max_sequences, 1, 0);
  for_recorded_sizes(ops, limits.max_sequences, [&](int64_t size) { run(size, 1, 0); });
  ops.rehearse(false);
  return kv;
}

ModelRunner::~ModelRunner() { ops_.free_kv(kv_); }

void ModelRunner::launch(const Batch& batch, std::span<const PageCopy> copies, std::span<const SamplingRow> rows) {
  if (!copies.empty()) ops_.copy_pages(kv_, copies);
  const Tensor logits = model_.forward(ops_, batch, kv_);
  if (!rows.empty()) ops_.sample(logits, rows, limits_.num_drawable);
}

Tensor ModelRunner::logits_on_host(const Batch& batch, const Model::Observer& observe) {
  const auto on_host = [&](const Tensor& t) -> Tensor {
    if (t.rows == 0) return {};
    return {const_cast<float*>(ops_.to_host(t).data()), t.rows, t.cols, DType::f32};
  };
  Model::Observer observe_on_host;
  if (observe) observe_on_host = [&](int64_t layer, const Tensor& x) { observe(layer, on_host(x)); };
  return on_host(model_.forward(ops_, batch, kv_, observe_on_host));
}

// Runs decode steps of every size, with their draws: their kernels are loaded and the steps recorded before a request
// comes. Each is finished here: a recording is of the thread that began it.
void ModelRunner::record_steps() {
  for (int twice = 0; twice < 2; ++twice)
    for_recorded_sizes(ops_, limits_.max_sequences, [&](int64_t size) {
      Batch batch = idle_batch(limits_.page_size, size, 1, 1, 0);
      std::ranges::fill(batch.seq_lens, 0);
      launch(batch, {}, std::vector<SamplingRow>(static_cast<size_t>(size)));
      take_draws();
    });
}

}  // namespace qwill
