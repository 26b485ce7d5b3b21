// Attention over the paged cache (ops.h, attend): what the launchers take. A step's rows are split in two: sequences
// with one row go to attend_decode, which does everything; all others go to rope_and_store, then attend_prefill (or
// attend_portable, which runs on any card and takes decode rows as well). A row's bits are the same on every path.
//
// Pages of bf16 or e4m3 (layout.h). Of e4m3 keys and values are rounded to nearest, ties to even, beyond 448 to 448;
// they and the queries meet as f16, and so do probabilities and values.
//
// f32 (exactness): rope_and_store_f32, then attend_f32 for all rows. Its pages have the shape of KvLayout in f32
// without a swizzle: [page][kv head][keys, values][page_size][padded_dim].
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <span>
#include <vector>

#include "cuda/layout.h"

namespace qwill::cuda {

// Pointers are to device memory; index arrays are those of ops/batch.h. head_dim <= 128 and even, group = num_heads /
// num_kv_heads <= 16, page_size 64 or 128, kv.padded_dim 64 or 128.
struct AttendArgs {
  int32_t num_rows = 0;
  int32_t num_sequences = 0;
  int32_t num_heads = 0;
  int32_t num_kv_heads = 0;
  int32_t head_dim = 0;

  const float* qkv = nullptr;  // [T, (H + 2 KV) D]
  int64_t ld_qkv = 0;
  const float* q_norm = nullptr;  // [D]
  const float* k_norm = nullptr;
  float norm_eps = 1e-6f;
  const float* cos = nullptr;  // [T, D / 2]
  const float* sin = nullptr;

  const int32_t* positions = nullptr;   // [T]
  const int32_t* slots = nullptr;       // [T]; -1: the row's key and value are not stored
  const int32_t* row_begin = nullptr;   // [S + 1]
  const int32_t* seq_lens = nullptr;    // [S]; 0: padding, left alone or zeros
  const int32_t* page_table = nullptr;  // [S, max_pages], every entry a page that exists
  int32_t max_pages = 0;
  KvLayout kv;

  void* q = nullptr;    // [T, H, padded_dim] bf16, f16 or f32: between rope_and_store and the attention
  void* out = nullptr;  // [T, ld_out] bf16, or f32 in attend_f32; columns from H D on become zero
  int64_t ld_out = 0;

  QWILL_HOST_DEVICE constexpr int32_t group() const { return num_heads / num_kv_heads; }
};

// Decode: one row for each of num_sequences sequences, which need not fill the launch.
struct DecodePlan {
  const int32_t* sequences = nullptr;  // [num_sequences], -1: none; null: 0, 1, 2, …
  int32_t num_sequences = 0;
  int32_t max_tiles = 0;         // of the longest sequence
  int32_t tiles_per_block = 8;   // 1, 2, 4 or 8
  bool all_groups = false;       // with 8: a block takes one group of tiles after another, all of them
  int32_t sequence_blocks = 0;   // else, if not 0: so many blocks, a cluster, share all tiles of a sequence evenly
  bool reads_ahead = false;      // all kernels but the last have ended: only args.qkv has to be waited for
  uint32_t* counters = nullptr;  // [num_sequences * KV], zero before the first launch; every launch leaves them so
  float* partials = nullptr;     // decode_partial_bytes

  // Tiles that sequence_blocks can share: their pages are a warp's, and their parts lie in one block's shared memory.
  static constexpr int32_t kMostSequenceTiles = 16;
  static constexpr int32_t kMostSequenceBlocks = 8;  // of a cluster on any card

  // A group's tiles, or with sequence_blocks all, are shared by this many blocks, a cluster.
  int32_t blocks_per_cluster() const;
  int32_t max_groups() const;
};
// The split that fills a card of that many multiprocessors; pointers are left to the caller.
DecodePlan plan_decode(const AttendArgs& args, int32_t num_sequences, int64_t max_context, int32_t multiprocessors);
int64_t decode_partial_bytes(const AttendArgs& args, const DecodePlan& plan);
// A part's row in shared and in global memory: o, m, l, and what keeps rows apart in the banks.
constexpr int32_t part_row_floats(int32_t padded_dim) { return padded_dim + 8; }

// Prefill: rows first_row … of a sequence, as many as query_tile_rows says.
struct QueryTile {
  int32_t sequence = -1;  // -1: none
  int32_t first_row = 0;
};
// kQueryRows (row, head of the group) pairs share a block's keys and values.
constexpr int32_t kQueryRows = 128;
constexpr int32_t query_tile_rows(int32_t group) { return kQueryRows / group; }
// The tiles of all sequences with at least min_rows rows (2: those that attend_decode does not take), those with most
// keys first.
std::vector<QueryTile> list_query_tiles(std::span<const int32_t> row_begin, std::span<const int32_t> seq_lens,
                                        int32_t group, int32_t min_rows);

cudaError_t attend_decode(const AttendArgs& args, const DecodePlan& plan, cudaStream_t stream);

// Norms and rotates queries into args.q and keys into their pages, copies values to theirs; all rows.
cudaError_t rope_and_store(const AttendArgs& args, cudaStream_t stream);
cudaError_t rope_and_store_f32(const AttendArgs& args, cudaStream_t stream);

// `tiles` in device memory.
cudaError_t attend_prefill(const AttendArgs& args, const QueryTile* tiles, int32_t num_tiles, cudaStream_t stream);
// The same, and args.out also rounded to e4m3 (fp8.h); head_dim is 128.
struct Fp8Rows;
cudaError_t attend_prefill_to_fp8(const AttendArgs& args, const Fp8Rows& rounded, const QueryTile* tiles,
                                  int32_t num_tiles, cudaStream_t stream);
cudaError_t attend_portable(const AttendArgs& args, const QueryTile* tiles, int32_t num_tiles, cudaStream_t stream);

cudaError_t attend_f32(const AttendArgs& args, cudaStream_t stream);  // all rows

}  // namespace qwill::cuda
