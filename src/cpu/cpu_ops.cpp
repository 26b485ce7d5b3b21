#include "cpu/cpu_ops.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "base/cpu_features.h"
#include "cpu/backend.h"

namespace qwill {
namespace cpu {
namespace {

constexpr int64_t kStreamedRows = 8;  // at most so many rows are met faster than weights are read

}  // namespace

void CpuOps::sample(const Tensor& logits, std::span<const SamplingRow> rows, int64_t num_drawable) {
  if (rehearsing_) return;
  std::vector<Draw> draws(rows.size());
  pool_.run(logits.rows, [&](int64_t r) {
    const std::span<const float> row(logits.row<const float>(r), static_cast<size_t>(logits.cols));
    const SamplingRow& settings = rows[static_cast<size_t>(r)];
    draws[static_cast<size_t>(r)] = sample_row(row, settings, num_drawable, draws_.last_id(settings));
  });
  draws_.push(std::move(draws));
}

Weight CpuOps::do_place(std::span<const WeightSource> sources, WeightUse use, Compute compute, const Shard&) {
  auto weight = place_weight(kernels_, pool_, sources, use, compute, ledger_.dry());
  if (!ledger_.dry()) owned_weight_bytes_ += weight->owned_bytes;
  expanded_stride_ = std::max(expanded_stride_, (weight->scratch_bytes() + 63) / 64 * 64);
  expanded_data_ = expanded_.get<std::byte>(num_threads_ * expanded_stride_);
  ledger_.add("weight_copies", weight->owned_bytes);
  any_rounded_ |= use != WeightUse::vector && compute != Compute::f32;
  return weight;
}

void CpuOps::do_begin_step(const Batch& batch, const RopeSettings& rope) {
  half_dim_ = static_cast<int64_t>(std::max(rope[0].inv_freq.size(), rope[1].inv_freq.size()));
  cos_ = rope_cos_.get<float>(batch.num_rows() * half_dim_);
  sin_ = rope_sin_.get<float>(batch.num_rows() * half_dim_);
  if (rehearsing_) return;
  for (int64_t s = 0; s < batch.num_sequences(); ++s) {
    const RopeSetting& setting = rope[static_cast<size_t>(batch.rope[static_cast<size_t>(s)])];
    const int64_t first = batch.row_begin[static_cast<size_t>(s)], last = batch.row_begin[static_cast<size_t>(s) + 1];
    for_rows(last - first, [&](int64_t t) {
      rope_row(setting, batch.positions[static_cast<size_t>(first + t)], cos_ + (first + t) * half_dim_,
               sin_ + (first + t) * half_dim_);
    });
  }
}

Tensor CpuOps::do_embed(const Batch& batch, const PlacedWeight& table) {
  Tensor x = result(embed_, batch.num_rows(), table.cols);
  if (rehearsing_) return x;
  for_rows(x.rows, [&](int64_t t) { as_cpu(table).read_row(draws_.token(batch, t), x.row<float>(t)); });
  return x;
}

Tensor CpuOps::do_norm_linear(const Tensor& x, const Norm& norm, const PlacedWeight& w) {
  const CpuWeight& weight = as_cpu(w);
  Tensor y = result(norm_linear_, x.rows, weight.rows);
  linear(pack_normed(x, norm, weight), x.rows, weight, y, /*add=*/false);
  return y;
}

void CpuOps::do_linear_add(Tensor& x, const Tensor& a, const PlacedWeight& w) {
  const CpuWeight& weight = as_cpu(w);
  std::byte* operand = operand_.get<std::byte>(a.rows * weight.kernel().operand_row_bytes(a.cols));
  if (rehearsing_) return;
  for_row_blocks(a.rows, [&](int64_t first, int64_t count) {
    weight.kernel().pack(a.row<float>(first), a.cols, first, count, a.rows, operand);
  });
  linear(operand, a.rows, weight, x, /*add=*/true);
}

Tensor CpuOps::do_norm_gated_mlp(const Tensor& x, const Norm& norm, const PlacedWeight& gate_up) {
  const CpuWeight& weight = as_cpu(gate_up);
  CHECK(weight.segments.size() == 2, "gate and up are two segments");
  Tensor act = result(gated_, x.rows, weight.rows / 2);
  const void* operand = pack_normed(x, norm, weight);
  Tensor products = result(gate_up_, std::min(x.rows, kStreamedRows), weight.rows);
  if (x.rows <= kStreamedRows) {
    // The memory is what counts: each matrix from end to end, since a core waits whenever it turns to the other.
    linear(operand, x.rows, weight, products, /*add=*/false);
    if (rehearsing_) return act;
    pool_.run(x.rows, [&](int64_t t) {
      const float* row = products.row<float>(t);
      kernels_.silu_mul(row, row + act.cols, act.cols, act.row<float>(t));
    });
    return act;
  }
  const int64_t chunk = rows_per_task(weight.segments[0]);
  make_scratch(gated_scratch(x.rows, std::min(chunk, act.cols)));
  if (rehearsing_ || x.rows == 0) return act;
  pool_.run((act.cols + chunk - 1) / chunk, [&](int64_t task) {
    gated_task(weight, 0, operand, x.rows, task * chunk, std::min(chunk, act.cols - task * chunk), act.row<float>(0),
               act.cols);
  });
  return act;
}

Tensor CpuOps::do_take_rows(const Tensor& x, std::span<const int32_t> rows) {
  Tensor y = result(take_rows_, static_cast<int64_t>(rows.size()), x.cols);
  if (rehearsing_) return y;
  for (int64_t r = 0; r < y.rows; ++r)
    std::memcpy(y.row<float>(r), x.row<float>(rows[static_cast<size_t>(r)]), static_cast<size_t>(x.cols) * 4);
  return y;
}

const void* CpuOps::pack_normed(const Tensor& x, const Norm& norm, const CpuWeight& weight) {
  std::byte* operand = operand_.get<std::byte>(x.rows * weight.kernel().operand_row_bytes(x.cols));
  make_scratch(std::min(kRowsPerTask, x.rows) * x.cols);
  if (rehearsing_) return operand;
  for_row_blocks(x.rows, [&](int64_t first, int64_t count) {
    float* normed = scratch();
    for (int64_t i = 0; i < count; ++i)
      kernels_.rms_norm(x.row<float>(first + i), as_cpu(norm.weight).vector.data(), x.cols, norm.eps,
                        normed + i * x.cols);
    weight.kernel().pack(normed, x.cols, first, count, x.rows, operand);
  });
  return operand;
}

void CpuOps::linear(const void* operand, int64_t rows, const CpuWeight& weight, Tensor& y, bool add) {
  if (rehearsing_) return;
  std::vector<Product> products;
  int64_t first = 0;
  for (const CpuWeight::Segment& segment : weight.segments) {
    products.push_back(
        {&weight, &segment, operand, rows, y.row<float>(0) + first, y.cols, add, rows_per_task(segment)});
    first += segment.rows;
  }
  run_products(products);
}

void CpuOps::run_products(const std::vector<Product>& products) {
  int64_t num_tasks = 0;
  for (const Product& product : products) num_tasks += product.num_tasks();
  pool_.run(num_tasks, [&](int64_t task) {
    advance();
    auto product = products.begin();
    while (task >= product->num_tasks()) task -= (product++)->num_tasks();
    product->run_task(task, expanded());
  });
}

void CpuOps::gated_task(const CpuWeight& weight, size_t gate, const void* operand, int64_t rows, int64_t first,
                        int64_t count, float* act, int64_t act_cols) {
  float* products = scratch();
  for (size_t half = 0; half < 2; ++half)
    Product{&weight,
            &weight.segments[gate + half],
            operand,
            rows,
            products + static_cast<int64_t>(half) * rows * count - first,
            count,
            false,
            count}
        .run(first, count, expanded());
  for (int64_t t = 0; t < rows; ++t)
    kernels_.silu_mul(products + t * count, products + (rows + t) * count, count, act + t * act_cols + first);
}
}  // namespace cpu

std::unique_ptr<Ops> make_cpu_ops(const CpuOptions& options) { return std::make_unique<cpu::CpuOps>(options); }

double read_bandwidth(const CpuOptions& options, std::span<const std::byte> memory, int repeats) {
  const cpu::Kernels& kernels = cpu::select_kernels(options.path);
  ThreadPool pool(num_threads(options));
  constexpr int64_t kPiece = 8 << 20;
  const auto pieces = static_cast<int64_t>(memory.size()) / kPiece;
  CHECK(pieces > 0, "enough memory to read");
  const auto* data = reinterpret_cast<const float*>(memory.data());
  std::vector<float> seen(static_cast<size_t>(pieces));
  double best = 0;
  for (int i = 0; i < repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    pool.run(pieces,
             [&](int64_t p) { seen[static_cast<size_t>(p)] = kernels.read_all(data + p * (kPiece / 4), kPiece); });
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::max(best, static_cast<double>(pieces * kPiece) / seconds);
  }
  volatile float sink = *std::ranges::max_element(seen);
  (void)sink;
  return best;
}

int num_threads(const CpuOptions& options) { return options.num_threads > 0 ? options.num_threads : available_cores(); }

std::string cpu_device_name(const CpuOptions& options) {
  return fmt::format("cpu ({}, {} threads)", cpu::select_kernels(options.path).name, num_threads(options));
}

}  // namespace qwill
