// gemm: Y[t, n] = sum over k of A[t, k] W[n, k], k in order in steps of 16, f32 sums from zero, on Hopper's wgmma.
// W [N, K] bf16 in atoms (cuda/layout.h), A [T, lda] bf16 row-major, Y f32 or bf16 by the epilogue (gemm.h).
// moves 2 N K + 2 T K bytes and Y once; few rows: bound by reading W; from some 250 rows on by the tensor cores.
// Weights are wgmma's M operand, tokens its N. In a block one warp loads and one or two warpgroups multiply, over a
// ring of stages of 64 columns; blocks are persistent, so that loads run on through a tile's epilogue. Blocks of a
// cluster have the same tokens and neighbouring weights, and each loads its share of the tokens for all of them. Before
// it waits for the kernel before it, a block has its ring full of weights on the way. equals: ops/reference.cpp linear,
// gated; bit for bit gemm_portable.cu    test and bench: bench/cuda/bench_gemm.cu
#include <algorithm>
#include <array>
#include <iterator>

#include "cuda/kernels/gemm.h"
#include "cuda/kernels/gemm_epilogue.cuh"
#include "cuda/kernels/launch.cuh"
#include "cuda/kernels/ptx.cuh"
#include "cuda/kernels/wgmma.cuh"

namespace qwill::cuda {
namespace {

// Weights are copied in boxes of 64 rows by 64 columns.
constexpr int32_t kBoxRows = 64;
constexpr int32_t kBoxBytes = kBoxRows * 128;

// What follows from a tile's size.
template <int kRows, int kTokens>
struct Shape {
  static constexpr int kWarpgroups = kRows / 64;
  static constexpr int kConsumers = kWarpgroups * 128;
  // Small tiles leave room for a second block on the multiprocessor, be it the next kernel's; a large one takes it all,
  // and wants registers that only a whole loading warpgroup can give away ("setmaxnreg").
  static constexpr bool kLarge = kRows * kTokens > 128 * 128;
  static constexpr int kBlocksPerSm = kLarge ? 1 : 2;
  static constexpr int kThreads = kConsumers + (kLarge ? 128 : 32);
  static constexpr int kBlocksAtOnce = kLarge ? 8 : kWarpgroups > 1 ? 2 : std::min(4, kTokens / 8);
  static constexpr int kSharedBytes = kLarge ? 227 * 1024 : 113 * 1024;
  static constexpr int kWeightBytes = kRows * 128;
  static constexpr int kTokenBytes = kTokens * 128;
  static constexpr int kStageBytes = kWeightBytes + kTokenBytes;
  static constexpr int kBarrierBytes = 256;
  static constexpr int kStages = (kSharedBytes - kBarrierBytes) / kStageBytes;
  static_assert(kStages >= 3 && kStages * 16 <= kBarrierBytes);
};

// Where in the ring a loader or a consumer is.
template <int kStages>
struct RingPosition {
  int32_t stage = 0;
  uint32_t parity = 0;
  __device__ __forceinline__ void advance() {
    if (++stage == kStages) stage = 0, parity ^= 1;
  }
};

template <int kRows, int kTokens, int kCluster>
__global__ __cluster_dims__(kCluster, 1, 1)
    __launch_bounds__(Shape<kRows, kTokens>::kThreads, Shape<kRows, kTokens>::kBlocksPerSm) void gemm_kernel(
        const __grid_constant__ CUtensorMap weight_map, const __grid_constant__ CUtensorMap token_map,
        const GemmTask task) {
  using S = Shape<kRows, kTokens>;
  extern __shared__ __align__(1024) uint8_t shared[];
  const uint32_t ring = shared_address(shared);
  const uint32_t barriers = ring + S::kStages * S::kStageBytes;
  const auto full = [&](int32_t stage) { return barriers + stage * 16; };
  const auto empty = [&](int32_t stage) { return barriers + stage * 16 + 8; };
  const uint32_t rank = kCluster == 1 ? 0 : rank_in_cluster();
  const int32_t first_tile = blockIdx.x / kCluster, tile_step = gridDim.x / kCluster;
  const bool is_loader = threadIdx.x == S::kConsumers;

  const auto load_weights = [&](int32_t stage, const TilePlace& place, int32_t k) {
    barrier_expect_bytes(full(stage), S::kStageBytes);
    const int32_t row_block = place.expert * task.row_blocks + (place.row_tile * kCluster + rank) * (kRows / kAtomRows);
#pragma unroll
    for (int32_t box = 0; box < S::kWarpgroups; ++box)
      copy_box(ring + stage * S::kStageBytes + box * kBoxBytes, &weight_map, 0, k,
               row_block + box * kBoxRows / kAtomRows, full(stage));
  };
  const auto load_tokens = [&](int32_t stage, const TilePlace& place, int32_t k) {
    constexpr int32_t kShare = kTokens / kCluster;
    const uint32_t to = ring + stage * S::kStageBytes + S::kWeightBytes + rank * kShare * 128;
    const int32_t token = place.token + rank * kShare;
    if constexpr (kCluster == 1)
      copy_box(to, &token_map, k * 64, token, full(stage));
    else
      copy_box_to_cluster(to, &token_map, k * 64, token, full(stage), (1 << kCluster) - 1);
  };

  int32_t ahead = 0;  // stages whose weights are on the way before anything of the kernel before is needed
  if (is_loader) {
    prefetch_map(&weight_map);
    prefetch_map(&token_map);
    for (int32_t stage = 0; stage < S::kStages; ++stage) {
      barrier_init(full(stage), 1);
      barrier_init(empty(stage), S::kWarpgroups * kCluster);
    }
    barrier_init_fence();
    if (task.groups == nullptr) {
      ahead = min(S::kStages, task.col_blocks);
      const TilePlace place = place_tile(task, first_tile, task.token_tiles, kTokens);
      for (int32_t k = 0; k < ahead; ++k) load_weights(k, place, k);
    }
  }
  __syncwarp();
  if constexpr (kCluster == 1)
    __syncthreads();
  else
    sync_cluster();
  let_next_kernel_start();
  wait_for_previous_kernel();

  const int32_t token_tiles = count_token_tiles(task);
  const int32_t num_tiles = task.row_tiles * token_tiles;
  RingPosition<S::kStages> at;
  if (threadIdx.x >= S::kConsumers) {
    if constexpr (S::kLarge) give_registers<24>();
    if (is_loader) {
      for (int32_t tile = first_tile; tile < num_tiles; tile += tile_step) {
        const TilePlace place = place_tile(task, tile, token_tiles, kTokens);
        for (int32_t k = 0; k < task.col_blocks; ++k, at.advance()) {
          if (ahead > 0) {
            --ahead;
          } else {
            barrier_wait(empty(at.stage), at.parity ^ 1);  // passes at once in the first round
            load_weights(at.stage, place, k);
          }
          load_tokens(at.stage, place, k);
        }
      }
    }
    __syncwarp();
  } else {
    if constexpr (S::kLarge) take_registers<240>();
    const int32_t warpgroup = threadIdx.x / 128, warp = threadIdx.x / 32;
    // A warpgroup's word to every block of the cluster that it has read the stage.
    const auto release = [&](int32_t stage) {
      if (threadIdx.x % 128 < kCluster) barrier_arrive_at(empty(stage), threadIdx.x % 128);
    };
    for (int32_t tile = first_tile; tile < num_tiles; tile += tile_step) {
      const TilePlace place = place_tile(task, tile, token_tiles, kTokens);
      float d[kTokens / 2];
#pragma unroll
      for (float& sum : d) sum = 0;
      int32_t previous = 0;
      for (int32_t k = 0; k < task.col_blocks; ++k, at.advance()) {
        barrier_wait(full(at.stage), at.parity);
        const uint32_t stage = ring + at.stage * S::kStageBytes;
        const uint64_t a = atom_descriptor(stage + warpgroup * kBoxBytes), b = atom_descriptor(stage + S::kWeightBytes);
        wgmma_fence();
#pragma unroll
        for (int step = 0; step < 4; ++step) wgmma(d, a + step * kDescriptorK16, b + step * kDescriptorK16);
        wgmma_commit();
        wgmma_wait<1>();
        if (k > 0) release(previous);
        previous = at.stage;
      }
      wgmma_wait<0>();
      release(previous);
      const int32_t row = (place.row_tile * kCluster + rank) * kRows + warp * 16;
      write_tile<kTokens / 8, S::kBlocksAtOnce>(task, d, row, place.token, place.end_token);
    }
  }
  // Others may still count arrivals at this block's barriers.
  if constexpr (kCluster > 1) sync_cluster();
}

struct Variant {
  GemmTile tile;
  void (*kernel)(CUtensorMap, CUtensorMap, GemmTask);
  int32_t threads;
  int32_t shared_bytes;
  int32_t blocks_per_sm;
};

template <int kRows, int kTokens, int kCluster>
constexpr Variant make_variant() {
  using S = Shape<kRows, kTokens>;
  return {{kRows, kTokens, kCluster},
          gemm_kernel<kRows, kTokens, kCluster>,
          S::kThreads,
          S::kStages * S::kStageBytes + S::kBarrierBytes,
          S::kBlocksPerSm};
}

constexpr Variant kVariants[] = {
    make_variant<64, 16, 1>(),   make_variant<64, 32, 1>(),   make_variant<64, 32, 2>(),   make_variant<64, 64, 1>(),
    make_variant<64, 64, 2>(),   make_variant<64, 64, 4>(),   make_variant<128, 64, 1>(),  make_variant<128, 64, 2>(),
    make_variant<64, 128, 1>(),  make_variant<64, 128, 2>(),  make_variant<64, 128, 4>(),  make_variant<128, 128, 1>(),
    make_variant<128, 128, 2>(), make_variant<128, 128, 4>(), make_variant<128, 256, 1>(), make_variant<128, 256, 2>(),
};

// The driver's function, found at run time: the program must start where there is no driver.
using EncodeTiled = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                                 const cuuint64_t*, const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave,
                                 CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
EncodeTiled find_encode_tiled() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found;
  if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found) !=
          cudaSuccess ||
      found != cudaDriverEntryPointSuccess)
    return nullptr;
  return reinterpret_cast<EncodeTiled>(function);
}

