// gemm_f32: Y = A W^T in f32 by CUDA cores, in the order of sums that gemm_f32.h lays down.
// Two kernels with the same bits. `few_rows`: each thread sums one block of 64 of k for few outputs, so that a short
// product fills the card; moves 4 N K bytes; memory-bound at T = 1. `many_rows`: tiles of 64 x 128 outputs, all of k in
// one thread; bound by FMA at 2 T N K flops.
// reference: ops/reference.cpp linear, gated (double sums; error near 1e-6)    bench: bench/cuda/bench_sampling.cu
#include "cuda/kernels/gemm_f32.h"

#include <algorithm>

#include "cuda/kernels/launch.cuh"
#include "cuda/kernels/ptx.cuh"

namespace qwill::cuda {
namespace {

constexpr int kBlockK = 64;  // of the order of sums

// Which rows of A a thread block multiplies: its tile of an expert, or its share of all rows.
struct RowTiles {
  const ExpertTile* tiles;   // null: one matrix
  const int32_t* num_tiles;
  int32_t num_rows;          // without tiles: T

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

constexpr int kFewThreads = 128;

// A thread sums one of kParts blocks of k for kThreadCols columns and kTokens rows of A. The parts' sums meet in shared
// memory, where one thread an output adds them in order.
template <int kParts, int kThreadCols, int kTokens>
struct FewRows {
  static constexpr int kCols = kThreadCols * kFewThreads / kParts;
  static constexpr int kDepth = kParts * kBlockK;
  static constexpr int kOutputs = kCols * kTokens;
  static constexpr int kSumStride = kOutputs + 1;  // other banks for other parts
  static constexpr size_t kSharedBytes = ((kCols + kTokens) * kDepth + kParts * kSumStride) * sizeof(float);
  static_assert(kOutputs <= kFewThreads && kCols % 2 == 0);

  // Chunks of four values are permuted within a block of k by its number, so that threads of different parts, which
  // read the same chunk, meet different banks.
  static __device__ float* chunk(float* row, int part, int c) { return row + part * kBlockK + (c ^ part % 8) * 4; }

  static __device__ void copy_row(const Problem& p, float* to, const float* row, bool exists, int64_t k) {
#pragma unroll
    for (int i = threadIdx.x; i < kDepth / 4; i += kFewThreads)
      p.copy_4(chunk(to, i / (kBlockK / 4), i % (kBlockK / 4)), row, exists, k + 4 * i);
  }

