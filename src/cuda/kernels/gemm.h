// Products of placed bf16 weights with many rows of activations: Y[t, n] = sum over k of A[t, k] W[n, k].
//
// Every element is summed over K in order, in steps of 16, from zero, in f32 on the tensor cores; so its bits depend on
// its own row of A and W alone, whatever the tile, the number of rows or the path.
#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/kernels/moe.h"
#include "cuda/layout.h"

namespace qwill::cuda {

// What becomes of a sum.
enum class Epilogue : uint8_t {
  store,     // y f32 [T, ldy] = sum
  add,       // y f32 [T, ldy] += sum
  silu_mul,  // y bf16 [T, ldy] = silu(gate) * up; blocks of 8 gate and 8 up rows alternate in W. ldy is the padded
             // width: columns beyond the weight's are written as zeros.
};

// One matrix, or those of all experts one after the other.
struct GemmWeight {
  const void* data = nullptr;
  MatrixLayout layout;
  int64_t rows = 0;  // of one matrix; gate and up blocks both counted, and whole, where they alternate
  CUtensorMap map;   // for gemm_wgmma, from make_weight_map
};

// A list of tiles (moe.h: rows of A that meet the matrix of one expert) that an earlier kernel writes on the device.
struct GroupTiles {
  const ExpertTile* tiles = nullptr;
  const int32_t* count = nullptr;
  int32_t max_count = 0;
  int32_t tile_rows = 0;
  int32_t row_blocks_per_expert = 0;
};

// When the blocks of the next kernel may come, as far as there is room for them.
enum class NextStart : uint8_t {
  at_once,
  behind,  // when all kernels before this one have ended, so that it may read at once what they wrote
  loaded,  // when, after that, each block has asked for its last stage: what it fetches ahead fills the gap between
};

struct GemmCall {
  const GemmWeight* weight = nullptr;
  const void* a = nullptr;  // bf16 [num_rows, lda], zeros from the weight's columns to its padded_cols
  int64_t lda = 0;          // a multiple of 8, at least padded_cols
  int64_t num_rows = 0;     // at least 1
  Epilogue epilogue = Epilogue::store;
  void* y = nullptr;  // 16-byte aligned
  int64_t ldy = 0;    // f32: fastest if a multiple of 4; bf16: even
  const GroupTiles* grouped = nullptr;
  bool fresh_weight = false;            // the kernel before writes the weight: it may not be read ahead of its end
  NextStart next = NextStart::at_once;  // or behind
};

// --- Hopper: wgmma and the copy engine ---

// A tile of `rows` weight rows by `tokens` rows of A. The ring of a deep one takes a multiprocessor's whole shared
// memory; a shallow one's half, so that two blocks fit, or one and one of the next kernel. `cluster` blocks with the
// same tokens share their loads, and so do `token_cluster` blocks with the same weights.
struct GemmTile {
  int32_t rows;
  int32_t tokens;
  bool deep;
  int32_t cluster;
  int32_t token_cluster = 1;
  constexpr int32_t blocks() const { return cluster * token_cluster; }
  friend constexpr bool operator==(const GemmTile&, const GemmTile&) = default;
};
inline constexpr GemmTile kGemmTiles[] = {
    {32, 16, false, 1},     {64, 16, false, 1},     {64, 16, true, 1},   {64, 32, true, 1},
    {64, 64, true, 1},      {64, 128, true, 1},     {128, 128, true, 1}, {64, 128, true, 1, 2},
    {128, 128, true, 1, 2}, {192, 128, true, 1, 2}, {192, 128, true, 2}, {128, 256, true, 2},
};

// The fastest tile for a weight of so many rows and so many rows of A. Results do not depend on it.
GemmTile choose_gemm_tile(int64_t weight_rows, int64_t num_rows, int num_sms);
// The same for a list of groups, each of at most tile_rows, which is 16, 32, 64, 128 or (not gemm_portable) 256.
// Of these, the least that is twice the mean number of rows of a group is fastest.
GemmTile choose_grouped_gemm_tile(int32_t tile_rows);

cudaError_t make_weight_map(const void* data, const MatrixLayout& layout, CUtensorMap& map, int32_t box_rows = 64);
cudaError_t prepare_gemm_wgmma();  // once per device, before the first call
cudaError_t gemm_wgmma(const GemmCall& call, const GemmTile& tile, int num_sms, cudaStream_t stream);

// --- sm_80 and up: mma.sync and cp.async. The same bits. ---

cudaError_t prepare_gemm_portable();
cudaError_t gemm_portable(const GemmCall& call, cudaStream_t stream);

// --- either, by the card: gemm_wgmma with its fastest tile where `hopper`, else gemm_portable ---

cudaError_t prepare_gemm(bool hopper);  // once per device, before the first call
cudaError_t gemm(const GemmCall& call, bool hopper, int num_sms, cudaStream_t stream);

}  // namespace qwill::cuda
