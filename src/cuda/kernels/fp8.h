// Products in e4m3: how weights and activations get there, and their product with many rows.
//
// e4m3 holds ±448 with three bits of mantissa. Values are divided by a scale that takes the largest of a group to 448:
// of a weight one for each row, of activations one for 128 columns of a row. Relative error of random values (bench_fp8
// scales), normal and with heavy tails: by 128 columns of a row 2.57 and 2.20 %, by rows 2.65 and 2.50, by tensors
// 2.65 and 2.60, by powers of two 2.65 and 2.68. Of weights the finer scales would be 3 % more bytes to read for a
// twelfth of the error.
//   Y[t, n] = ws[n] sum over blocks b of 128 columns, in order, of as[t, b] (sum over k of block b of A[t, k] W[n, k])
// The inner sum is the tensor cores', whose sums of e4m3 keep some 14 bits, from a fresh start; the outer one is f32 by
// fma. So an element's bits depend on its own row of A and W alone, whatever the tile or the number of rows.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "cuda/kernels/gemm.h"
#include "cuda/kernels/rows.h"
#include "cuda/layout.h"

namespace qwill::cuda {

// One matrix, or those of all experts one after the other.
struct Fp8Weight {
  const void* data = nullptr;
  const float* scales = nullptr;  // [layout.rows()]
  Fp8Layout layout;
  int64_t rows = 0;  // of one matrix; gate and up blocks both counted, and whole, where they alternate
  CUtensorMap map;   // from make_weight_map
};

// Rows of activations.
//
// The copy engine reads scales from every fourth row on (16 bytes). Groups begin at any row: for them there are four
// copies of the scales, of which copy i lacks the first i rows, so that a group's begin every fourth in one of them.
struct Fp8Rows {
  void* data = nullptr;     // [T, padded_cols] e4m3, zeros behind the columns; padded_cols a multiple of 128
  float* scales = nullptr;  // [copies, padded_cols / 128, scale_stride]: scale_stride at least T, a multiple of 4
  int64_t padded_cols = 0;
  int64_t scale_stride = 0;
  int32_t scale_copies = 1;
};
constexpr int32_t kGroupedScaleCopies = 4;

// --- placing weights (fp8_rows.cu) ---

// Where rows of a source go: as rows.h Destination.
struct Fp8Destination {
  void* data = nullptr;
  float* scales = nullptr;
  Fp8Layout layout;
  int64_t first_block = 0;
  int64_t block_stride = 1;
};
cudaError_t place_fp8(const Fp8Destination& to, const void* source, SourceType type, int64_t first_row,
                      int64_t num_rows, int64_t cols, cudaStream_t stream);
cudaError_t random_fp8(const Fp8Destination& to, int64_t first_row, int64_t num_rows, int64_t cols, uint64_t seed,
                       float centre, float spread, cudaStream_t stream);

// --- activations (fp8_rows.cu) ---

// The norm of each row of x [T, cols] (row_norm.cuh).
cudaError_t norm_to_fp8(const Fp8Rows& y, const float* x, const float* weight, float eps, int64_t cols,
                        int64_t num_rows, cudaStream_t stream);
// Rows of f32 [T, stride], or of bf16 [T, stride], stride a multiple of 64 with zeros behind cols.
cudaError_t f32_to_fp8(const Fp8Rows& y, const float* x, int64_t cols, int64_t stride, int64_t num_rows,
                       cudaStream_t stream);
cudaError_t bf16_to_fp8(const Fp8Rows& y, const void* x, int64_t stride, int64_t num_rows, cudaStream_t stream);

// --- products (gemm_fp8.cu, gemm_fp8_wide.cu) ---

struct Fp8Call {
  const Fp8Weight* weight = nullptr;
  Fp8Rows a;             // padded_cols as the weight's; kGroupedScaleCopies if grouped
  int64_t num_rows = 0;  // at least 1
  Epilogue epilogue = Epilogue::store;
  void* y = nullptr;  // as GemmCall's
  int64_t ldy = 0;
  const GroupTiles* grouped = nullptr;
  Fp8Rows rounded = {};  // where rounds_at_once: of silu_mul what y, rounded by 128 columns, would be
};

inline constexpr GemmTile kFp8Tiles[] = {
    {64, 16, false, 1}, {64, 16, true, 1},   {64, 32, true, 1},   {64, 64, true, 1},
    {64, 128, true, 1}, {128, 128, true, 1}, {128, 256, true, 2},
};
// For many rows that are not of groups: the two blocks of a cluster have the same weights. ldy is a multiple of 64 for
// silu_mul, otherwise of four, and so is the weight's number of rows: gemm_fp8 gives others the last of kFp8Tiles.
inline constexpr GemmTile kWideFp8Tiles[] = {{256, 128, true, 2}, {128, 128, true, 2}};
inline bool is_wide(const GemmTile& tile) { return tile == kWideFp8Tiles[0] || tile == kWideFp8Tiles[1]; }
inline bool rounds_at_once(const GemmTile& tile) { return tile == kWideFp8Tiles[0]; }
// The fastest tile for a weight of so many rows and so many rows of A. Results do not depend on it.
GemmTile choose_fp8_tile(int64_t weight_rows, int64_t num_rows, int num_sms);

cudaError_t prepare_gemm_fp8();  // once per device, before the first call
cudaError_t prepare_gemm_fp8_wide();
cudaError_t gemm_fp8_wide(const Fp8Call& call, const GemmTile& tile, int num_sms, cudaStream_t stream);
// Any tile; an error if the result is to be rounded and the tile cannot.
cudaError_t gemm_fp8(const Fp8Call& call, const GemmTile& tile, int num_sms, cudaStream_t stream);

}  // namespace qwill::cuda
