// Caches and attention.
#include <sys/mman.h>

#include <atomic>
#include <cmath>
#include <cstring>

#include "cpu/backend.h"
#include "cpu/kv_layout.h"

namespace qwill::cpu {
namespace {

constexpr int64_t kAttendItems = 36;    // queries per task
constexpr int64_t kTasksPerThread = 4;  // wanted where sequences are cut

constexpr int64_t groups_of(int64_t keys) { return (keys + kTileKeys * kGroupTiles - 1) / (kTileKeys * kGroupTiles); }

// Queries of one sequence and one KV head, against all that they see or, where few tasks are long, some groups of it.
struct Piece {
  int64_t sequence, first_row, num_rows;
  int64_t kv_head = 0;
  int64_t first_group = 0, last_group = 0;
  float* parts = nullptr;         // of all groups
  int64_t num_groups = 0;         // of all pieces
  int32_t* unfinished = nullptr;  // pieces; who finishes last merges the groups
};

}  // namespace

PagedKv CpuOps::allocate_kv(const KvGeometry& wanted) {
  KvGeometry geometry = wanted;
  CHECK(geometry.page_size % 64 == 0 && kTileKeys % geometry.page_size == 0, "page size is 64 or 128");
  if (geometry.dtype == DType::i8) geometry.head_alignment = kKvScaleDims;
  CHECK(geometry.dtype == DType::f32 || geometry.dtype == DType::f16 || geometry.dtype == DType::bf16 ||
            geometry.dtype == DType::i8,
        "the cache has a type that kernels take");
  if (geometry.padded_head_dim() > kMaxHeadDim)
    fail_unsupported("head_dim is {}: the CPU kernels take at most {}", geometry.head_dim, kMaxHeadDim);
  ledger_.add("cache", geometry.total_bytes());
  if (ledger_.dry()) return {geometry, MemoryLedger::nowhere()};
  // Zero pages that become resident when they are first written.
  void* data = ::mmap(nullptr, static_cast<size_t>(geometry.total_bytes()), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED)
    fail(ErrorKind::io, "cannot reserve {} bytes for the key/value cache: lower --max-seq-len", geometry.total_bytes());
  // Huge pages, where the system has some: decoding at length then misses in the TLB less often.
  ::madvise(data, static_cast<size_t>(geometry.total_bytes()), MADV_HUGEPAGE);
  return {geometry, data};
}

void CpuOps::free_kv(PagedKv& kv) {
  if (!kv.data) return;
  ledger_.add("cache", -kv.geometry.total_bytes());
  if (!ledger_.dry()) ::munmap(kv.data, static_cast<size_t>(kv.geometry.total_bytes()));
  kv = {};
}

void CpuOps::prepare_head(const float* row, int64_t num_heads, const Norm& q_norm, const Norm& k_norm, int64_t t,
                          int64_t kv_head, const KvLayout& layout, const int32_t* slot, float* queries) {
  const int64_t D = layout.geometry.head_dim, dp = layout.dim(), KV = layout.geometry.num_kv_heads;
  const int64_t group = num_heads / KV;
  const float* cos = cos_ + t * half_dim_;
  const float* sin = sin_ + t * half_dim_;
  const auto norm_rotate = [&](int64_t head, const Norm& norm, float* out) {
    kernels_.rms_norm(row + head * D, as_cpu(norm.weight).vector.data(), D, norm.eps, out);
    for (int64_t i = 0; i < D / 2; ++i) {
      const float a = out[i], b = out[i + D / 2];
      out[i] = a * cos[i] - b * sin[i];
      out[i + D / 2] = b * cos[i] + a * sin[i];
    }
    std::fill(out + D, out + dp, 0.0f);
  };
  for (int64_t g = 0; g < group; ++g) norm_rotate(kv_head * group + g, q_norm, queries + g * dp);
  if (!slot) return;
  float* key = scratch();
  float* value = key + dp;
  norm_rotate(num_heads + kv_head, k_norm, key);
  std::memcpy(value, row + (num_heads + KV + kv_head) * D, static_cast<size_t>(D) * 4);
  std::fill(value + D, value + dp, 0.0f);
  kernels_.store_kv(key, value, layout.slot(*slot, kv_head));
}

Tensor CpuOps::do_attend(const Tensor& qkv, const Norm& q_norm, const Norm& k_norm, const Batch& batch,
                         const LayerKv& kv) {
  const KvLayout layout(kv);
  const int64_t D = layout.geometry.head_dim, dp = layout.dim(), KV = layout.geometry.num_kv_heads;
  const int64_t T = qkv.rows, H = qkv.cols / D - 2 * KV, group = H / KV;
  // The queries of a step lie as [KV][T][H / KV][Dp], so that all that share a KV head's pages are neighbours.
  float* queries = queries_.get<float>(T * H * dp);
  float* attended = attended_.get<float>(T * H * dp);
  Tensor out = result(attend_, T, H * D);
  const int64_t rows_per_task = std::max<int64_t>(1, kAttendItems / group);
  make_scratch((2 + group) * dp + attend_scratch_floats(rows_per_task * group, dp));

  // Tasks of one row may be cut at the borders of groups: each that is more than its share of all threads' work, so
  // fewer than there are shares.
  const int64_t num_shares = num_threads_ == 1 ? 0 : kTasksPerThread * num_threads_;
  const int64_t longest = *std::ranges::max_element(batch.seq_lens);
  const int64_t group_floats = group * partial_floats(dp);
  float* parts =
      parts_.get<float>(std::min(batch.num_sequences() * KV, num_shares) * groups_of(longest) * group_floats);
  if (rehearsing_) return out;

  // Queries of row t and one KV head; its key and value are stored if they are to be.
  const auto prepare = [&](int64_t t, int64_t kv_head, bool store, float* to) {
    const int32_t* slot = store ? &batch.slots[static_cast<size_t>(t)] : nullptr;
    prepare_head(qkv.row<float>(t), H, q_norm, k_norm, t, kv_head, layout, slot, to);
  };
  // A row that is all there is of its sequence needs no other row's keys: whoever attends to the last of its keys has
  // just stored it.
  const bool single_rows = T == batch.num_sequences();
  if (!single_rows)
    for_rows(T, [&](int64_t t) {
      for (int64_t h = 0; h < KV; ++h) prepare(t, h, true, queries + (h * T + t) * group * dp);
    });

  // Later rows (longer) first.
  std::vector<Piece> pieces;
  int64_t work = 0;
  const auto keys_of = [&](const Piece& task) {
    return batch.positions[static_cast<size_t>(task.first_row + task.num_rows - 1)] + int64_t{1};
  };
  std::vector<Piece> tasks;
  for (int64_t s = 0; s < batch.num_sequences(); ++s) {
    const int64_t first = batch.row_begin[static_cast<size_t>(s)], last = batch.row_begin[static_cast<size_t>(s) + 1];
    for (int64_t t = first; t < last; t += rows_per_task) {
      tasks.push_back({.sequence = s, .first_row = t, .num_rows = std::min(rows_per_task, last - t)});
      work += KV * tasks.back().num_rows * keys_of(tasks.back());
    }
  }
  std::ranges::reverse(tasks);
  std::vector<int32_t> unfinished(static_cast<size_t>(num_shares));
  int32_t* next_unfinished = unfinished.data();
  for (Piece& task : tasks) {
    task.num_groups = groups_of(keys_of(task));
    const int64_t wanted =
        task.num_rows > 1 ? 1 : std::clamp((keys_of(task) * num_shares + work - 1) / work, int64_t{1}, task.num_groups);
    for (task.kv_head = 0; task.kv_head < KV; ++task.kv_head) {
      if (wanted > 1) {
        task.parts = parts;
        parts += task.num_groups * group_floats;
        task.unfinished = next_unfinished++;
        *task.unfinished = static_cast<int32_t>(wanted);
      }
      for (int64_t i = 0; i < wanted; ++i) {
        task.first_group = task.num_groups * i / wanted;
        task.last_group = task.num_groups * (i + 1) / wanted;
        pieces.push_back(task);
      }
    }
  }
  pool_.run(static_cast<int64_t>(pieces.size()), [&](int64_t index) {
    advance();
    const Piece& piece = pieces[static_cast<size_t>(index)];
    const int64_t num_items = piece.num_rows * group;
    thread_local std::vector<int32_t> positions;
    positions.clear();
    for (int64_t i = 0; i < num_items; ++i)
      positions.push_back(batch.positions[static_cast<size_t>(piece.first_row + i / group)]);
    const int64_t offset = (piece.kv_head * T + piece.first_row) * group * dp;
    float* own = scratch() + 2 * dp;
    if (single_rows) prepare(piece.first_row, piece.kv_head, piece.last_group == piece.num_groups, own);
    kernels_.attend({single_rows ? own : queries + offset, positions.data(), num_items,
                     layout.pages(batch.pages(piece.sequence), piece.kv_head), 1.0f / std::sqrt(static_cast<float>(D)),
                     piece.first_group, piece.last_group, own + group * dp, attended + offset, piece.parts});
    if (piece.parts) {
      if (std::atomic_ref(*piece.unfinished).fetch_sub(1, std::memory_order_acq_rel) > 1) return;
      for (int64_t i = 0; i < num_items; ++i)
        kernels_.merge_groups(piece.parts + i * partial_floats(dp), group_floats, piece.num_groups, dp,
                              attended + offset + i * dp);
    }
    for (int64_t i = 0; i < num_items; ++i)
      std::memcpy(out.row<float>(piece.first_row + i / group) + (piece.kv_head * group + i % group) * D,
                  attended + offset + i * dp, static_cast<size_t>(D) * 4);
  });
  return out;
}

}  // namespace qwill::cpu
