// gemm_fp8_wide: as gemm_fp8.cu, for many rows: what that computes, with tokens as the rows that wgmma multiplies.
// A block multiplies 128 tokens with 256 or 128 weight rows, a warpgroup 64 of them; two blocks of a cluster have
// neighbouring tokens and share the loading of the weights.
// Bound by shared memory: of 128 columns the two warpgroups read 96 KB of a tile of 256 weight rows in products of 128,
// whose sums leave registers for no wider ones, and 48 KB arrive: 1,152 cycles at 128 bytes each, where the tensor
// cores would want 1,024. And by the card's power. Why tokens are rows: a thread has sums of two tokens, so of a
// block's scales it needs two, not two for every eight tokens from shared memory; and a row of a tile's activations is
// within four lanes, which round it to e4m3 at once. Two warpgroups take turns: while one adds what it multiplied, the
// tensor cores work for the other. Tried and lost: tokens in registers (1,430 to 1,550 cycles instead of 1,270),
// products of 64 weight rows of which two are under way (the same), no turns (the same or 2 % slower), the weights'
// scales read where they are needed (an epilogue of 13,000 cycles instead of 5,000). equals: bit for bit gemm_fp8.cu,
// and what rounds in two steps    test and bench: bench/cuda/bench_fp8.cu
#include "cuda/kernels/fp8.h"
#include "cuda/kernels/gemm_fp8_output.cuh"
#include "cuda/kernels/gemm_ring.cuh"
#include "cuda/kernels/tensor_map.cuh"

