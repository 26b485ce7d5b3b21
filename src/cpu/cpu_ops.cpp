#include "cpu/cpu_ops.h"

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "base/cpu_features.h"
#include "base/error.h"
#include "base/thread_pool.h"
#include "cpu/cpu_weight.h"
#include "cpu/dispatch.h"
#include "cpu/kv_layout.h"
#include "ops/host_draws.h"
#include "ops/reference.h"

namespace qwill {
namespace cpu {
namespace {

constexpr int64_t kRowsPerTask = kPackRows;  // of row-wise work: norms, packing
constexpr int64_t kAttendItems = 32;         // queries per attention task

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

const CpuWeight& as_cpu(const PlacedWeight& weight) { return static_cast<const CpuWeight&>(weight); }
const CpuWeight& as_cpu(const Weight& weight) { return static_cast<const CpuWeight&>(*weight); }

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
  // Outputs [first, first + count) of the segment.
  void run(int64_t first, int64_t count) const {
    weight->kernel->run(
        {segment->data + first * weight->row_bytes(), count, weight->cols, operand, num_rows, y + first, ldy, add});
  }
  void run_task(int64_t task) const {
    const int64_t first = task * rows_per_task;
    run(first, std::min(rows_per_task, segment->rows - first));
  }
};

class CpuOps final : public Ops {
 public:
  explicit CpuOps(const CpuOptions& options)
      : kernels_(select_kernels(options.path)),
        ledger_(options.dry),
        num_threads_(num_threads(options)),
        pool_(options.dry ? 1 : num_threads_) {}

  PagedKv allocate_kv(const KvGeometry& geometry) override {
    CHECK(geometry.page_size % 64 == 0 && kTileKeys % geometry.page_size == 0, "page size is 64 or 128");
    if (geometry.dtype != DType::f32)
      fail_unsupported("--kv-dtype {}: on the CPU the cache is f32", dtype_name(geometry.dtype));
    if (geometry.padded_head_dim() > kMaxHeadDim)
      fail_unsupported("head_dim is {}: the CPU kernels take at most {}", geometry.head_dim, kMaxHeadDim);
    ledger_.add("cache", geometry.total_bytes());
    if (ledger_.dry()) return {geometry, MemoryLedger::nowhere()};
    // Zero pages that become resident when they are first written.
    void* data = ::mmap(nullptr, static_cast<size_t>(geometry.total_bytes()), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED)
      fail(ErrorKind::io, "cannot reserve {} bytes for the key/value cache: lower --max-seq-len",
           geometry.total_bytes());
    return {geometry, data};
  }
  void free_kv(PagedKv& kv) override {
    if (!kv.data) return;
    ledger_.add("cache", -kv.geometry.total_bytes());
    if (!ledger_.dry()) ::munmap(kv.data, static_cast<size_t>(kv.geometry.total_bytes()));
    kv = {};
  }

  bool rehearse(bool on) override {
    rehearsing_ = on;
    return true;
  }

  void sample(const Tensor& logits, std::span<const SamplingRow> rows, int64_t num_drawable) override {
    if (rehearsing_) return;
    std::vector<Draw> draws(rows.size());
    pool_.run(logits.rows, [&](int64_t r) {
      const std::span<const float> row(logits.row<const float>(r), static_cast<size_t>(logits.cols));
      draws[static_cast<size_t>(r)] = sample_row(row, rows[static_cast<size_t>(r)], num_drawable);
    });
    draws_.push(std::move(draws));
  }
  std::vector<Draw> take_draws() override { return draws_.take(); }
  Tensor to_device(const Tensor& host) override { return host; }
  std::span<const float> to_host(const Tensor& t) override {
    return {t.row<const float>(0), static_cast<size_t>(t.rows * t.cols)};
  }
  int64_t owned_weight_bytes() const override { return owned_weight_bytes_; }
  std::vector<MemoryPool> memory() const override { return ledger_.pools(); }

 protected:
  Weight do_place(std::span<const WeightSource> sources, WeightUse use, Compute compute, const Shard&) override {
    auto weight = place_weight(kernels_, sources, use, compute, ledger_.dry());
    owned_weight_bytes_ += static_cast<int64_t>(weight->owned.size() + weight->vector.size() * sizeof(float));
    ledger_.add("weight_copies", weight->owned_bytes);
    return weight;
  }

