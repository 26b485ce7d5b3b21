// The CPU backend's inside: its buffers, and the work that several ops share. One class in several files, by subject:
// cpu_ops.cpp, cpu_attend.cpp (caches and attention), cpu_moe.cpp.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "base/cpu_features.h"
#include "base/error.h"
#include "base/thread_pool.h"
#include "cpu/cpu_ops.h"
#include "cpu/cpu_weight.h"
#include "cpu/dispatch.h"
#include "cpu/kv_layout.h"
#include "ops/host_draws.h"

namespace qwill::cpu {

constexpr int64_t kRowsPerTask = kPackRows;  // of row-wise work: norms, packing

// Memory that only grows, aligned to a cache line.
class Buffer {
 public:
  explicit Buffer(const MemoryPurpose& purpose) : purpose_(purpose) {}
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() {
    if (!purpose_.dry()) std::free(data_);
  }

  template <typename T>
  T* get(int64_t count) {
    const int64_t bytes = (count * static_cast<int64_t>(sizeof(T)) + 63) / 64 * 64;
    if (bytes > capacity_) grow(bytes);
    return static_cast<T*>(data_);
  }

 private:
  void grow(int64_t bytes) {
    if (purpose_.dry()) {
      data_ = MemoryLedger::nowhere();
    } else {
      std::free(data_);
      data_ = std::aligned_alloc(64, static_cast<size_t>(bytes));
      if (!data_) fail(ErrorKind::io, "out of memory: {} bytes for {}", bytes, purpose_.name);
    }
    purpose_.add(bytes - capacity_);
    capacity_ = bytes;
  }

  MemoryPurpose purpose_;
  void* data_ = nullptr;
  int64_t capacity_ = 0;
};

inline const CpuWeight& as_cpu(const PlacedWeight& weight) { return static_cast<const CpuWeight&>(weight); }
inline const CpuWeight& as_cpu(const Weight& weight) { return static_cast<const CpuWeight&>(*weight); }

// Packed activations that meet rows of one segment, and where their products go.
struct Product {
  const CpuWeight* weight;
  const CpuWeight::Segment* segment;
  const void* operand;
  int64_t num_rows;  // of the operand
  float* y;
  int64_t ldy;
  bool add;
  int64_t rows_per_task = 0;  // of the segment

  int64_t num_tasks() const { return (segment->rows + rows_per_task - 1) / rows_per_task; }
  // Outputs [first, first + count) of the segment. scratch: the thread's own, CpuWeight::scratch_bytes.
  void run(int64_t first, int64_t count, void* scratch) const {
    segment->kernel->run({segment->data + first * segment->row_bytes, count, weight->cols, operand, num_rows, y + first,
                          ldy, add, scratch, segment->panels ? codebooks(*segment->panels).data() : nullptr,
                          !cpu_features().follows_streams});
  }
  void run_task(int64_t task, void* scratch) const {
    const int64_t first = task * rows_per_task;
    run(first, std::min(rows_per_task, segment->rows - first), scratch);
  }
};

class CpuOps final : public Ops {
 public:
  explicit CpuOps(const CpuOptions& options)
      : kernels_(select_kernels(options.path)),
        ledger_(options.dry),
        num_threads_(num_threads(options)),
        pool_(options.dry ? 1 : num_threads_) {}

  // Sixteen bits beside weights that are rounded themselves.
  DType kv_dtype() const override { return any_rounded_ ? DType::f16 : DType::f32; }
  PagedKv allocate_kv(const KvGeometry& wanted) override;
  void free_kv(PagedKv& kv) override;

  Compute head_compute(Compute layers) const override { return layers; }
  bool takes(BlockFormat) const override { return true; }
  Compute block_compute() const override { return Compute::int8; }
  bool rehearse(bool on) override {
    rehearsing_ = on;
    return true;
  }

  void sample(const Tensor& logits, std::span<const SamplingRow> rows, int64_t num_drawable) override;
  std::vector<Draw> take_draws() override { return draws_.take(); }
  Tensor to_device(const Tensor& host) override { return host; }
  std::span<const float> to_host(const Tensor& t) override {
    return {t.row<const float>(0), static_cast<size_t>(t.rows * t.cols)};
  }
  int64_t owned_weight_bytes() const override { return owned_weight_bytes_; }
  std::vector<MemoryPool> memory() const override { return ledger_.pools(); }

 protected:
  Weight do_place(std::span<const WeightSource> sources, WeightUse use, Compute compute, const Shard& shard) override;

  void do_begin_step(const Batch& batch, const RopeSettings& rope) override;

  Tensor do_embed(const Batch& batch, const PlacedWeight& table) override;

  Tensor do_norm_linear(const Tensor& x, const Norm& norm, const PlacedWeight& weight) override;

