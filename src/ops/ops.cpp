#include "ops/ops.h"

#include <cstring>

#include "base/error.h"

namespace qwill {
namespace {

void check_norm(const Norm& norm, int64_t size) {
  CHECK(norm.weight && norm.weight->rows == 1 && norm.weight->cols == size, "norm weight has the size of its input");
}

}  // namespace

Weight Ops::place(std::span<const WeightSource> sources, WeightUse use, Compute compute, const Shard& shard) {
  CHECK(!sources.empty(), "a weight has sources");
  for (const WeightSource& source : sources) {
    CHECK(source.rows > 0 && source.cols == sources[0].cols, "row segments have the same columns");
    CHECK(source.format != BlockFormat::none || source.dtype == DType::f32 || source.dtype == DType::bf16 ||
              source.dtype == DType::f16,
          "weights are f32, bf16 or f16");
    if (!takes(source.format))
      fail_unsupported("weights in {} are not supported on this device so far; use --device cpu",
                       block_format_name(source.format));
  }
  CHECK(use != WeightUse::vector || (sources.size() == 1 && sources[0].rows == 1), "a vector is one row");
  if (use == WeightUse::gated) {
    CHECK(sources.size() % 2 == 0, "gate and up come in pairs");
    for (const WeightSource& source : sources) CHECK(source.rows == sources[0].rows, "gate and up have the same rows");
  }
  CHECK(shard.world == 1 && shard.rank == 0, "one rank for now");
  return do_place(sources, use, compute, shard);
}

void Ops::copy_pages(const PagedKv& kv, std::span<const PageCopy> copies) {
  const auto bytes = static_cast<size_t>(kv.geometry.layer_page_bytes());
  for (int64_t layer = 0; layer < kv.geometry.num_layers; ++layer) {
    char* pages = static_cast<char*>(kv[layer].data);
    for (const PageCopy& copy : copies)
      std::memcpy(pages + static_cast<size_t>(copy.to) * bytes, pages + static_cast<size_t>(copy.from) * bytes, bytes);
  }
}

void Ops::begin_pages(const PagedKv& kv, const Batch& batch) {
  const auto page_size = static_cast<int32_t>(kv.geometry.page_size);
  std::vector<PageRest> begun;
  for (size_t s = 0; s < batch.seq_lens.size(); ++s) {
    if (batch.row_begin[s] == batch.row_begin[s + 1]) continue;
    const auto first = static_cast<size_t>(batch.row_begin[s]), last = static_cast<size_t>(batch.row_begin[s + 1] - 1);
    const int32_t entry = batch.positions[last] % page_size;
    if (batch.slots[last] >= 0 && batch.positions[last] - entry >= batch.positions[first] && entry + 1 < page_size)
      begun.push_back({batch.slots[last] / page_size, 0});
  }
  do_begin_pages(kv, begun);
}

void Ops::begin_step(const Batch& batch, const RopeSettings& rope) {
  ++progress_;
  const auto rows = static_cast<size_t>(batch.num_rows()), sequences = static_cast<size_t>(batch.num_sequences());
  CHECK(batch.positions.size() == rows && batch.slots.size() == rows && batch.draw_source.size() == rows,
        "a batch has one position, slot and source per row");
  CHECK(batch.row_begin.size() == sequences + 1 && batch.rope.size() == sequences &&
            batch.cache_namespace.size() == sequences && batch.adapter.size() == sequences &&
            batch.page_table.size() == sequences * static_cast<size_t>(batch.max_pages),
        "a batch has its per-sequence fields");
  CHECK(batch.row_begin.front() == 0 && batch.row_begin.back() == batch.num_rows(), "row_begin spans the rows");
  for (size_t s = 0; s < sequences; ++s) {
    CHECK(batch.row_begin[s] <= batch.row_begin[s + 1], "row_begin ascends");
    CHECK(!rope[static_cast<size_t>(batch.rope[s])].inv_freq.empty(), "the sequence's rope setting exists");
  }
  CHECK(!batch.is_decode || (rows == sequences && batch.logit_rows.size() == rows), "a decode step has one row each");
  do_begin_step(batch, rope);
}

Tensor Ops::embed(const Batch& batch, const Weight& table) {
  for (const int32_t token : batch.tokens) CHECK(token >= 0 && token < table->rows, "token id is a row of the table");
  return do_embed(batch, *table);
}

Tensor Ops::norm_linear(const Tensor& x, const Norm& norm, const Weight& weight) {
  ++progress_;
  check_norm(norm, x.cols);
  CHECK(weight->cols == x.cols, "norm_linear: columns agree");
  return do_norm_linear(x, norm, *weight);
}

void Ops::linear_add(Tensor& x, const Tensor& a, const Weight& weight) {
  ++progress_;
  CHECK(weight->cols == a.cols && weight->rows == x.cols && a.rows == x.rows, "linear_add: shapes agree");
  do_linear_add(x, a, *weight);
}

Tensor Ops::norm_gated_mlp(const Tensor& x, const Norm& norm, const Weight& gate_up) {
  ++progress_;
  check_norm(norm, x.cols);
  CHECK(gate_up->cols == x.cols && gate_up->rows % 2 == 0, "norm_gated_mlp: shapes agree");
  return do_norm_gated_mlp(x, norm, *gate_up);
}

Tensor Ops::attend(const Tensor& qkv, const Norm& q_norm, const Norm& k_norm, const Batch& batch, const LayerKv& kv) {
  ++progress_;
  const KvGeometry& g = *kv.geometry;
  check_norm(q_norm, g.head_dim);
  check_norm(k_norm, g.head_dim);
  const int64_t heads = qkv.cols / g.head_dim - 2 * g.num_kv_heads;
  CHECK(qkv.rows == batch.num_rows() && qkv.cols % g.head_dim == 0 && heads > 0 && heads % g.num_kv_heads == 0,
        "attend: shapes agree");
  return do_attend(qkv, q_norm, k_norm, batch, kv);
}

void Ops::moe_add(Tensor& x, const Norm& norm, const MoeWeights& moe) {
  ++progress_;
  check_norm(norm, x.cols);
  CHECK(moe.num_experts > 0 && moe.num_experts_per_tok > 0 && moe.num_experts_per_tok <= moe.num_experts,
        "moe_add: experts per token");
  CHECK(moe.router->rows == moe.num_experts && moe.router->cols == x.cols, "moe_add: router shape");
  CHECK(moe.gate_up->cols == x.cols && moe.gate_up->rows % (2 * moe.num_experts) == 0 &&
            moe.down->rows == moe.num_experts * x.cols && 2 * moe.down->cols * moe.num_experts == moe.gate_up->rows,
        "moe_add: expert shapes");
  do_moe_add(x, norm, moe);
}

Tensor Ops::take_rows(const Tensor& x, std::span<const int32_t> rows) {
  for (const int32_t row : rows) CHECK(row >= 0 && row < x.rows, "take_rows: row exists");
  return do_take_rows(x, rows);
}

}  // namespace qwill
