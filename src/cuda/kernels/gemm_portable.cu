// gemm: Y[t, n] = sum over k of A[t, k] W[n, k], k in order in steps of 16, f32 sums from zero, on mma.sync.
// W [N, K] bf16 in atoms (cuda/layout.h), A [T, lda] bf16 row-major, Y f32 or bf16 by the epilogue (gemm.h).
// moves 2 N K + 2 T K bytes and Y once; few rows: bound by reading W; many: by the tensor cores, and by shared memory,
// since every warp reads all tokens of the tile. One block a tile, 64 weight rows, sixteen a warp; three stages of 64
// columns by cp.async, the first ones' weights before the wait for the kernel before.
// equals: ops/reference.cpp linear, gated; bit for bit gemm_wgmma.cu    test and bench: bench/cuda/bench_gemm.cu
#include "cuda/kernels/gemm.h"
#include "cuda/kernels/gemm_epilogue.cuh"
#include "cuda/kernels/launch.cuh"
#include "cuda/kernels/ptx.cuh"

namespace qwill::cuda {
namespace {

constexpr int32_t kRows = 64;
constexpr int32_t kThreads = kRows / 16 * 32;
constexpr int32_t kStages = 3;
constexpr int32_t kWeightBytes = kRows * 128;
constexpr int32_t stage_bytes(int32_t tokens) { return kWeightBytes + tokens * 128; }
template <int kTokens>
constexpr int32_t kSharedBytes = kStages* stage_bytes(kTokens) + kRows / 16 * WarpOutput<kTokens>::kStagingBytes;

// Byte offset of 16-byte chunk `chunk` of a row, in atoms one below the other.
__device__ __forceinline__ int32_t chunk_offset(int32_t row, int32_t chunk) {
  return 2 * static_cast<int32_t>(row / kAtomRows * kAtomElements + offset_in_atom(row, chunk * 8));
}

template <int kTokens>
__global__ __launch_bounds__(kThreads) void gemm_kernel(const bfloat* weights, const bfloat* a, int64_t lda,
                                                        const GemmTask task) {
  extern __shared__ __align__(1024) uint8_t shared[];
  const uint32_t ring = shared_address(shared);
  const int32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32, cols = task.col_blocks;

  const auto load_weights = [&](const TilePlace& place, int32_t k) {
    const uint32_t to = ring + k % kStages * stage_bytes(kTokens);
    const int32_t first_block = place.row_tile * (kRows / kAtomRows);
    constexpr int32_t kChunks = kAtomBytes / 16;
#pragma unroll
    for (int32_t i = threadIdx.x; i < kWeightBytes / 16; i += kThreads) {
      const int32_t block = first_block + i / kChunks;
      const int64_t atom = (static_cast<int64_t>(place.expert) * task.row_blocks + block) * cols + k;
      const bool inside = block < task.row_blocks;
      copy_16_async(to + i * 16, inside ? weights + atom * kAtomElements + i % kChunks * 8 : weights, inside ? 16 : 0);
    }
  };
  const auto load_tokens = [&](const TilePlace& place, int32_t k) {
    const uint32_t to = ring + k % kStages * stage_bytes(kTokens) + kWeightBytes;
#pragma unroll
    for (int32_t i = threadIdx.x; i < kTokens * 8; i += kThreads) {
      const int32_t token = place.token + i / 8;
      const bool inside = token < task.num_tokens;
      copy_16_async(to + chunk_offset(i / 8, i % 8), inside ? a + token * lda + k * 64 + i % 8 * 8 : a,
                    inside ? 16 : 0);
    }
  };

  TilePlace place;
  const int32_t ahead = min(kStages - 1, cols);
  if (task.groups == nullptr) {
    place = place_tile(task, blockIdx.x, task.token_tiles, kTokens);
    for (int32_t k = 0; k < ahead; ++k) load_weights(place, k);
  }
  let_next_kernel_start();
  wait_for_previous_kernel();
  if (task.groups != nullptr) {
    const int32_t token_tiles = *task.num_groups;
    if (static_cast<int32_t>(blockIdx.x) >= task.row_tiles * token_tiles) return;
    place = place_tile(task, blockIdx.x, token_tiles, kTokens);
    for (int32_t k = 0; k < ahead; ++k) load_weights(place, k);
  }
  for (int32_t k = 0; k < kStages - 1; ++k) {
    if (k < cols) load_tokens(place, k);
    commit_copies();
  }

  float d[kTokens / 2] = {};
  for (int32_t k = 0; k < cols; ++k) {
    wait_for_copies<kStages - 2>();
    __syncthreads();  // the stage is there for all warps, and all have done with the one that is filled next
    if (k + kStages - 1 < cols) {
      load_weights(place, k + kStages - 1);
      load_tokens(place, k + kStages - 1);
    }
    commit_copies();
    const uint32_t stage = ring + k % kStages * stage_bytes(kTokens);
#pragma unroll
    for (int32_t step = 0; step < 4; ++step) {
      uint32_t weight[4];
      load_matrices(weight, stage + chunk_offset(warp * 16 + lane % 16, 2 * step + lane / 16));
#pragma unroll
      for (int32_t block = 0; block < kTokens / 8; block += 2) {
        uint32_t token[4];
        load_matrices(
            token, stage + kWeightBytes + chunk_offset(8 * block + lane / 16 * 8 + lane % 8, 2 * step + lane / 8 % 2));
        mma_16x8x16(*reinterpret_cast<float(*)[4]>(d + 4 * block), weight, token[0], token[1]);
        mma_16x8x16(*reinterpret_cast<float(*)[4]>(d + 4 * block + 4), weight, token[2], token[3]);
      }
    }
  }
  WarpOutput<kTokens> output;
  output.begin(task, place.row_tile * kRows + warp * 16, place.token, place.end_token);
  output.finish(task, d,
                reinterpret_cast<float*>(shared + kStages * stage_bytes(kTokens) + warp * output.kStagingBytes));
}

template <int kTokens>
cudaError_t launch_tiles(const GemmCall& call, cudaStream_t stream) {
  const GemmTask task = make_task(call, kRows, kTokens);
  const int64_t tiles = static_cast<int64_t>(task.row_tiles) * task.token_tiles;
  return launch(call.fresh_weight ? Start::after : Start::early, gemm_kernel<kTokens>, static_cast<unsigned>(tiles),
                kThreads, kSharedBytes<kTokens>, stream, static_cast<const bfloat*>(call.weight->data),
                static_cast<const bfloat*>(call.a), call.lda, task);
}

}  // namespace

cudaError_t prepare_gemm_portable() { return allow_shared(gemm_kernel<128>, kSharedBytes<128>); }

cudaError_t gemm_portable(const GemmCall& call, cudaStream_t stream) {
  const int64_t tokens = call.grouped ? call.grouped->tile_rows : call.num_rows;
  if (call.grouped && tokens > 128) return cudaErrorInvalidValue;
  return tokens <= 16 ? launch_tiles<16>(call, stream) : launch_tiles<128>(call, stream);
}

}  // namespace qwill::cuda