// strides are of the dimensions from the second on, in bytes.
template <int kRank>
cudaError_t encode_map(CUtensorMap& map, CUtensorMapDataType type, const void* data, const cuuint64_t (&size)[kRank],
                       const cuuint64_t (&strides)[kRank - 1], const cuuint32_t (&box)[kRank],
                       CUtensorMapSwizzle swizzle) {
  static const EncodeTiled encode = find_encode_tiled();
  if (encode == nullptr) return cudaErrorNotSupported;
  cuuint32_t steps[kRank];
  std::fill_n(steps, kRank, 1);
  const CUresult result =
      encode(&map, type, kRank, const_cast<void*>(data), size, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
             swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

}  // namespace

std::span<const GemmTile> gemm_tiles() {
  static const auto tiles = [] {
    std::array<GemmTile, std::size(kVariants)> list;
    std::ranges::transform(kVariants, list.begin(), &Variant::tile);
    return list;
  }();
  return tiles;
}

GemmTile choose_gemm_tile(int64_t weight_rows, int64_t num_rows, int num_sms) {
  if (num_rows <= 16) return {64, 16, 1};
  if (num_rows <= 32) return {64, 32, 1};
  if (num_rows <= 64) return {64, 64, 2};
  if (num_rows <= 256) return {64, 128, 2};
  const int64_t large_tiles = (weight_rows + 127) / 128 * ((num_rows + 255) / 256);
  return large_tiles * 4 < num_sms * 3 ? GemmTile{128, 128, 2} : GemmTile{128, 256, 2};
}

GemmTile choose_grouped_gemm_tile(int32_t tile_rows) {
  if (tile_rows <= 16) return {64, 16, 1};
  if (tile_rows <= 32) return {64, 32, 1};
  if (tile_rows <= 64) return {64, 64, 1};
  if (tile_rows <= 128) return {128, 128, 2};
  return {128, 256, 2};
}

cudaError_t make_weight_map(const void* data, const MatrixLayout& layout, CUtensorMap& map) {
  // An atom as 128 elements of eight bytes, since a box has at most 256.
  const auto row_blocks = static_cast<cuuint64_t>(layout.row_blocks), cols = static_cast<cuuint64_t>(layout.col_blocks);
  return encode_map<3>(map, CU_TENSOR_MAP_DATA_TYPE_UINT64, data, {kAtomBytes / 8, cols, row_blocks},
                       {kAtomBytes, kAtomBytes * cols}, {kAtomBytes / 8, 1, kBoxRows / kAtomRows},
                       CU_TENSOR_MAP_SWIZZLE_NONE);
}

cudaError_t prepare_gemm_wgmma() {
  for (const Variant& variant : kVariants)
    if (const cudaError_t error = allow_shared(variant.kernel, variant.shared_bytes); error != cudaSuccess)
      return error;
  return cudaSuccess;
}

cudaError_t gemm_wgmma(const GemmCall& call, const GemmTile& tile, int num_sms, cudaStream_t stream) {
  const auto* variant = std::ranges::find(kVariants, tile, &Variant::tile);
  if (variant == std::end(kVariants)) return cudaErrorInvalidValue;
  const GemmTask task = make_task(call, tile.rows * tile.cluster, tile.tokens);
  CUtensorMap token_map;
  const cudaError_t error = encode_map<2>(
      token_map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, call.a,
      {static_cast<cuuint64_t>(call.weight->layout.padded_cols()), static_cast<cuuint64_t>(call.num_rows)},
      {static_cast<cuuint64_t>(call.lda) * sizeof(bfloat)},
      {kAtomCols, static_cast<cuuint32_t>(tile.tokens / tile.cluster)}, CU_TENSOR_MAP_SWIZZLE_128B);
  if (error != cudaSuccess) return error;
  const int64_t room = static_cast<int64_t>(num_sms) * variant->blocks_per_sm / tile.cluster;
  const int64_t clusters = std::min(room, static_cast<int64_t>(task.row_tiles) * task.token_tiles);
  return launch(variant->kernel, static_cast<unsigned>(clusters * tile.cluster), variant->threads,
                variant->shared_bytes, stream, call.weight->map, token_map, task);
}

}  // namespace qwill::cuda