  static __device__ void copy_weights(const Problem& p, float* to, const float* weight, int64_t first_col, int64_t k) {
#pragma unroll
    for (int c = 0; c < kCols; ++c) {
      const bool exists = first_col + c < p.num_cols;
      copy_row(p, to + c * kDepth, weight + (exists ? p.weight_row(first_col + c) * p.ldw : 0), exists, k);
    }
  }
};

template <int kParts, int kThreadCols, int kTokens>
__global__ void __launch_bounds__(kFewThreads) few_rows(Problem p, RowTiles rows) {
  using Few = FewRows<kParts, kThreadCols, kTokens>;
  extern __shared__ __align__(128) float shared[];
  float* const w_shared = shared;
  float* const a_shared = w_shared + Few::kCols * Few::kDepth;
  float* const sums = a_shared + kTokens * Few::kDepth;
  const int part = threadIdx.x % kParts, thread_col = threadIdx.x / kParts * kThreadCols;
  const int output = threadIdx.x, out_token = output / Few::kCols, out_col = output % Few::kCols;
  const int64_t first_col = static_cast<int64_t>(blockIdx.x) * Few::kCols;

  let_next_kernel_start();
  if (!rows.tiles) Few::copy_weights(p, w_shared, p.weight, first_col, 0);
  wait_for_previous_kernel();
  const ExpertTile tile = rows.tile(kTokens);
  const float* const weight = p.weight + tile.expert * p.num_cols * p.ldw;

  for (int first = 0; first < tile.num_rows; first += kTokens) {
    float total = 0;
    for (int64_t k = 0; k < p.depth; k += Few::kDepth) {
      if (rows.tiles || k > 0) Few::copy_weights(p, w_shared, weight, first_col, k);
#pragma unroll
      for (int t = 0; t < kTokens; ++t) {
        const bool exists = first + t < tile.num_rows;
        Few::copy_row(p, a_shared + t * Few::kDepth, p.a + (exists ? (tile.first_row + first + t) * p.lda : 0), exists, k);
      }
      commit_copies();
      wait_for_copies<0>();
      __syncthreads();

      float sum[kThreadCols][kTokens] = {};
#pragma unroll 4
      for (int c = 0; c < kBlockK / 4; ++c) {
        float4 w[kThreadCols];
#pragma unroll
        for (int i = 0; i < kThreadCols; ++i)
          w[i] = *reinterpret_cast<const float4*>(Few::chunk(w_shared + (thread_col + i) * Few::kDepth, part, c));
#pragma unroll
        for (int t = 0; t < kTokens; ++t) {
          const float4 a = *reinterpret_cast<const float4*>(Few::chunk(a_shared + t * Few::kDepth, part, c));
#pragma unroll
          for (int i = 0; i < kThreadCols; ++i) fma_4(sum[i][t], a, w[i]);
        }
      }
#pragma unroll
      for (int t = 0; t < kTokens; ++t)
#pragma unroll
        for (int i = 0; i < kThreadCols; ++i)
          sums[part * Few::kSumStride + t * Few::kCols + thread_col + i] = sum[i][t];
      __syncthreads();
      if (output < Few::kOutputs)
#pragma unroll
        for (int i = 0; i < kParts; ++i) total = __fadd_rn(total, sums[i * Few::kSumStride + output]);
    }
    if (output / 32 * 32 < Few::kOutputs)
      p.finish(tile.first_row + first + out_token, first_col + out_col,
               output < Few::kOutputs && first + out_token < tile.num_rows && first_col + out_col < p.num_cols, total);
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
  const int thread_col = warp % 2 * 64 + lane % 8;   // and every eighth after it
  const int thread_row = warp / 2 * 16 + lane / 8;   // and every fourth
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
      const float* const a_shared =
          shared + stage % kStages * kStageFloats + (kTileCols + thread_row) * kStageStride;
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

template <int kParts, int kThreadCols, int kTokens>
cudaError_t launch_few(const GemmF32& gemm, const RowTiles& rows, int64_t grid_y, cudaStream_t stream) {
  using Few = FewRows<kParts, kThreadCols, kTokens>;
  const auto kernel = few_rows<kParts, kThreadCols, kTokens>;
  if (const cudaError_t error = allow_shared(kernel, Few::kSharedBytes)) return error;
  if (!rows.tiles) grid_y = (rows.num_rows + kTokens - 1) / kTokens;
  const dim3 grid(static_cast<uint32_t>((gemm.num_cols + Few::kCols - 1) / Few::kCols), static_cast<uint32_t>(grid_y));
  return launch(kernel, grid, kFewThreads, Few::kSharedBytes, stream, problem(gemm), rows);
}

cudaError_t launch_many(const GemmF32& gemm, const RowTiles& rows, int64_t grid_y, cudaStream_t stream) {
  if (const cudaError_t error = allow_shared(many_rows, kManySharedBytes)) return error;
  if (!rows.tiles) grid_y = (rows.num_rows + kTileRows - 1) / kTileRows;
  const dim3 grid(static_cast<uint32_t>((gemm.num_cols + kTileCols - 1) / kTileCols), static_cast<uint32_t>(grid_y));
  return launch(many_rows, grid, kManyThreads, kManySharedBytes, stream, problem(gemm), rows);
}

}  // namespace

cudaError_t gemm_f32(const GemmF32& gemm, int64_t num_rows, cudaStream_t stream) {
  if (num_rows <= 0 || gemm.num_cols <= 0) return cudaSuccess;
  const RowTiles rows = {nullptr, nullptr, static_cast<int32_t>(num_rows)};
  if (num_rows == 1) return launch_few<32, 1, 1>(gemm, rows, 0, stream);
  if (num_rows <= 4) return launch_few<32, 1, 4>(gemm, rows, 0, stream);
  // Half as many tiles as SMs are the least with which many_rows wins.
  const int64_t tiles = (num_rows + kTileRows - 1) / kTileRows * ((gemm.num_cols + kTileCols - 1) / kTileCols);
  if (num_rows <= 16 || tiles < 66) return launch_few<16, 2, 8>(gemm, rows, 0, stream);
  return launch_many(gemm, rows, 0, stream);
}

cudaError_t gemm_f32_grouped(const GemmF32& gemm, const ExpertTile* tiles, const int32_t* num_tiles, int64_t max_tiles,
                             int64_t mean_rows, cudaStream_t stream) {
  if (max_tiles <= 0 || gemm.num_cols <= 0) return cudaSuccess;
  const RowTiles rows = {tiles, num_tiles, 0};
  if (mean_rows <= 1) return launch_few<32, 1, 4>(gemm, rows, max_tiles, stream);
  if (mean_rows <= 16) return launch_few<16, 2, 8>(gemm, rows, max_tiles, stream);
  return launch_many(gemm, rows, max_tiles, stream);
}

}  // namespace qwill::cuda