namespace qwill::cuda {
namespace {

constexpr int32_t kTokens = 128;  // of a block
constexpr int32_t kPair = 2;      // blocks of a cluster
constexpr int32_t kGroupTokens = 64;
constexpr int32_t kGroups = kTokens / kGroupTokens, kConsumers = kGroups * 128;
constexpr int32_t kThreads = kConsumers + 128;
constexpr int kPartSums = 64;  // of a thread: 128 weight rows at once

// Of a barrier's kCount threads some only say that they have come ("bar.arrive").
template <int kCount>
__device__ __forceinline__ void arrive_threads(int barrier) {
  asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "n"(kCount) : "memory");
}
__device__ __forceinline__ float load_float(uint32_t address) {
  float v;
  asm volatile("ld.shared.f32 %0, [%1];" : "=f"(v) : "r"(address) : "memory");
  return v;
}

// Shared memory: the stages, their scales, what each warp stages, the weights' scales for each warpgroup, barriers.
template <int kRows>
struct WideShape {
  static constexpr int32_t kTokenBytes = kTokens * 128, kWeightBytes = kRows * 128;
  static constexpr int32_t kStageBytes = kTokenBytes + kWeightBytes, kScaleBytes = kTokens * 4;
  static constexpr int32_t kStages = kRows == 256 ? 4 : 6;
  static constexpr int32_t kScales = kStages * kStageBytes;
  static constexpr int32_t kStaging = kScales + kStages * kScaleBytes;
  static constexpr int32_t kWeightScales = kStaging + kConsumers / 32 * TokenOutput<kRows>::kStagingBytes;
  static constexpr int32_t kBarriers = kWeightScales + kGroups * kRows * 4;
  static constexpr int32_t kBytes = kBarriers + kStages * 24;
  static_assert(kBytes <= 227 * 1024);
};

struct Operands {
  CUtensorMap tokens, scales;
  int32_t box_rows;  // of the boxes of tokens
  const float* weight_scales;
  int32_t weight_rows;  // that have scales
  Fp8Rows rounded;
};

template <int kRows>
__global__ __cluster_dims__(kPair, 1, 1)
    __launch_bounds__(kThreads, 1) void wide_kernel(const __grid_constant__ CUtensorMap weight_map,
                                                    const __grid_constant__ Operands operands,
                                                    const __grid_constant__ GemmTask task) {
  using S = WideShape<kRows>;
  extern __shared__ __align__(1024) uint8_t shared[];
  const uint32_t stages = shared_address(shared), barriers = stages + S::kBarriers;
  const auto full = [&](int32_t stage) { return barriers + stage * 24; };
  const auto empty = [&](int32_t stage) { return barriers + stage * 24 + 8; };
  const auto early = [&](int32_t stage) {
    return barriers + stage * 24 + 16;
  };  // its weights alone, in the first round
  const int32_t warp = __shfl_sync(~0u, threadIdx.x / 32, 0);  // in uniform registers, as in gemm_ring.cuh
  constexpr int32_t kLoader = kConsumers / 32;
  const int32_t rank = rank_in_cluster(), cols = task.col_blocks;
  const int32_t first_tile = blockIdx.x / kPair, tile_step = gridDim.x / kPair;
  const int32_t num_tiles = task.row_tiles * task.token_tiles;

  // Of the pair's second block there may be no tokens: it loads its share of the weights nevertheless.
  const auto place_of = [&](int32_t tile) {
    TilePlace place = place_tile(task, tile, task.token_tiles, kPair * kTokens);
    place.token += rank * kTokens;
    place.end_token = min(place.end_token, place.token + kTokens);
    return place;
  };
  // Half of them, for both blocks; by one lane of the loading warp.
  const auto load_weights = [&](int32_t stage, int32_t row_tile, int32_t k, uint32_t barrier) {
    constexpr int32_t kBoxes = kRows / kMostBoxRows / kPair;
#pragma unroll
    for (int32_t box = rank * kBoxes, end = box + kBoxes; box < end; ++box)
      copy_box_to_cluster(stages + stage * S::kStageBytes + S::kTokenBytes + box * kMostBoxBytes, &weight_map, 0, k,
                          (row_tile * kRows + box * kMostBoxRows) / static_cast<int32_t>(kAtomRows), barrier,
                          (1 << kPair) - 1);
  };

  int32_t ahead = 0;  // stages whose weights are on the way before anything of the kernel before is needed
  if (warp == kLoader && elect_lane()) {
    prefetch_map(&weight_map);
    prefetch_map(&operands.tokens);
#pragma unroll 1
    for (int32_t stage = 0; stage < S::kStages; ++stage) {
      barrier_init(full(stage), 1);
      barrier_init(early(stage), 1);
      barrier_init(empty(stage), kPair * kConsumers / 32);
    }
    barrier_init_fence();
  }
  sync_cluster();
  let_next_kernel_start();
  if (warp == kLoader) {
    const TilePlace place = place_of(first_tile);
    ahead = min(S::kStages, cols);
#pragma unroll 1
    for (int32_t k = 0; k < ahead; ++k) {
      if (elect_lane()) {
        barrier_expect_bytes(early(k), S::kWeightBytes);
        load_weights(k, place.row_tile, k, early(k));
      }
    }
  }
  wait_for_previous_kernel();

  RingPosition at;
  if (warp >= kLoader) {
    give_registers<24>();
    if (warp == kLoader) {
      for (int32_t tile = first_tile; tile < num_tiles; tile += tile_step) {
        const TilePlace place = place_of(tile);
        if (task.epilogue == Epilogue::add) prefetch_sums<kRows>(task, place);
        const int32_t boxes = max(0, place.end_token - place.token + operands.box_rows - 1) / operands.box_rows;
        const int32_t box_bytes = operands.box_rows * 128;
#pragma unroll 1
        for (int32_t k = 0; k < cols; ++k, at.advance(S::kStages)) {
          const bool weights_needed = --ahead < 0;
          barrier_wait(weights_needed ? empty(at.stage) : early(at.stage), weights_needed ? at.parity ^ 1 : 0);
          if (elect_lane()) {
            barrier_expect_bytes(full(at.stage),
                                 (weights_needed ? S::kWeightBytes : 0) + S::kScaleBytes + boxes * box_bytes);
            if (weights_needed) load_weights(at.stage, place.row_tile, k, full(at.stage));
            copy_box(stages + S::kScales + at.stage * S::kScaleBytes, &operands.scales, place.token, k, full(at.stage));
#pragma unroll 1
            for (int32_t box = 0; box < boxes; ++box)
              copy_box(stages + at.stage * S::kStageBytes + box * box_bytes, &operands.tokens, k * kFp8AtomCols,
                       place.token + box * operands.box_rows, full(at.stage));
          }
        }
      }
    }
  } else {
    take_registers<240>();
    const int32_t group = warp / 4, thread = threadIdx.x % 128, lane = threadIdx.x % 32;
    char* const staging = reinterpret_cast<char*>(shared) + S::kStaging + warp * TokenOutput<kRows>::kStagingBytes;
    float* const weight_scales = reinterpret_cast<float*>(shared + S::kWeightScales) + group * kRows;
    constexpr int kTurn = 1, kScalesReady = kTurn + kGroups;  // barriers, of each warpgroup one
    if (group == 1) arrive_threads<kConsumers>(kTurn);        // the first begins
    for (int32_t tile = first_tile; tile < num_tiles; tile += tile_step) {
      const TilePlace place = place_of(tile);
      const int32_t row = place.row_tile * kRows;
      float scales[kRows / 128];  // on the way while the tile is multiplied
#pragma unroll
      for (int i = 0; i < kRows / 128; ++i)
        scales[i] = __ldg(operands.weight_scales + min(row + thread + 128 * i, operands.weight_rows - 1));
      float d[kRows / 2];
#pragma unroll
      for (float& sum : d) sum = 0;
#pragma unroll 1
      for (int32_t k = 0; k < cols; ++k, at.advance(S::kStages)) {
        barrier_wait(full(at.stage), at.parity);
        const uint32_t stage = stages + at.stage * S::kStageBytes;
        const uint32_t scale = stages + S::kScales + at.stage * S::kScaleBytes + (warp * 16 + lane / 4) * 4;
        const float near = load_float(scale), far = load_float(scale + 8 * 4);
#pragma unroll
        for (int part = 0; part < kRows / 128; ++part) {
          float sums[kPartSums];
          const uint64_t a = atom_descriptor(stage + group * kGroupTokens * 128);
          const uint64_t b = atom_descriptor(stage + S::kTokenBytes + part * 128 * 128);
          sync_threads<kConsumers>(kTurn + group);
          wgmma_fence();
#pragma unroll
          for (int step = 0; step < 4; ++step)
            wgmma_fp8(sums, a + step * kDescriptorK32Fp8, b + step * kDescriptorK32Fp8, step > 0);
          wgmma_commit();
          arrive_threads<kConsumers>(kTurn + 1 - group);
          wgmma_wait<0>(sums);
          if (part == kRows / 128 - 1) {
            __syncwarp();
            if (lane < kPair) barrier_arrive_at(empty(at.stage), lane);
          }
#pragma unroll
          for (int i = 0; i < kPartSums; ++i)
            d[part * kPartSums + i] = __fmaf_rn(sums[i], i % 4 < 2 ? near : far, d[part * kPartSums + i]);
        }
      }
      sync_threads<128>(kScalesReady + group);  // the last tile's have been read
#pragma unroll
      for (int i = 0; i < kRows / 128; ++i) weight_scales[thread + 128 * i] = scales[i];
      sync_threads<128>(kScalesReady + group);
      const int32_t token = place.token + warp * 16;
      if (token < place.end_token)
        TokenOutput<kRows>(task, weight_scales, staging, row, token, place.end_token).finish(d, operands.rounded);
    }
  }
  sync_cluster();  // the other block may still send weights and arrivals here
}

template <int kRows>
cudaError_t launch_wide(const Fp8Call& call, const Operands& operands, int num_sms, cudaStream_t stream) {
  const GemmTask task = make_task(call, kRows, kPair * kTokens);
  const int64_t pairs = std::min<int64_t>(num_sms / kPair, static_cast<int64_t>(task.row_tiles) * task.token_tiles);
  return launch(wide_kernel<kRows>, static_cast<unsigned>(kPair * pairs), kThreads, WideShape<kRows>::kBytes, stream,
                call.weight->map, operands, task);
}

}  // namespace

