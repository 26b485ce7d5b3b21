// Work on rows of activations: gathering, norms, conversions, rotary angles; and how weights get where they lie.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <span>

#include "cuda/layout.h"
#include "ops/paged_kv.h"

namespace qwill::cuda {

// Columns of a row that a block of 256 threads can norm.
constexpr int64_t kMaxNormCols = 6144;

// An embedding table, in either placement.
struct TableView {
  const void* data = nullptr;
  bool is_bf16 = false;  // in MatrixLayout; else f32 row-major
  MatrixLayout layout;
  int32_t cols = 0;
};

// x[t] = table[draw_source[t] < 0 ? tokens[t] : id_of_draw(draws[draw_source[t]])], [T, cols] f32.
cudaError_t embed_rows(float* x, const TableView& table, const int32_t* tokens, const int32_t* draw_source,
                       const int32_t* draws, int64_t num_rows, cudaStream_t stream);

// Rows and sequences as they were sent; those of the first num_rows and num_sequences have gone on by so many steps.
struct SentRows {
  int32_t *positions = nullptr, *slots = nullptr;  // [T]
  int32_t* seq_lens = nullptr;                     // [S]
  uint32_t steps = 0;
  int32_t num_rows = 0, num_sequences = 0;
};

// What a step begins with: positions, slots and lengths of its rows, and cos and sin [T, half_dim] of each position by
// its rope kind (ops/rope.h, rope_row). A row that follows a draw which stopped its sequence is padding: it stores
// nothing, and the sequence has no keys.
struct BegunRows {
  SentRows sent;
  const int32_t *draw_source, *draws;  // as in embed_rows
  const int32_t* row_begin;            // [S + 1]
  int32_t num_rows, num_sequences;     // T and S: padding as well
  int32_t *positions, *slots, *seq_lens;

  const int32_t* rope_kinds;        // [T]
  const float *inv_freq, *factors;  // [2, half_dim], [2]
  int32_t half_dim;                 // 0: nothing rotates
  float *cos, *sin;
};
cudaError_t begin_rows(const BegunRows& rows, cudaStream_t stream);

// The norm of each row of x [T, cols]: as bf16 [T, padded_cols], zeros behind cols, and as f32 [T, cols]; either may be
// null. cols <= kMaxNormCols (row_norm.cuh).
cudaError_t norm_rows(void* y_bf16, float* y_f32, const float* x, const float* weight, float eps, int64_t cols,
                      int64_t padded_cols, int64_t num_rows, cudaStream_t stream);

// f32 [T, cols] to bf16 [T, padded_cols] with zeros behind, and back.
cudaError_t to_bf16_rows(void* y, const float* x, int64_t cols, int64_t padded_cols, int64_t num_rows,
                         cudaStream_t stream);
cudaError_t to_f32_rows(float* y, const void* x, int64_t cols, int64_t padded_cols, int64_t num_rows,
                        cudaStream_t stream);

// y[r] = x[rows[r]], f32 [R, cols].
cudaError_t copy_rows(float* y, const float* x, const int32_t* rows, int64_t cols, int64_t num_rows,
                      cudaStream_t stream);

// Words of 4 bytes between device and pinned host memory: a few kilobytes are there before a copy engine, which the
// stream would wait for, has begun. Both aligned to 16 bytes.
cudaError_t copy_words(void* to, const void* from, int64_t bytes, cudaStream_t stream);
// `count` runs of run_bytes (a multiple of 16), each stride_bytes behind the one before; within device memory.
cudaError_t copy_strided(void* to, const void* from, int64_t run_bytes, int64_t stride_bytes, int64_t count,
                         cudaStream_t stream);

// A cache as [layer][page][kv head][keys, values] of half_bytes each, of bf16 or e4m3 (layout.h): runs of 128 bytes of
// page_size entries.
struct CacheSlices {
  void* data = nullptr;
  int64_t num_layers = 0, layer_bytes = 0, num_kv_heads = 0, half_bytes = 0, page_size = 0;
};
// Zeros to the values of these entries, in all layers. At most kMaxRests of them.
constexpr size_t kMaxRests = 64;
cudaError_t clear_values(const CacheSlices& cache, std::span<const PageRest> rests, cudaStream_t stream);

enum class SourceType : uint8_t { f32, bf16, f16 };

// Where rows of a source go in a placed matrix: row r to row block first_block + r / 8 * block_stride.
struct Destination {
  void* data = nullptr;
  MatrixLayout layout;
  int64_t first_block = 0;
  int64_t block_stride = 1;
};
// Rows [first_row, first_row + num_rows) of a stored matrix with `cols` columns; `source` holds just these rows.
cudaError_t place_bf16(const Destination& to, const void* source, SourceType type, int64_t first_row, int64_t num_rows,
                       int64_t cols, cudaStream_t stream);
cudaError_t widen(float* to, const void* source, SourceType type, int64_t count, cudaStream_t stream);

// Random values centre ± spread, uniform: as rows of a placed matrix, or plain f32.
cudaError_t random_bf16(const Destination& to, int64_t first_row, int64_t num_rows, int64_t cols, uint64_t seed,
                        float centre, float spread, cudaStream_t stream);
cudaError_t random_f32(float* to, int64_t count, uint64_t seed, float centre, float spread, cudaStream_t stream);

// Reads all of it by 16-byte loads, or by the copy engine; for measurements.
cudaError_t read_plain(const void* data, int64_t bytes, int num_blocks, void* sink, cudaStream_t stream);
cudaError_t read_bulk(const void* data, int64_t bytes, int num_blocks, cudaStream_t stream);

}  // namespace qwill::cuda
