// Caches and attention.
#include <sys/mman.h>

#include <cmath>
#include <cstring>

#include "cpu/backend.h"
#include "cpu/kv_layout.h"

namespace qwill::cpu {
namespace {

constexpr int64_t kAttendItems = 32;  // queries per task

}  // namespace

PagedKv CpuOps::allocate_kv(const KvGeometry& geometry) {
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
    fail(ErrorKind::io, "cannot reserve {} bytes for the key/value cache: lower --max-seq-len", geometry.total_bytes());
  return {geometry, data};
}

void CpuOps::free_kv(PagedKv& kv) {
  if (!kv.data) return;
  ledger_.add("cache", -kv.geometry.total_bytes());
  if (!ledger_.dry()) ::munmap(kv.data, static_cast<size_t>(kv.geometry.total_bytes()));
  kv = {};
}

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

}  // namespace qwill::cpu