cudaError_t prepare_gemm_fp8_wide() {
  const cudaError_t error = allow_shared(wide_kernel<128>, WideShape<128>::kBytes);
  return error == cudaSuccess ? allow_shared(wide_kernel<256>, WideShape<256>::kBytes) : error;
}

cudaError_t gemm_fp8_wide(const Fp8Call& call, const GemmTile& tile, int num_sms, cudaStream_t stream) {
  Operands operands;
  operands.weight_scales = call.weight->scales;
  operands.weight_rows = static_cast<int32_t>(call.weight->layout.rows());
  operands.box_rows = choose_box_rows(false, call.num_rows, {tile.rows, kTokens, true, 1});
  operands.rounded = call.rounded;
  const auto cols = static_cast<cuuint64_t>(call.a.padded_cols), rows = static_cast<cuuint64_t>(call.num_rows);
  constexpr auto kAtom = static_cast<cuuint32_t>(kFp8AtomCols);
  if (const cudaError_t error =
          encode_map<2>(operands.tokens, CU_TENSOR_MAP_DATA_TYPE_UINT8, call.a.data, {cols, rows}, {cols},
                        {kAtom, static_cast<cuuint32_t>(operands.box_rows)}, CU_TENSOR_MAP_SWIZZLE_128B);
      error != cudaSuccess)
    return error;
  if (const cudaError_t error = encode_map<2>(
          operands.scales, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, call.a.scales, {rows, cols / kAtom},
          {static_cast<cuuint64_t>(call.a.scale_stride) * sizeof(float)}, {kTokens, 1}, CU_TENSOR_MAP_SWIZZLE_NONE);
      error != cudaSuccess)
    return error;
  return tile.rows == 256 ? launch_wide<256>(call, operands, num_sms, stream)
                          : launch_wide<128>(call, operands, num_sms, stream);
}

}  // namespace qwill::cuda
