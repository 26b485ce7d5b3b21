// gemm_f32: Y = A W^T in f32 by CUDA cores, in the order of sums that gemm_f32.h lays down.
// Three kernels with the same bits. `one_row` (T = 1): a lane a block of k; moves 4 N K bytes, memory-bound.
// `few_rows`: a warp a block of k, so that few outputs still fill the card. `many_rows`: tiles of 64 x 128 outputs, all
// of k in one thread; bound by FMA at 2 T N K flops.
//
// reference: ops/reference.cpp linear, gated (double sums; error near 1e-6)    bench: bench/cuda/bench_sampling.cu
#include <algorithm>

#include "cuda/kernels/gemm_f32.h"
#include "cuda/kernels/launch.cuh"
#include "cuda/kernels/ptx.cuh"

namespace qwill::cuda {
namespace {

constexpr int kBlockK = 64;  // of the order of sums

// Which rows of A a thread block multiplies: its tile of an expert, or its share of all rows.
struct RowTiles {
  const ExpertTile* tiles;  // null: one matrix
  const int32_t* num_tiles;
  int32_t num_rows;  // without tiles: T

  // The tile of this block; no rows: nothing to do.
  __device__ ExpertTile tile(int32_t rows_per_tile) const {
    const int32_t i = blockIdx.y, first = i * rows_per_tile;
    if (!tiles) return {0, first, min(rows_per_tile, num_rows - first)};
    return i < *num_tiles ? tiles[i] : ExpertTile{};
  }
};

struct Problem : GemmF32 {
  bool aligned;  // rows of A and W to 16 bytes

  // Row of an expert's weight that column n of a tile meets: for silu_mul, gate and up of one output are neighbours.
  __device__ int64_t weight_row(int64_t n) const {
    return epilogue == EpilogueF32::silu_mul ? n / 2 + n % 2 * (num_cols / 2) : n;
  }

  // Four values of a row to shared memory in the background, zeros from `depth` on or without a row.
  __device__ void copy_4(float* to, const float* row, bool exists, int64_t k) const {
    const int64_t left = exists ? depth - k : 0;
    const uint32_t values = left < 0 ? 0 : left > 4 ? 4 : static_cast<uint32_t>(left);
    const float* from = values > 0 ? row + k : row;
    if (aligned) {
      copy_16_async(shared_address(to), from, 4 * values);
    } else {
      for (uint32_t i = 0; i < 4; ++i)
        copy_4_async(shared_address(to + i), i < values ? from + i : row, i < values ? 4 : 0);
    }
  }

