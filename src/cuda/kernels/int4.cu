// round_to_int4: q[n, k] and scale[n, group] of w[n, k] (tensor/int4.h), once for each weight, when a model is loaded.
// widen_int4: w'[n, k] = bf16(scale * (q - 8)), for products whose rows are too many to stream the weight for.
// w, w' [N, K] bf16 in atoms, q and scales in blocks of 8 by 128 (cuda/layout.h).
// Rounding reads 2 N K bytes and tries 35 scales for each group: bound by arithmetic, some 320 instructions a weight.
// Widening moves 2.53 N K bytes: bound by memory.
// equals: tensor/int4.h, bit for bit    test and bench: bench/cuda/bench_int4.cu
#include <algorithm>
#include <bit>

#include "cuda/kernels/int4.cuh"
#include "cuda/kernels/int4.h"
#include "cuda/kernels/launch.cuh"

namespace qwill::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kMaxBlocks = 132 * 16;
constexpr int kGroupChunks = kInt4Group / 8;  // of 8 columns: 16 bytes of an atom's row

// Column `col` of the pair-packed columns of a group.
__device__ __forceinline__ float column(const uint4 (&chunks)[kGroupChunks], int col) {
  const uint4& chunk = chunks[col / 8];
  const uint32_t pair = col % 8 < 2 ? chunk.x : col % 8 < 4 ? chunk.y : col % 8 < 6 ? chunk.z : chunk.w;
  return __uint_as_float(col % 2 ? pair & 0xFFFF0000u : pair << 16);
}

// One thread a row of a block: its groups one after another.
__global__ void __launch_bounds__(kThreads) round_kernel(char* to, const bfloat* from, const MatrixLayout layout) {
  wait_for_previous_kernel();
  const Int4Layout packed = Int4Layout::of(layout);
  const int64_t rows = packed.row_blocks * packed.col_blocks * 8;
  for (int64_t i = blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x; i < rows;
       i += static_cast<int64_t>(gridDim.x) * kThreads) {
    const int64_t block = i / 8, row_block = block / packed.col_blocks, col_block = block % packed.col_blocks,
                  row = i % 8;
    char* const out = to + packed.block(row_block, col_block);
#pragma unroll 1
    for (int group = 0; group < Int4Layout::kRowScales; ++group) {
      const int64_t first = col_block * Int4Layout::kBlockCols + group * kInt4Group;
      uint4 chunks[kGroupChunks];
#pragma unroll
      for (int c = 0; c < kGroupChunks; ++c) {
        const int64_t col = first + c * 8;
        chunks[c] = col < layout.padded_cols()
                        ? *reinterpret_cast<const uint4*>(from + layout.offset(row_block * 8 + row, col))
                        : make_uint4(0, 0, 0, 0);
      }
      const float scale = choose_int4_scale<kInt4Group>([&](int col) { return column(chunks, col); });
      const float inverse = int4_inverse(scale);
      *reinterpret_cast<uint16_t*>(out + Int4Layout::scale(row, group * kInt4Group)) = to_bf16(scale).bits;
#pragma unroll
      for (int c = 0; c < kInt4Group; c += 32) {
        uint32_t words[4] = {};  // of the four lanes that share the row
#pragma unroll
        for (int k = 0; k < 32; ++k) {
          const auto level = static_cast<int32_t>(int4_level(column(chunks, c + k), inverse)) + 8;
          words[k % 16 / 4] |= std::rotl(static_cast<uint32_t>(level), Int4Layout::shift(k));
        }
#pragma unroll
        for (int lane = 0; lane < 4; ++lane)
          *reinterpret_cast<uint32_t*>(out + Int4Layout::word(row, group * kInt4Group + c + 4 * lane)) = words[lane];
      }
    }
  }
}