  void do_linear_add(Tensor& x, const Tensor& a, const PlacedWeight& weight) override;

  Tensor do_norm_gated_mlp(const Tensor& x, const Norm& norm, const PlacedWeight& gate_up) override;

  Tensor do_attend(const Tensor& qkv, const Norm& q_norm, const Norm& k_norm, const Batch& batch,
                   const LayerKv& kv) override;
  void do_moe_add(Tensor& x, const Norm& norm, const MoeWeights& moe) override;

  Tensor do_take_rows(const Tensor& x, std::span<const int32_t> rows) override;

 private:
  static Tensor result(Buffer& buffer, int64_t rows, int64_t cols) {
    return {buffer.get<float>(rows * cols), rows, cols, DType::f32};
  }

  int64_t rows_per_task(const CpuWeight::Segment& segment) const { return task_rows(segment, num_threads_); }

  // Of a step's row t (queries, keys and values of all heads) what one KV head needs: its queries, normed and rotated,
  // to [H / KV][Dp], and its key and value to their slot, if there is one.
  void prepare_head(const float* row, int64_t num_heads, const Norm& q_norm, const Norm& k_norm, int64_t t,
                    int64_t kv_head, const KvLayout& layout, const int32_t* slot, float* queries);

  // Room of each thread for what a task needs for itself: made before the tasks run, which then find theirs.
  void make_scratch(int64_t floats) {
    constexpr int64_t kLine = 16;
    scratch_stride_ = std::max(scratch_stride_, (floats + kLine - 1) / kLine * kLine);
    scratch_data_ = scratch_.get<float>(num_threads_ * scratch_stride_);
  }
  float* scratch() const { return scratch_data_ + ThreadPool::current_thread() * scratch_stride_; }

  // The thread's room for expanded panels.
  void* expanded() const { return expanded_data_ + ThreadPool::current_thread() * expanded_stride_; }

  // f(first, count) for blocks of rows, in parallel where there are many.
  template <typename F>
  void for_row_blocks(int64_t rows, F&& f) {
    pool_.run((rows + kRowsPerTask - 1) / kRowsPerTask,
              [&](int64_t task) { f(task * kRowsPerTask, std::min(kRowsPerTask, rows - task * kRowsPerTask)); });
  }
  // f(t) for each row.
  template <typename F>
  void for_rows(int64_t rows, F&& f) {
    for_row_blocks(rows, [&](int64_t first, int64_t count) {
      for (int64_t t = first; t < first + count; ++t) f(t);
    });
  }

  // norm(x) as the operand that meets the weight.
  const void* pack_normed(const Tensor& x, const Norm& norm, const CpuWeight& weight);

  // y (+)= operand W^T over all segments of the weight.
  void linear(const void* operand, int64_t rows, const CpuWeight& weight, Tensor& y, bool add);

  void run_products(const std::vector<Product>& products);

  static int64_t gated_scratch(int64_t rows, int64_t count) { return 2 * rows * count; }
  // Columns [first, first + count) of act = silu(gate) * up, with gate in segment `gate` and up in the next.
  void gated_task(const CpuWeight& weight, size_t gate, const void* operand, int64_t rows, int64_t first, int64_t count,
                  float* act, int64_t act_cols);

  const Kernels& kernels_;
  MemoryLedger ledger_;
  int num_threads_;
  ThreadPool pool_;
  HostDraws draws_;
  bool rehearsing_ = false;
  bool any_rounded_ = false;  // some matrix was placed to be multiplied in less than f32
  int64_t owned_weight_bytes_ = 0;
  const MemoryPurpose activations_{ledger_, "activations"}, experts_{ledger_, "experts"};
  Buffer rope_cos_{activations_}, rope_sin_{activations_}, embed_{activations_}, gate_up_{activations_},
      gated_{activations_}, attend_{activations_}, take_rows_{activations_}, operand_{activations_},
      queries_{activations_}, attended_{activations_};
  Buffer norm_linear_{{ledger_, "logits"}};  // and queries, keys and values
  Buffer moe_logits_{experts_}, moe_normed_{experts_}, moe_act_{experts_}, moe_out_{experts_};
  Buffer parts_{{ledger_, "attention"}};
  Buffer scratch_{{ledger_, "thread_scratch"}};
  float* scratch_data_ = nullptr;  // [num_threads_, scratch_stride_]
  int64_t scratch_stride_ = 0;
  Buffer expanded_{{ledger_, "thread_scratch"}};
  std::byte* expanded_data_ = nullptr;  // [num_threads_, expanded_stride_], as the weights placed so far need
  int64_t expanded_stride_ = 0;
  int64_t half_dim_ = 0;
  float* cos_ = nullptr;  // [T, half_dim]
  float* sin_ = nullptr;
};

}  // namespace qwill::cpu