  // Called by the whole warp, lanes 2 i and 2 i + 1 with columns 2 j and 2 j + 1 of one row.
  __device__ void finish(int64_t t, int64_t n, bool inside, float sum) const {
    if (epilogue == EpilogueF32::silu_mul) {
      const float up = __shfl_xor_sync(~0u, sum, 1);
      const float silu = __fdiv_rn(sum, __fadd_rn(1, expf(-sum)));
      if (inside && n % 2 == 0) y[t * ldy + n / 2] = __fmul_rn(silu, up);
    } else if (inside) {
      float* const to = y + t * ldy + n;
      *to = epilogue == EpilogueF32::add ? __fadd_rn(*to, sum) : sum;
    }
  }
};

__device__ __forceinline__ void fma_4(float& sum, const float4& a, const float4& w) {
  sum = __fmaf_rn(a.x, w.x, sum);
  sum = __fmaf_rn(a.y, w.y, sum);
  sum = __fmaf_rn(a.z, w.z, sum);
  sum = __fmaf_rn(a.w, w.w, sum);
}

// Rows of W and A in shared memory, in blocks of k. Chunks of four values are permuted within a block by a key, so that
// the lanes of a warp, which read the same chunk under different keys, meet different banks.
__device__ __forceinline__ float* chunk_of(float* block, int chunk, int key) { return block + (chunk ^ key % 8) * 4; }

// One row of A. A warp has one column, its lanes 32 blocks of k at a time; lane 0 adds their sums in order.
constexpr int kOneThreads = 128;
constexpr int kOneCols = kOneThreads / 32;
constexpr int kOneDepth = 32 * kBlockK;
constexpr size_t kOneSharedBytes = (kOneCols + 1) * kOneDepth * sizeof(float);

__global__ void __launch_bounds__(kOneThreads) one_row(Problem p) {
  extern __shared__ __align__(128) float shared[];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t col = static_cast<int64_t>(blockIdx.x) * kOneCols + warp;
  const bool exists = col < p.num_cols;
  const float* const w_row = p.weight + (exists ? p.weight_row(col) * p.ldw : 0);
  float* const w_shared = shared + warp * kOneDepth;
  float* const a_shared = shared + kOneCols * kOneDepth;
  __shared__ float totals[kOneCols];
  const auto copy = [&](float* to, const float* row, bool row_exists, int64_t k, int first, int step) {
#pragma unroll
    for (int i = first; i < kOneDepth / 4; i += step)
      p.copy_4(chunk_of(to + i / 16 * kBlockK, i % 16, i / 16), row, row_exists, k + 4 * i);
  };

  let_next_kernel_start();
  copy(w_shared, w_row, exists, 0, lane, 32);
  wait_for_previous_kernel();
  float total = 0;
  for (int64_t k = 0; k < p.depth; k += kOneDepth) {
    if (k > 0) copy(w_shared, w_row, exists, k, lane, 32);
    copy(a_shared, p.a, true, k, threadIdx.x, kOneThreads);
    commit_copies();
    wait_for_copies<0>();
    __syncthreads();
    float sum = 0;
#pragma unroll
    for (int c = 0; c < kBlockK / 4; ++c)
      fma_4(sum, *reinterpret_cast<const float4*>(chunk_of(a_shared + lane * kBlockK, c, lane)),
            *reinterpret_cast<const float4*>(chunk_of(w_shared + lane * kBlockK, c, lane)));
#pragma unroll
    for (int i = 0; i < 32; ++i) total = __fadd_rn(total, __shfl_sync(~0u, sum, i));
    __syncthreads();
  }
  if (lane == 0) totals[warp] = total;
  __syncthreads();
  if (warp > 0) return;
  const int64_t out_col = static_cast<int64_t>(blockIdx.x) * kOneCols + lane;
  p.finish(0, out_col, lane < kOneCols && out_col < p.num_cols, lane < kOneCols ? totals[lane] : 0);
}

// Few rows of A: tiles of 8 rows by 16 columns. A warp has one block of k at a time, its lanes two by two outputs of
// it; the sums of eight warps meet in shared memory, where one thread an output adds them in order.
constexpr int kFewThreads = 256;
constexpr int kFewWarps = kFewThreads / 32;
constexpr int kFewRows = 8;
constexpr int kFewCols = 16;
constexpr int kFewOutputs = kFewRows * kFewCols;
constexpr int kFewStageFloats = (kFewRows + kFewCols) * kFewWarps * kBlockK;
constexpr size_t kFewSharedBytes = (2 * kFewStageFloats + kFewWarps * kFewOutputs) * sizeof(float);

__global__ void __launch_bounds__(kFewThreads, 2) few_rows(Problem p, RowTiles rows) {
  extern __shared__ __align__(128) float shared[];
  float* const sums = shared + 2 * kFewStageFloats;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int thread_col = lane % 8, thread_row = lane / 8;  // and 8 columns, 4 rows on
  const int output = threadIdx.x, out_row = output / kFewCols, out_col = output % kFewCols;
  const int64_t first_col = static_cast<int64_t>(blockIdx.x) * kFewCols;
  constexpr int kStageDepth = kFewWarps * kBlockK;
  const int num_stages = static_cast<int>((p.depth + kStageDepth - 1) / kStageDepth);

  // A warp copies what it multiplies: its block of k of each row, 16 lanes a row. In shared memory:
  // [stage][warp][row][64], rows of W before those of A.
  const auto shared_block = [&](int stage, int row) {
    return shared + (((stage % 2) * kFewWarps + warp) * (kFewRows + kFewCols) + row) * kBlockK;
  };
  const int copy_row = lane / 16, copy_chunk = lane % 16;
  const auto depth_of = [&](int stage) { return stage * kStageDepth + warp * kBlockK + copy_chunk * 4; };
  const int64_t w_step = (p.epilogue == EpilogueF32::silu_mul ? 1 : 2) * p.ldw;  // to the weight row two columns on
  const int64_t w_offset = p.weight_row(first_col + copy_row) * p.ldw;
  const auto copy_weights = [&](int stage, const float* weight) {
#pragma unroll
    for (int i = 0; i < kFewCols; i += 2)
      p.copy_4(chunk_of(shared_block(stage, copy_row + i), copy_chunk, copy_row + i),
               weight + w_offset + i / 2 * w_step, first_col + copy_row + i < p.num_cols, depth_of(stage));
  };

  let_next_kernel_start();
  if (!rows.tiles) copy_weights(0, p.weight);
  wait_for_previous_kernel();
  const ExpertTile tile = rows.tile(kFewRows);
  const float* const weight = p.weight + tile.expert * p.num_cols * p.ldw;

  for (int first = 0; first < tile.num_rows; first += kFewRows) {
    const float* const a_from = p.a + (tile.first_row + first + copy_row) * p.lda;
    const auto copy_stage = [&](int stage) {
      if (stage < num_stages) {
        if (rows.tiles || stage > 0) copy_weights(stage, weight);
#pragma unroll
        for (int i = 0; i < kFewRows; i += 2)
          p.copy_4(chunk_of(shared_block(stage, kFewCols + copy_row + i), copy_chunk, copy_row + i), a_from + i * p.lda,
                   first + copy_row + i < tile.num_rows, depth_of(stage));
      }
      commit_copies();
    };
    float total = 0;
    copy_stage(0);
    for (int stage = 0; stage < num_stages; ++stage) {
      copy_stage(stage + 1);
      wait_for_copies<1>();
      __syncwarp();
      float* const w_shared = shared_block(stage, 0);
      float* const a_shared = shared_block(stage, kFewCols);
      float sum[2][2] = {};
#pragma unroll 8
      for (int c = 0; c < kBlockK / 4; ++c) {
        float4 w[2], a[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          w[i] = *reinterpret_cast<const float4*>(chunk_of(w_shared + (thread_col + 8 * i) * kBlockK, c, thread_col));
          a[i] = *reinterpret_cast<const float4*>(
              chunk_of(a_shared + (thread_row + 4 * i) * kBlockK, c, thread_row + 4 * i));
        }
#pragma unroll
        for (int i = 0; i < 2; ++i)
#pragma unroll
          for (int j = 0; j < 2; ++j) fma_4(sum[i][j], a[i], w[j]);
      }
#pragma unroll
      for (int i = 0; i < 2; ++i)
#pragma unroll
        for (int j = 0; j < 2; ++j)
          sums[warp * kFewOutputs + (thread_row + 4 * i) * kFewCols + thread_col + 8 * j] = sum[i][j];
      __syncthreads();
      if (output < kFewOutputs)
#pragma unroll
        for (int i = 0; i < kFewWarps; ++i) total = __fadd_rn(total, sums[i * kFewOutputs + output]);
      __syncthreads();
    }
    if (output < kFewOutputs)
      p.finish(tile.first_row + first + out_row, first_col + out_col,
               first + out_row < tile.num_rows && first_col + out_col < p.num_cols, total);
  }
}

// Tiles of 64 rows of A by 128 columns; 256 threads of 4 by 8; k in stages of 32 through a ring of three.
constexpr int kManyThreads = 256;
constexpr int kTileRows = 64;
constexpr int kTileCols = 128;
constexpr int kStageK = 32;
constexpr int kStageStride = kStageK + 4;  // eight rows on, a chunk of four meets other banks
constexpr int kStageFloats = (kTileRows + kTileCols) * kStageStride;
constexpr int kStages = 3;
constexpr size_t kManySharedBytes = kStages * kStageFloats * sizeof(float);

__global__ void __launch_bounds__(kManyThreads, 2) many_rows(Problem p, RowTiles rows) {
  extern __shared__ __align__(128) float shared[];
  constexpr int kThreadCols = 8, kThreadRows = 4;
  constexpr int kRowsPerCopy = kManyThreads / (kStageK / 4);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int thread_col = warp % 2 * 64 + lane % 8;  // and every eighth after it
  const int thread_row = warp / 2 * 16 + lane / 8;  // and every fourth
  const int copy_row = threadIdx.x / (kStageK / 4), copy_k = threadIdx.x % (kStageK / 4) * 4;
  const int64_t first_col = static_cast<int64_t>(blockIdx.x) * kTileCols;
  // To the weight row of a column kRowsPerCopy on.
  const int64_t w_step = (p.epilogue == EpilogueF32::silu_mul ? kRowsPerCopy / 2 : kRowsPerCopy) * p.ldw;
  const int num_stages = static_cast<int>((p.depth + kStageK - 1) / kStageK);

  let_next_kernel_start();
  wait_for_previous_kernel();
  const ExpertTile tile = rows.tile(kTileRows);
  const float* const weight = p.weight + tile.expert * p.num_cols * p.ldw;

  for (int first = 0; first < tile.num_rows; first += kTileRows) {
    const int num_rows = tile.num_rows - first;
    const float* const w_from = weight + p.weight_row(first_col + copy_row) * p.ldw;
    const float* const a_from = p.a + (tile.first_row + first + copy_row) * p.lda;
    const auto copy_stage = [&](int stage) {
      float* const to = shared + stage % kStages * kStageFloats + copy_row * kStageStride + copy_k;
      const int k = stage * kStageK + copy_k;
      if (stage < num_stages) {
#pragma unroll
        for (int i = 0; i < kTileCols; i += kRowsPerCopy)
          p.copy_4(to + i * kStageStride, w_from + i / kRowsPerCopy * w_step, first_col + copy_row + i < p.num_cols, k);
#pragma unroll
        for (int i = 0; i < kTileRows; i += kRowsPerCopy)
          p.copy_4(to + (kTileCols + i) * kStageStride, a_from + i * p.lda, copy_row + i < num_rows, k);
      }
      commit_copies();
    };

    float total[kThreadCols][kThreadRows] = {}, sum[kThreadCols][kThreadRows] = {};
    copy_stage(0);
    copy_stage(1);
    for (int stage = 0; stage < num_stages; ++stage) {
      wait_for_copies<1>();
      __syncthreads();
      copy_stage(stage + 2);
      const float* const w_shared = shared + stage % kStages * kStageFloats + thread_col * kStageStride;
      const float* const a_shared = shared + stage % kStages * kStageFloats + (kTileCols + thread_row) * kStageStride;
#pragma unroll
      for (int k = 0; k < kStageK; k += 4) {
        float4 a[kThreadRows];
#pragma unroll
        for (int t = 0; t < kThreadRows; ++t)
          a[t] = *reinterpret_cast<const float4*>(a_shared + 4 * t * kStageStride + k);
#pragma unroll
        for (int i = 0; i < kThreadCols; ++i) {
          const float4 w = *reinterpret_cast<const float4*>(w_shared + 8 * i * kStageStride + k);
#pragma unroll
          for (int t = 0; t < kThreadRows; ++t) fma_4(sum[i][t], a[t], w);
        }
      }
      if ((stage + 1) * kStageK % kBlockK != 0 && stage + 1 < num_stages) continue;
#pragma unroll
      for (int i = 0; i < kThreadCols; ++i)
#pragma unroll
        for (int t = 0; t < kThreadRows; ++t) {
          total[i][t] = __fadd_rn(total[i][t], sum[i][t]);
          sum[i][t] = 0;
        }
    }
#pragma unroll
    for (int i = 0; i < kThreadCols; ++i)
#pragma unroll
      for (int t = 0; t < kThreadRows; ++t) {
        const int row = thread_row + 4 * t;
        const int64_t col = first_col + thread_col + 8 * i;
        p.finish(tile.first_row + first + row, col, row < num_rows && col < p.num_cols, total[i][t]);
      }
    __syncthreads();
  }
}

Problem problem(const GemmF32& gemm) {
  const auto aligned = [](const float* matrix, int64_t stride) {
    return reinterpret_cast<uintptr_t>(matrix) % 16 == 0 && stride % 4 == 0;
  };
  return {gemm, aligned(gemm.a, gemm.lda) && aligned(gemm.weight, gemm.ldw)};
}

cudaError_t launch_one(const GemmF32& gemm, cudaStream_t stream) {
  if (const cudaError_t error = allow_shared(one_row, kOneSharedBytes)) return error;
  const auto blocks = static_cast<uint32_t>((gemm.num_cols + kOneCols - 1) / kOneCols);
  return launch(one_row, blocks, kOneThreads, kOneSharedBytes, stream, problem(gemm));
}

// A kernel with tiles of the given size, over all tiles of experts, or all rows.
template <typename Kernel>
cudaError_t launch_tiles(Kernel kernel, int threads, size_t shared_bytes, int64_t tile_rows, int64_t tile_cols,
                         const GemmF32& gemm, const RowTiles& rows, int64_t max_tiles, cudaStream_t stream) {
  if (const cudaError_t error = allow_shared(kernel, shared_bytes)) return error;
  if (!rows.tiles) max_tiles = (rows.num_rows + tile_rows - 1) / tile_rows;
  const dim3 grid(static_cast<uint32_t>((gemm.num_cols + tile_cols - 1) / tile_cols), static_cast<uint32_t>(max_tiles));
  return launch(kernel, grid, threads, shared_bytes, stream, problem(gemm), rows);
}

cudaError_t launch_few(const GemmF32& gemm, const RowTiles& rows, int64_t max_tiles, cudaStream_t stream) {
  return launch_tiles(few_rows, kFewThreads, kFewSharedBytes, kFewRows, kFewCols, gemm, rows, max_tiles, stream);
}

cudaError_t launch_many(const GemmF32& gemm, const RowTiles& rows, int64_t max_tiles, cudaStream_t stream) {
  return launch_tiles(many_rows, kManyThreads, kManySharedBytes, kTileRows, kTileCols, gemm, rows, max_tiles, stream);
}

}  // namespace

cudaError_t gemm_f32(const GemmF32& gemm, int64_t num_rows, cudaStream_t stream) {
  if (num_rows <= 0 || gemm.num_cols <= 0) return cudaSuccess;
  const RowTiles rows = {nullptr, nullptr, static_cast<int32_t>(num_rows)};
  if (num_rows == 1) return launch_one(gemm, stream);
  // Half as many tiles as SMs are the least with which many_rows wins.
  const int64_t tiles = (num_rows + kTileRows - 1) / kTileRows * ((gemm.num_cols + kTileCols - 1) / kTileCols);
  return num_rows <= 16 || tiles < 66 ? launch_few(gemm, rows, 0, stream) : launch_many(gemm, rows, 0, stream);
}

cudaError_t gemm_f32_grouped(const GemmF32& gemm, const ExpertTile* tiles, const int32_t* num_tiles, int64_t max_tiles,
                             int64_t mean_rows, cudaStream_t stream) {
  if (max_tiles <= 0 || gemm.num_cols <= 0) return cudaSuccess;
  const RowTiles rows = {tiles, num_tiles, 0};
  return mean_rows <= 16 ? launch_few(gemm, rows, max_tiles, stream) : launch_many(gemm, rows, max_tiles, stream);
}

}  // namespace qwill::cuda