// 32 columns of one row, by one thread: the words of the four lanes that share them, as four chunks of an atom's row.
// `to` is of layout `part`, `in` the block it is made of.
__device__ __forceinline__ void widen_part(bfloat* to, const MatrixLayout& part, const char* in, int64_t row_block,
                                           int64_t col_block, int32_t row, int32_t piece) {
  const int64_t col = col_block * Int4Layout::kBlockCols + piece * 32;
  if (col >= part.padded_cols()) return;
  const uint32_t scale = *reinterpret_cast<const uint16_t*>(in + Int4Layout::scale(row, piece * 32)) * 0x10001u,
                 bias = int4_biases(scale);
  uint32_t b[4][2][2];  // [lane][sixteen][pair]
#pragma unroll
  for (int lane = 0; lane < 4; ++lane)
#pragma unroll
    for (int sixteen = 0; sixteen < 2; ++sixteen)
      widen_four(b[lane][sixteen],
                 *reinterpret_cast<const uint32_t*>(in + Int4Layout::word(row, piece * 32 + 4 * lane)), sixteen, scale,
                 bias);
#pragma unroll
  for (int c = 0; c < 4; ++c) {  // the intrinsic, or the compiler stores them one by one
    const auto& first = b[c % 2 * 2][c / 2];
    const auto& second = b[c % 2 * 2 + 1][c / 2];
    __stcg(reinterpret_cast<uint4*>(to + part.offset(row_block * 8 + row, col + c * 8)),
           make_uint4(first[0], first[1], second[0], second[1]));
  }
}

// Row blocks first_row_block … of `from`, columns from block first_col_block on, by threads gridDim.x * kThreads at a
// time; 32 pieces a block, a row's four together.
__device__ __forceinline__ void widen_blocks(bfloat* to, const MatrixLayout& part, const char* from,
                                             const Int4Layout& packed, int64_t first_row_block, int64_t num_row_blocks,
                                             int64_t first_col_block) {
  const int64_t cols = Int4Layout::of(part).col_blocks;
  for (int64_t i = blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x; i < num_row_blocks * cols * 32;
       i += static_cast<int64_t>(gridDim.x) * kThreads) {
    const int64_t block = i / 32, row_block = first_row_block + block / cols, col_block = block % cols;
    widen_part(to, part, from + packed.block(row_block, first_col_block + col_block), row_block, col_block,
               static_cast<int32_t>(i % 32 / 4), static_cast<int32_t>(i % 4));
  }
}

__global__ void __launch_bounds__(kThreads) widen_kernel(bfloat* to, const MatrixLayout part, const char* from,
                                                         const MatrixLayout layout, int64_t first_block) {
  let_next_kernel_start();
  wait_for_previous_kernel();
  widen_blocks(to, part, from, Int4Layout::of(layout), 0, layout.row_blocks, first_block);
}

// blockIdx.y is a tile of the list; the first one of an expert has its matrix made.
__global__ void __launch_bounds__(kThreads)
    widen_experts_kernel(bfloat* to, const char* from, const MatrixLayout layout, const GroupTiles groups) {
  let_next_kernel_start();
  wait_for_previous_kernel();
  const auto tile = static_cast<int32_t>(blockIdx.y);
  if (tile >= *groups.count) return;
  const int32_t expert = groups.tiles[tile].expert;
  if (tile > 0 && groups.tiles[tile - 1].expert == expert) return;
  const int64_t rows = groups.row_blocks_per_expert;
  widen_blocks(to, layout, from, Int4Layout::of(layout), expert * rows, rows, 0);
}

unsigned grid_for(int64_t threads) {
  return static_cast<unsigned>(std::clamp<int64_t>((threads + kThreads - 1) / kThreads, 1, kMaxBlocks));
}

}  // namespace

cudaError_t round_to_int4(void* to, const void* from, const MatrixLayout& layout, cudaStream_t stream) {
  const Int4Layout packed = Int4Layout::of(layout);
  return launch(round_kernel, grid_for(packed.row_blocks * packed.col_blocks * 8), kThreads, 0, stream,
                static_cast<char*>(to), static_cast<const bfloat*>(from), layout);
}

cudaError_t widen_int4(void* to, const MatrixLayout& part, const void* from, const MatrixLayout& layout,
                       int64_t first_block, cudaStream_t stream) {
  return launch(widen_kernel, grid_for(part.row_blocks * Int4Layout::of(part).col_blocks * 32), kThreads, 0, stream,
                static_cast<bfloat*>(to), part, static_cast<const char*>(from), layout, first_block);
}

cudaError_t widen_int4_experts(void* to, const void* from, const MatrixLayout& layout, const GroupTiles& groups,
                               cudaStream_t stream) {
  const int64_t threads = groups.row_blocks_per_expert * Int4Layout::of(layout).col_blocks * 32;
  const dim3 grid(std::min(grid_for(threads), 64u), static_cast<unsigned>(groups.max_count));
  return launch(widen_experts_kernel, grid, kThreads, 0, stream, static_cast<bfloat*>(to),
                static_cast<const char*>(from), layout, groups);
}

}  // namespace qwill::cuda
