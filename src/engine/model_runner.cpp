#include "engine/model_runner.h"

#include <algorithm>

#include "base/error.h"

namespace qwill {

ModelRunner::ModelRunner(Ops& ops, const Model& model, const Limits& limits)
    : ops_(ops), model_(model), limits_(limits) {
  const ModelConfig& m = model.config();
  kv_ = ops_.allocate_kv({.num_layers = m.num_layers,
                          .num_kv_heads = m.num_kv_heads,
                          .head_dim = m.head_dim,
                          .page_size = limits_.page_size,
                          .num_pages = limits_.num_pages,
                          .dtype = limits_.kv_dtype.value_or(ops.kv_dtype())});
  reserve();
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

// Makes room for the largest steps, and has decode steps of every size recorded.
void ModelRunner::reserve() {
  // Sequences of one row each, the first with first_rows, that store nothing.
  const auto step = [&](int64_t sequences, int64_t first_rows, int64_t context, bool all_logits) {
    Batch batch;
    batch.max_pages = (context + limits_.page_size - 1) / limits_.page_size;
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
  const int64_t context = std::min(limits_.max_seq_len, limits_.num_pages * limits_.page_size);
  const int64_t sequences = limits_.max_sequences;
  ops_.rehearse(true);
  const int64_t scored = std::min({kScoredRows, limits_.max_rows, context});
  model_.forward(ops_, step(1, scored, context, true), kv_);
  for (const int64_t size : sizes) {
    model_.forward(ops_, step(size, 1, context, true), kv_);
    if (size >= sequences) break;
  }
  // Last, so that nothing moves its logits any more.
  const Tensor most = model_.forward(ops_, step(sequences, std::min(limits_.max_rows, context), context, false), kv_);
  ops_.rehearse(false);
  ops_.sample(most, std::vector<SamplingRow>(static_cast<size_t>(most.rows)), limits_.num_drawable);
  ops_.take_draws();
  for (int twice = 0; twice < 2; ++twice)
    for (const int64_t size : sizes) {
      Batch batch = step(size, 1, 1, true);
      std::ranges::fill(batch.seq_lens, 0);
      launch(batch, {}, std::vector<SamplingRow>(static_cast<size_t>(size)));
      take_draws();  // a recording is finished by the thread that began it
      if (size >= sequences) break;
    }
}

}  // namespace qwill
