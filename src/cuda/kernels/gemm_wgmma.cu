// gemm: Y[t, n] = sum over k of A[t, k] W[n, k], k in order in steps of 16, f32 sums from zero, on Hopper's wgmma.
// W [N, K] bf16 in atoms (cuda/layout.h), A [T, lda] bf16 row-major, Y f32 or bf16 by the epilogue (gemm.h).
// moves 2 N K + 2 T K bytes and Y once; few rows: bound by reading W; from some 250 rows on by the tensor cores.
// Weights are wgmma's M operand, tokens its N. In a block one warp loads and one to three warpgroups multiply, over a
// ring of stages of 64 columns; blocks are persistent, so that loads run on through a tile's epilogue. Two blocks of a
// cluster have the same tokens and neighbouring weights, and share the loading of the tokens: without, the L2 cache
// binds the largest tile (24576 x 4096, 2048 rows: 720 TFLOP/s alone, 838 in pairs). Before it waits for the kernel
// before it, a block has its ring full of weights on the way.
// Tried and lost: fetching more weights to the L2 cache ahead of the wait; clusters for the smaller tiles (1 % at best,
// mostly slower); sums stored from the registers (no faster).
// equals: ops/reference.cpp linear, gated; bit for bit gemm_portable.cu    test and bench: bench/cuda/bench_gemm.cu
#include <algorithm>
#include <array>
#include <utility>

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
  static constexpr int kConsumers = kRows / 64 * 128;
  // The sums of the largest tile want registers that only a whole loading warpgroup can give away ("setmaxnreg").
  static constexpr bool kMovesRegisters = kConsumers * kTokens >= 256 * 256;
  static constexpr int kThreads = kConsumers + (kMovesRegisters ? 128 : 32);
  static constexpr int kBlocksPerSm = kRows == 64 ? 2 : 1;
  static constexpr int kWeightBytes = kRows * 128;
  static constexpr int kStageBytes = kWeightBytes + kTokens * 128;
  static constexpr int kStagingBytes = kConsumers / 32 * WarpOutput<kTokens>::kStagingBytes;
};

// Shared memory holds the stages, what the epilogue stages, and two barriers a stage.
struct Ring {
  int32_t stages;
  int32_t box_rows;  // of the boxes of tokens
};

// Where in the ring a loader or a consumer is.
struct RingPosition {
  int32_t stage = 0;
  uint32_t parity = 0;
  __device__ __forceinline__ void advance(int32_t stages) {
    if (++stage == stages) stage = 0, parity ^= 1;
  }
};