  void do_begin_step(const Batch& batch, const RopeSettings& rope) override {
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

  Tensor do_embed(const Batch& batch, const PlacedWeight& table) override {
    Tensor x = result(embed_, batch.num_rows(), table.cols);
    if (rehearsing_) return x;
    for_rows(x.rows, [&](int64_t t) { as_cpu(table).read_row(draws_.token(batch, t), x.row<float>(t)); });
    return x;
  }

  Tensor do_norm_linear(const Tensor& x, const Norm& norm, const PlacedWeight& w) override {
    const CpuWeight& weight = as_cpu(w);
    Tensor y = result(norm_linear_, x.rows, weight.rows);
    linear(pack_normed(x, norm, weight), x.rows, weight, y, /*add=*/false);
    return y;
  }

  void do_linear_add(Tensor& x, const Tensor& a, const PlacedWeight& w) override {
    const CpuWeight& weight = as_cpu(w);
    std::byte* operand = operand_.get<std::byte>(a.rows * a.cols * weight.kernel->operand_bytes);
    if (rehearsing_) return;
    for_row_blocks(a.rows, [&](int64_t first, int64_t count) {
      weight.kernel->pack(a.row<float>(first), a.cols, first, count, a.rows, operand);
    });
    linear(operand, a.rows, weight, x, /*add=*/true);
  }

  Tensor do_norm_gated_mlp(const Tensor& x, const Norm& norm, const PlacedWeight& gate_up) override {
    const CpuWeight& weight = as_cpu(gate_up);
    CHECK(weight.segments.size() == 2, "gate and up are two segments");
    Tensor act = result(gated_, x.rows, weight.rows / 2);
    const void* operand = pack_normed(x, norm, weight);
    const int64_t chunk = rows_per_task(weight, act.cols);
    make_scratch(gated_scratch(x.rows, std::min(chunk, act.cols)));
    if (rehearsing_ || x.rows == 0) return act;
    pool_.run((act.cols + chunk - 1) / chunk, [&](int64_t task) {
      gated_task(weight, 0, operand, x.rows, task * chunk, std::min(chunk, act.cols - task * chunk), act.row<float>(0),
                 act.cols);
    });
    return act;
  }

  Tensor do_attend(const Tensor& qkv, const Norm& q_norm, const Norm& k_norm, const Batch& batch,
                   const LayerKv& kv) override;
  void do_moe_add(Tensor& x, const Norm& norm, const MoeWeights& moe) override;

  Tensor do_take_rows(const Tensor& x, std::span<const int32_t> rows) override {
    Tensor y = result(take_rows_, static_cast<int64_t>(rows.size()), x.cols);
    if (rehearsing_) return y;
    for (int64_t r = 0; r < y.rows; ++r)
      std::memcpy(y.row<float>(r), x.row<float>(rows[static_cast<size_t>(r)]), static_cast<size_t>(x.cols) * 4);
    return y;
  }

 private:
  static Tensor result(Buffer& buffer, int64_t rows, int64_t cols) {
    return {buffer.get<float>(rows * cols), rows, cols, DType::f32};
  }

  int64_t rows_per_task(const CpuWeight& weight, int64_t segment_rows) const {
    return task_rows(weight, segment_rows, num_threads_);
  }

  // Room of each thread for what a task needs for itself: made before the tasks run, which then find theirs.
  void make_scratch(int64_t floats) {
    constexpr int64_t kLine = 16;
    scratch_stride_ = std::max(scratch_stride_, (floats + kLine - 1) / kLine * kLine);
    scratch_data_ = scratch_.get<float>(num_threads_ * scratch_stride_);
  }
  float* scratch() const { return scratch_data_ + ThreadPool::current_thread() * scratch_stride_; }

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

  const void* pack_normed(const Tensor& x, const Norm& norm, const CpuWeight& weight) {
    std::byte* operand = operand_.get<std::byte>(x.rows * x.cols * weight.kernel->operand_bytes);
    make_scratch(std::min(kRowsPerTask, x.rows) * x.cols);
    if (rehearsing_) return operand;
    for_row_blocks(x.rows, [&](int64_t first, int64_t count) {
      float* normed = scratch();
      for (int64_t i = 0; i < count; ++i)
        kernels_.rms_norm(x.row<float>(first + i), as_cpu(norm.weight).vector.data(), x.cols, norm.eps,
                          normed + i * x.cols);
      weight.kernel->pack(normed, x.cols, first, count, x.rows, operand);
    });
    return operand;
  }

  // y (+)= operand W^T over all segments of the weight.
  void linear(const void* operand, int64_t rows, const CpuWeight& weight, Tensor& y, bool add) {
    if (rehearsing_) return;
    std::vector<Product> products;
    int64_t first = 0;
    for (const CpuWeight::Segment& segment : weight.segments) {
      products.push_back({&weight, &segment, operand, rows, y.row<float>(0) + first, y.cols, add,
                          rows_per_task(weight, segment.rows)});
      first += segment.rows;
    }
    run_products(products);
  }

  void run_products(const std::vector<Product>& products) {
    int64_t num_tasks = 0;
    for (const Product& product : products) num_tasks += product.num_tasks();
    pool_.run(num_tasks, [&](int64_t task) {
      advance();
      auto product = products.begin();
      while (task >= product->num_tasks()) task -= (product++)->num_tasks();
      product->run_task(task);
    });
  }

  static int64_t gated_scratch(int64_t rows, int64_t count) { return 2 * rows * count; }
  // Columns [first, first + count) of act = silu(gate) * up, with gate in segment `gate` and up in the next.
  void gated_task(const CpuWeight& weight, size_t gate, const void* operand, int64_t rows, int64_t first, int64_t count,
                  float* act, int64_t act_cols) {
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
          .run(first, count);
    for (int64_t t = 0; t < rows; ++t)
      kernels_.silu_mul(products + t * count, products + (rows + t) * count, count, act + t * act_cols + first);
  }

  const Kernels& kernels_;
  MemoryLedger ledger_;
  int num_threads_;
  ThreadPool pool_;
  HostDraws draws_;
  bool rehearsing_ = false;
  int64_t owned_weight_bytes_ = 0;
  const MemoryPurpose activations_{ledger_, "activations"}, experts_{ledger_, "experts"};
  Buffer rope_cos_{activations_}, rope_sin_{activations_}, embed_{activations_}, gated_{activations_},
      attend_{activations_}, take_rows_{activations_}, operand_{activations_}, queries_{activations_},
      attended_{activations_};
  Buffer norm_linear_{{ledger_, "logits"}};  // and queries, keys and values
  Buffer moe_logits_{experts_}, moe_normed_{experts_}, moe_act_{experts_}, moe_out_{experts_};
  Buffer scratch_{{ledger_, "thread_scratch"}};
  float* scratch_data_ = nullptr;  // [num_threads_, scratch_stride_]
  int64_t scratch_stride_ = 0;
  int64_t half_dim_ = 0;
  float* cos_ = nullptr;  // [T, half_dim]
  float* sin_ = nullptr;
};

// The queries of a step lie as [KV][T][H / KV][Dp], so that all that share a KV head's pages are neighbours.
Tensor CpuOps::do_attend(const Tensor& qkv, const Norm& q_norm, const Norm& k_norm, const Batch& batch,
                         const LayerKv& kv) {
  const KvLayout layout(kv);
  const int64_t D = layout.geometry.head_dim, dp = layout.dim(), KV = layout.geometry.num_kv_heads;
  const int64_t T = qkv.rows, H = qkv.cols / D - 2 * KV, group = H / KV, page_size = layout.geometry.page_size;
  float* queries = queries_.get<float>(T * H * dp);
  float* attended = attended_.get<float>(T * H * dp);
  Tensor out = result(attend_, T, H * D);
  const int64_t rows_per_task = std::max<int64_t>(1, kAttendItems / group);
  make_scratch(std::max(dp, attend_scratch_floats(rows_per_task * group, dp)));
  if (rehearsing_) return out;

  for_rows(T, [&](int64_t t) {
    const float* cos = cos_ + t * half_dim_;
    const float* sin = sin_ + t * half_dim_;
    float* head = scratch();
    std::fill(head + D, head + dp, 0.0f);
    const auto norm_rotate = [&](const float* x, const Norm& norm) {
      kernels_.rms_norm(x, as_cpu(norm.weight).vector.data(), D, norm.eps, head);
      for (int64_t i = 0; i < D / 2; ++i) {
        const float a = head[i], b = head[i + D / 2];
        head[i] = a * cos[i] - b * sin[i];
        head[i + D / 2] = b * cos[i] + a * sin[i];
      }
    };
    for (int64_t h = 0; h < H; ++h) {
      norm_rotate(qkv.row<float>(t) + h * D, q_norm);
      std::memcpy(queries + (((h / group) * T + t) * group + h % group) * dp, head, static_cast<size_t>(dp) * 4);
    }
    const int64_t slot = batch.slots[static_cast<size_t>(t)], page = slot / page_size, entry = slot % page_size;
    for (int64_t h = 0; h < KV; ++h) {
      norm_rotate(qkv.row<float>(t) + (H + h) * D, k_norm);
      float* keys = layout.keys(page, h) + entry;
      for (int64_t d = 0; d < D; ++d) keys[d * page_size] = head[d];
      std::memcpy(layout.values(page, h) + entry * dp, qkv.row<float>(t) + (H + KV + h) * D,
                  static_cast<size_t>(D) * 4);
    }
  });

  // Tasks: up to kAttendItems queries of one sequence and one KV head; later rows (longer) first.
  struct Task {
    int64_t sequence, first_row, num_rows;
  };
  std::vector<Task> tasks;
  for (int64_t s = 0; s < batch.num_sequences(); ++s) {
    const int64_t first = batch.row_begin[static_cast<size_t>(s)], last = batch.row_begin[static_cast<size_t>(s) + 1];
    for (int64_t t = first; t < last; t += rows_per_task) tasks.push_back({s, t, std::min(rows_per_task, last - t)});
  }
  std::ranges::reverse(tasks);
  pool_.run(static_cast<int64_t>(tasks.size()) * KV, [&](int64_t index) {
    advance();
    const Task& task = tasks[static_cast<size_t>(index / KV)];
    const int64_t kv_head = index % KV, num_items = task.num_rows * group;
    const int32_t* pages = batch.pages(task.sequence);
    const int64_t num_pages = batch.positions[static_cast<size_t>(task.first_row + task.num_rows - 1)] / page_size + 1;
    thread_local std::vector<const float*> key_pages, value_pages;
    thread_local std::vector<int32_t> positions;
    key_pages.clear();
    value_pages.clear();
    positions.clear();
    for (int64_t p = 0; p < num_pages; ++p) {
      key_pages.push_back(layout.keys(pages[p], kv_head));
      value_pages.push_back(layout.values(pages[p], kv_head));
    }
    for (int64_t i = 0; i < num_items; ++i)
      positions.push_back(batch.positions[static_cast<size_t>(task.first_row + i / group)]);
    const int64_t offset = (kv_head * T + task.first_row) * group * dp;
    kernels_.attend({queries + offset, positions.data(), num_items, key_pages.data(), value_pages.data(), page_size, dp,
                     1.0f / std::sqrt(static_cast<float>(D)), attended + offset, scratch()});
    for (int64_t i = 0; i < num_items; ++i)
      std::memcpy(out.row<float>(task.first_row + i / group) + (kv_head * group + i % group) * D,
                  attended + offset + i * dp, static_cast<size_t>(D) * 4);
  });
  return out;
}

// Each (row, chosen expert) pair is a slot; slots of one expert are neighbours, experts ascending.
void CpuOps::do_moe_add(Tensor& x, const Norm& norm, const MoeWeights& moe) {
  const CpuWeight &router = as_cpu(moe.router), &gate_up = as_cpu(moe.gate_up), &down = as_cpu(moe.down);
  CHECK(static_cast<int64_t>(gate_up.segments.size()) == 2 * moe.num_experts &&
            static_cast<int64_t>(down.segments.size()) == moe.num_experts,
        "experts are segments");
  const int64_t T = x.rows, C = x.cols, F = down.cols, slots = T * moe.num_experts_per_tok;

  Tensor normed = result(moe_normed_, T, C), logits = result(moe_logits_, T, moe.num_experts);
  Tensor act = result(moe_act_, slots, F), out = result(moe_out_, slots, C);
  const int64_t chunk = rows_per_task(gate_up, F), chunks = (F + chunk - 1) / chunk;
  const auto operand_for = [&](const CpuWeight& weight) {
    return operand_.get<std::byte>(slots * weight.cols * weight.kernel->operand_bytes);
  };
  operand_for(gate_up), operand_for(down);
  // All rows may choose the same expert.
  make_scratch(std::max(kPackRows * std::max(C, F), gated_scratch(T, std::min(chunk, F))));
  if (rehearsing_) return;

  for_rows(T, [&](int64_t t) {
    kernels_.rms_norm(x.row<float>(t), as_cpu(norm.weight).vector.data(), C, norm.eps, normed.row<float>(t));
  });
  linear(normed.data, T, router, logits, false);  // an f32 operand is the rows as they are

  struct Slot {
    int64_t row;
    float share;
  };
  std::vector<std::vector<Slot>> chosen(static_cast<size_t>(moe.num_experts));
  for (int64_t t = 0; t < T; ++t)
    for (const auto& [expert, share] : reference::route({logits.row<float>(t), static_cast<size_t>(moe.num_experts)},
                                                        moe.num_experts_per_tok, moe.norm_topk_prob))
      chosen[static_cast<size_t>(expert)].push_back({t, share});

  struct Expert {
    size_t id;
    int64_t first_slot, num_rows;
  };
  std::vector<Expert> experts;
  std::vector<std::pair<const Expert*, const Slot*>> by_slot(static_cast<size_t>(slots));
  int64_t first_slot = 0;
  for (size_t e = 0; e < chosen.size(); ++e) {
    if (chosen[e].empty()) continue;
    experts.push_back({e, first_slot, static_cast<int64_t>(chosen[e].size())});
    first_slot += experts.back().num_rows;
  }
  for (const Expert& e : experts)
    for (int64_t i = 0; i < e.num_rows; ++i)
      by_slot[static_cast<size_t>(e.first_slot + i)] = {&e, &chosen[e.id][static_cast<size_t>(i)]};

  // gate, up and their product
  std::vector<std::pair<const Expert*, int64_t>> blocks;  // an expert and the first of up to kPackRows of its slots
  for (const Expert& e : experts)
    for (int64_t first = 0; first < e.num_rows; first += kPackRows) blocks.push_back({&e, first});
  // Packs each expert's rows as an operand of its own; source(slot) is a row of weight.cols.
  const auto pack = [&](const CpuWeight& weight, auto source) {
    const int64_t row_bytes = weight.cols * weight.kernel->operand_bytes;
    std::byte* operand = operand_for(weight);
    pool_.run(static_cast<int64_t>(blocks.size()), [&](int64_t b) {
      const auto& [e, first] = blocks[static_cast<size_t>(b)];
      const int64_t count = std::min(kPackRows, e->num_rows - first);
      float* rows = scratch();
      for (int64_t i = 0; i < count; ++i)
        std::memcpy(rows + i * weight.cols, source(e->first_slot + first + i), static_cast<size_t>(weight.cols) * 4);
      weight.kernel->pack(rows, weight.cols, first, count, e->num_rows, operand + e->first_slot * row_bytes);
    });
    return operand;
  };
  const std::byte* operand =
      pack(gate_up, [&](int64_t slot) { return normed.row<float>(by_slot[static_cast<size_t>(slot)].second->row); });
  pool_.run(static_cast<int64_t>(experts.size()) * chunks, [&](int64_t task) {
    const Expert& e = experts[static_cast<size_t>(task / chunks)];
    const int64_t first = task % chunks * chunk;
    gated_task(gate_up, 2 * e.id, operand + e.first_slot * C * gate_up.kernel->operand_bytes, e.num_rows, first,
               std::min(chunk, F - first), act.row<float>(e.first_slot), F);
  });

  // down, then the sum of each row's experts, ascending
  operand = pack(down, [&](int64_t slot) { return act.row<float>(slot); });
  std::vector<Product> products;
  for (const Expert& e : experts)
    products.push_back({&down, &down.segments[e.id], operand + e.first_slot * F * down.kernel->operand_bytes,
                        e.num_rows, out.row<float>(e.first_slot), C, false, rows_per_task(down, C)});
  run_products(products);
  std::vector<std::vector<int64_t>> slots_of_row(static_cast<size_t>(T));
  for (int64_t slot = 0; slot < slots; ++slot)
    slots_of_row[static_cast<size_t>(by_slot[static_cast<size_t>(slot)].second->row)].push_back(slot);
  for_rows(T, [&](int64_t t) {
    float* sum = scratch();
    std::fill(sum, sum + C, 0.0f);
    for (const int64_t slot : slots_of_row[static_cast<size_t>(t)])
      kernels_.add_scaled(out.row<float>(slot), by_slot[static_cast<size_t>(slot)].second->share, C, sum);
    kernels_.add_scaled(sum, 1.0f, C, x.row<float>(t));
  });
}

}  // namespace
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

int num_threads(const CpuOptions& options) { return options.num_threads > 0 ? options.num_threads : available_cpus(); }

std::string cpu_device_name(const CpuOptions& options) {
  return fmt::format("cpu ({}, {} threads)", cpu::select_kernels(options.path).name, num_threads(options));
}

}  // namespace qwill