template <int kRows, int kTokens, int kCluster>
__global__ __cluster_dims__(kCluster, 1, 1)
    __launch_bounds__(Shape<kRows, kTokens>::kThreads, Shape<kRows, kTokens>::kBlocksPerSm) void gemm_kernel(
        const __grid_constant__ CUtensorMap weight_map, const __grid_constant__ CUtensorMap token_map,
        const __grid_constant__ GemmTask task, const Ring ring) {
  using S = Shape<kRows, kTokens>;
  extern __shared__ __align__(1024) uint8_t shared[];
  const uint32_t stages = shared_address(shared);
  const uint32_t barriers = stages + ring.stages * S::kStageBytes + S::kStagingBytes;
  const auto full = [&](int32_t stage) { return barriers + stage * 16; };
  const auto empty = [&](int32_t stage) { return barriers + stage * 16 + 8; };
  // The compiler sees that this is the same in all lanes, and keeps the loader in uniform registers: without, loading a
  // stage takes longer than multiplying it.
  const int32_t warp = __shfl_sync(~0u, threadIdx.x / 32, 0);
  constexpr int32_t kLoader = S::kConsumers / 32;
  const int32_t rank = kCluster == 1 ? 0 : rank_in_cluster(), cols = task.col_blocks;
  const int32_t first_tile = blockIdx.x / kCluster, tile_step = gridDim.x / kCluster;

  const auto place_of = [&](int32_t tile, int32_t token_tiles) {
    TilePlace place = place_tile(task, tile, token_tiles, kTokens);
    place.row_tile = place.row_tile * kCluster + rank;
    return place;
  };
  const auto first_block = [&](const TilePlace& place) {
    return place.expert * task.row_blocks + place.row_tile * (kRows / kAtomRows);
  };
  const auto token_boxes = [&](const TilePlace& place) {
    return (place.end_token - place.token + ring.box_rows - 1) / ring.box_rows;
  };
  // By one lane of the loading warp. The barrier waits for the tokens as well.
  const auto load_weights = [&](int32_t stage, int32_t row_block, int32_t k, uint32_t token_bytes) {
    barrier_expect_bytes(full(stage), S::kWeightBytes + token_bytes);
#pragma unroll
    for (int32_t box = 0; box < kRows / kBoxRows; ++box)
      copy_box(stages + stage * S::kStageBytes + box * kBoxBytes, &weight_map, 0, k,
               row_block + box * kBoxRows / kAtomRows, full(stage));
  };

  int32_t ahead = 0;  // stages whose weights are on the way before anything of the kernel before is needed
  if (warp == kLoader) {
    if (elect_lane()) {
      prefetch_map(&weight_map);
      prefetch_map(&token_map);
#pragma unroll 1
      for (int32_t stage = 0; stage < ring.stages; ++stage) {
        barrier_init(full(stage), 1);
        barrier_init(empty(stage), S::kConsumers / 128 * kCluster);
      }
      barrier_init_fence();
    }
    if (task.groups == nullptr) {
      const TilePlace place = place_of(first_tile, task.token_tiles);
      const int32_t row_block = first_block(place), token_bytes = token_boxes(place) * ring.box_rows * 128;
      ahead = min(ring.stages, cols);
#pragma unroll 1
      for (int32_t k = 0; k < ahead; ++k)
        if (elect_lane()) load_weights(k, row_block, k, token_bytes);
    }
  }
  if constexpr (kCluster == 1)
    __syncthreads();
  else
    sync_cluster();
  let_next_kernel_start();
  wait_for_previous_kernel();

  const int32_t token_tiles = count_token_tiles(task);
  const int32_t num_tiles = task.row_tiles * token_tiles;
  RingPosition at;
  if (warp >= kLoader) {
    if constexpr (S::kMovesRegisters) give_registers<40>();
    if (warp == kLoader) {
      for (int32_t tile = first_tile; tile < num_tiles; tile += tile_step) {
        const TilePlace place = place_of(tile, token_tiles);
        if (task.epilogue == Epilogue::add && !WarpOutput<kTokens>::kAllAhead) prefetch_sums<kRows>(task, place);
        const int32_t row_block = first_block(place), boxes = token_boxes(place), box_bytes = ring.box_rows * 128;
#pragma unroll 1
        for (int32_t k = 0; k < cols; ++k, at.advance(ring.stages)) {
          const bool weights_needed = --ahead < 0;
          if (weights_needed) barrier_wait(empty(at.stage), at.parity ^ 1);  // passes at once in the first round
          if (elect_lane()) {
            if (weights_needed) load_weights(at.stage, row_block, k, boxes * box_bytes);
            const uint32_t to = stages + at.stage * S::kStageBytes + S::kWeightBytes;
#pragma unroll 1
            for (int32_t box = rank; box < boxes; box += kCluster) {
              const int32_t token = place.token + box * ring.box_rows;
              if constexpr (kCluster == 1)
                copy_box(to + box * box_bytes, &token_map, k * 64, token, full(at.stage));
              else
                copy_box_to_cluster(to + box * box_bytes, &token_map, k * 64, token, full(at.stage),
                                    (1 << kCluster) - 1);
            }
          }
        }
      }
    }
  } else {
    if constexpr (S::kMovesRegisters) take_registers<232>();
    uint8_t* const staging = shared + ring.stages * S::kStageBytes + warp * WarpOutput<kTokens>::kStagingBytes;
    // A warpgroup's word to every block of the cluster that it has read the stage.
    const auto release = [&](int32_t stage) {
      if (threadIdx.x % 128 < kCluster) {
        if constexpr (kCluster == 1)
          barrier_arrive(empty(stage));
        else
          barrier_arrive_at(empty(stage), threadIdx.x % 128);
      }
    };
    for (int32_t tile = first_tile; tile < num_tiles; tile += tile_step) {
      const TilePlace place = place_of(tile, token_tiles);
      WarpOutput<kTokens> output;
      output.begin(task, place.row_tile * kRows + warp * 16, place.token, place.end_token);
      float d[kTokens / 2];
#pragma unroll
      for (float& sum : d) sum = 0;
      int32_t previous = 0;
      for (int32_t k = 0; k < cols; ++k, at.advance(ring.stages)) {
        barrier_wait(full(at.stage), at.parity);
        const uint32_t stage = stages + at.stage * S::kStageBytes;
        const uint64_t a = atom_descriptor(stage + warp / 4 * kBoxBytes), b = atom_descriptor(stage + S::kWeightBytes);
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
      output.finish(task, d, reinterpret_cast<float*>(staging));
    }
  }
  // Others may still send tokens and arrivals to this block's shared memory.
  if constexpr (kCluster > 1) sync_cluster();
}

struct Variant {
  GemmTile tile;
  void (*kernel)(CUtensorMap, CUtensorMap, GemmTask, Ring);
  int32_t threads;
  int32_t stage_bytes;
  int32_t staging_bytes;

  int32_t stages() const { return ((tile.deep ? 227 : 113) * 1024 - staging_bytes) / (stage_bytes + 16); }
  int32_t shared_bytes() const { return stages() * (stage_bytes + 16) + staging_bytes; }
};

template <size_t... I>
constexpr std::array<Variant, sizeof...(I)> make_variants(std::index_sequence<I...>) {
  constexpr const auto& tiles = kGemmTiles;
  return {Variant{tiles[I], gemm_kernel<tiles[I].rows, tiles[I].tokens, tiles[I].cluster>,
                  Shape<tiles[I].rows, tiles[I].tokens>::kThreads, Shape<tiles[I].rows, tiles[I].tokens>::kStageBytes,
                  Shape<tiles[I].rows, tiles[I].tokens>::kStagingBytes}...};
}
constexpr auto kVariants = make_variants(std::make_index_sequence<std::size(kGemmTiles)>());

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

// Boxes of tokens: one if that fits exactly, since rows beyond A's are slow to copy, and rows of other groups are
// copied in vain.
int32_t choose_box_rows(const GemmCall& call, const GemmTile& tile) {
  constexpr int32_t kSmallBox = 32;
  if (call.grouped == nullptr && call.num_rows < tile.tokens) return static_cast<int32_t>(call.num_rows);
  if (call.grouped == nullptr && call.num_rows % tile.tokens == 0) return tile.tokens / tile.cluster;
  return std::min(kSmallBox, tile.tokens);
}

}  // namespace

cudaError_t make_weight_map(const void* data, const MatrixLayout& layout, CUtensorMap& map) {
  // An atom as 128 elements of eight bytes, since a box has at most 256.
  const auto row_blocks = static_cast<cuuint64_t>(layout.row_blocks), cols = static_cast<cuuint64_t>(layout.col_blocks);
  return encode_map<3>(map, CU_TENSOR_MAP_DATA_TYPE_UINT64, data, {kAtomBytes / 8, cols, row_blocks},
                       {kAtomBytes, kAtomBytes * cols}, {kAtomBytes / 8, 1, kBoxRows / kAtomRows},
                       CU_TENSOR_MAP_SWIZZLE_NONE);
}

cudaError_t prepare_gemm_wgmma() {
  for (const Variant& variant : kVariants)  // where two share a kernel, the deep one comes last
    if (const cudaError_t error = allow_shared(variant.kernel, variant.shared_bytes()); error != cudaSuccess)
      return error;
  return cudaSuccess;
}

cudaError_t gemm_wgmma(const GemmCall& call, const GemmTile& tile, int num_sms, cudaStream_t stream) {
  const auto* variant = std::ranges::find(kVariants, tile, &Variant::tile);
  if (variant == std::end(kVariants)) return cudaErrorInvalidValue;
  const GemmTask task = make_task(call, tile.rows * tile.cluster, tile.tokens);
  const Ring ring = {.stages = variant->stages(), .box_rows = choose_box_rows(call, tile)};
  CUtensorMap token_map;
  const cudaError_t error = encode_map<2>(
      token_map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, call.a,
      {static_cast<cuuint64_t>(call.weight->layout.padded_cols()), static_cast<cuuint64_t>(call.num_rows)},
      {static_cast<cuuint64_t>(call.lda) * sizeof(bfloat)}, {kAtomCols, static_cast<cuuint32_t>(ring.box_rows)},
      CU_TENSOR_MAP_SWIZZLE_128B);
  if (error != cudaSuccess) return error;
  const int64_t clusters = std::min(static_cast<int64_t>(num_sms) * (tile.deep ? 1 : 2) / tile.cluster,
                                    static_cast<int64_t>(task.row_tiles) * task.token_tiles);
  return launch(call.fresh_weight ? Start::after : Start::early, variant->kernel,
                static_cast<unsigned>(clusters * tile.cluster), variant->threads, variant->shared_bytes(), stream,
                call.weight->map, token_map, task, ring);
}

}  // namespace qwill::cuda
