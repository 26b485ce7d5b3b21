// The kernel of gemm_wgmma.cu and gemm_fp8.cu: a block's loader and its consumers over a ring of stages in shared
// memory. What is multiplied, and in what steps, is `Products`:
//   Operands       what it needs besides the matrices, a parameter of the kernel
//   kCols          columns of a stage, 128 bytes of them
//   kReleases      arrivals of a warpgroup that has read a stage: 1 if the tensor cores alone read it, else one a warp
//   kScaleBytes<>  what a stage holds besides weights and tokens, loaded by load_scales
//   RowScales      what a warp knows of its weight rows from a tile's beginning, and applies to its sums
//   kBeginsLate<>  whether what sums are added to is read only when they are there, for want of registers
//   sum            a warpgroup's sums of a tile
#pragma once

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

#include "cuda/kernels/gemm.h"
#include "cuda/kernels/gemm_epilogue.cuh"
#include "cuda/kernels/launch.cuh"
#include "cuda/kernels/ptx.cuh"
#include "cuda/kernels/wgmma.cuh"

namespace qwill::cuda {

// Weights are copied in boxes of at most 64 rows by 64 columns.
constexpr int32_t kMostBoxRows = 64;
constexpr int32_t kMostBoxBytes = kMostBoxRows * 128;

// What follows from a tile's size.
template <typename Products, int kRows, int kTokens>
struct Shape {
  static constexpr int kBoxRows = kRows < kMostBoxRows ? kRows : kMostBoxRows;
  static constexpr int kBoxBytes = kBoxRows * 128;
  // Of fewer than 64 rows the warpgroup multiplies what stands behind them, too, for nothing.
  static constexpr int kConsumers = kRows / kBoxRows * 128;
  // The sums of the largest tile want registers that only a whole loading warpgroup can give away ("setmaxnreg").
  static constexpr bool kMovesRegisters = kConsumers * kTokens >= 256 * 256;
  static constexpr int kThreads = kConsumers + (kMovesRegisters ? 128 : 32);
  static constexpr int kBlocksPerSm = kRows <= 64 ? 2 : 1;
  static constexpr int kWeightBytes = kRows * 128;
  static constexpr int kStageBytes = kWeightBytes + kTokens * 128;
  static constexpr int kScaleBytes = Products::template kScaleBytes<kTokens>;
  static constexpr int kStagingBytes = kConsumers / 32 * WarpOutput<kTokens>::kStagingBytes;
};

// Shared memory holds the stages, their scales, what the epilogue stages, and three barriers a stage.
struct Ring {
  int32_t stages;
  int32_t box_rows;      // of the boxes of tokens
  int32_t early_stages;  // whose weights are under way at once before the kernel waits for the one before
};

// Where in the ring a loader or a consumer is.
struct RingPosition {
  int32_t stage = 0;
  uint32_t parity = 0;
  __device__ __forceinline__ void advance(int32_t stages) {
    if (++stage == stages) stage = 0, parity ^= 1;
  }
};

// Addresses of what a warpgroup reads of a stage.
struct StagePlace {
  uint32_t weights, tokens, scales;
};

template <typename Products, int kRows, int kTokens, int kRowCluster, int kTokenCluster>
__global__ __cluster_dims__(kRowCluster* kTokenCluster, 1, 1) __launch_bounds__(
    Shape<Products, kRows, kTokens>::kThreads,
    Shape<Products, kRows, kTokens>::kBlocksPerSm) void gemm_kernel(const __grid_constant__ CUtensorMap weight_map,
                                                                    const __grid_constant__ CUtensorMap token_map,
                                                                    const __grid_constant__
                                                                    typename Products::Operands operands,
                                                                    const __grid_constant__ GemmTask task,
                                                                    const Ring ring) {
  using S = Shape<Products, kRows, kTokens>;
  constexpr int kCluster = kRowCluster * kTokenCluster;
  extern __shared__ __align__(1024) uint8_t shared[];
  const uint32_t stages = shared_address(shared);
  const uint32_t scales = stages + ring.stages * S::kStageBytes;
  const uint32_t barriers = scales + ring.stages * S::kScaleBytes + S::kStagingBytes;
  const auto full = [&](int32_t stage) { return barriers + stage * 24; };
  const auto empty = [&](int32_t stage) { return barriers + stage * 24 + 8; };
  const auto early = [&](int32_t stage) {
    return barriers + stage * 24 + 16;
  };  // its weights alone, in the first round
  // The compiler sees that this is the same in all lanes, and keeps the loader in uniform registers: without, loading a
  // stage takes longer than multiplying it.
  const int32_t warp = __shfl_sync(~0u, threadIdx.x / 32, 0);
  constexpr int32_t kLoader = S::kConsumers / 32;
  const int32_t rank = kCluster == 1 ? 0 : rank_in_cluster(), cols = task.col_blocks;
  const int32_t row_rank = rank % kRowCluster, token_rank = rank / kRowCluster;
  const int32_t first_tile = blockIdx.x / kCluster, tile_step = gridDim.x / kCluster;

  const auto place_of = [&](int32_t tile, int32_t token_tiles) {
    TilePlace place = place_tile(task, tile, token_tiles, kTokens * kTokenCluster);
    place.row_tile = place.row_tile * kRowCluster + row_rank;
    if constexpr (kTokenCluster > 1) {
      place.token += token_rank * kTokens;
      place.end_token = max(place.token, min(place.end_token, place.token + kTokens));
    }
    return place;
  };
  // Blocks of the cluster: rank 0 and those with the same weights, or with the same tokens.
  constexpr uint16_t kSameTokens = (1 << kRowCluster) - 1;
  constexpr uint16_t kSameWeights = kTokenCluster == 1 ? 1 : 1 | 1 << kRowCluster;
  static_assert(kTokenCluster <= 2);
  const auto first_block = [&](const TilePlace& place) {
    return place.expert * task.row_blocks + place.row_tile * (kRows / kAtomRows);
  };
  const auto token_boxes = [&](const TilePlace& place) {
    return (place.end_token - place.token + ring.box_rows - 1) / ring.box_rows;
  };
  // By one lane of the loading warp. Of blocks that share weights each loads every so many columns for all.
  const auto load_weights = [&](int32_t stage, int32_t row_block, int32_t k, uint32_t barrier) {
    if (kTokenCluster > 1 && k % kTokenCluster != token_rank) return;
#pragma unroll
    for (int32_t box = 0; box < kRows / S::kBoxRows; ++box) {
      const uint32_t to = stages + stage * S::kStageBytes + box * S::kBoxBytes;
      const int32_t block = row_block + box * S::kBoxRows / kAtomRows;
      if constexpr (kTokenCluster == 1)
        copy_box(to, &weight_map, 0, k, block, barrier);
      else
        copy_box_to_cluster(to, &weight_map, 0, k, block, barrier, kSameWeights << row_rank);
    }
  };

  int32_t ahead = 0;  // stages whose weights are on the way before anything of the kernel before is needed
  if (warp == kLoader) {
    if (elect_lane()) {
      prefetch_map(&weight_map);
      prefetch_map(&token_map);
#pragma unroll 1
      for (int32_t stage = 0; stage < ring.stages; ++stage) {
        barrier_init(full(stage), 1);
        barrier_init(early(stage), 1);
        barrier_init(empty(stage), S::kConsumers / 128 * Products::kReleases * kCluster);
      }
      barrier_init_fence();
    }
  }
  if constexpr (kCluster == 1)
    __syncthreads();
  else
    sync_cluster();
  if (task.next == NextStart::at_once) let_next_kernel_start();
  if (warp == kLoader && task.groups == nullptr) {
    const TilePlace place = place_of(first_tile, task.token_tiles);
    const int32_t row_block = first_block(place);
    ahead = min(ring.stages, cols);
    // Few at once: what the kernels before still read would queue behind them.
#pragma unroll 1
    for (int32_t k = 0; k < ahead; ++k) {
      if (k >= ring.early_stages) barrier_wait(early(k - ring.early_stages), 0);
      if (elect_lane()) {
        barrier_expect_bytes(early(k), S::kWeightBytes);
        load_weights(k, row_block, k, early(k));
      }
    }
  }
  wait_for_previous_kernel();
  if (task.next == NextStart::behind) let_next_kernel_start();

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
          barrier_wait(weights_needed ? empty(at.stage) : early(at.stage), weights_needed ? at.parity ^ 1 : 0);
          if (elect_lane()) {
            barrier_expect_bytes(full(at.stage),
                                 (weights_needed ? S::kWeightBytes : 0) + S::kScaleBytes + boxes * box_bytes);
            if (weights_needed) load_weights(at.stage, row_block, k, full(at.stage));
            Products::template load_scales<kTokens>(operands, scales + at.stage * S::kScaleBytes, place.token, k,
                                                    full(at.stage));
            const uint32_t to = stages + at.stage * S::kStageBytes + S::kWeightBytes;
#pragma unroll 1
            for (int32_t box = row_rank; box < boxes; box += kRowCluster) {
              const int32_t token = place.token + box * ring.box_rows;
              if constexpr (kRowCluster == 1)
                copy_box(to + box * box_bytes, &token_map, k * Products::kCols, token, full(at.stage));
              else
                copy_box_to_cluster(to + box * box_bytes, &token_map, k * Products::kCols, token, full(at.stage),
                                    kSameTokens << token_rank * kRowCluster);
            }
          }
        }
      }
      if (task.next == NextStart::loaded) let_next_kernel_start();
    }
  } else {
    if constexpr (S::kMovesRegisters) take_registers<232>();
    uint8_t* const staging =
        shared + ring.stages * (S::kStageBytes + S::kScaleBytes) + warp * WarpOutput<kTokens>::kStagingBytes;
    // Word to every block of the cluster that the stage has been read.
    const auto release = [&](int32_t stage) {
      constexpr int32_t kGroup = 128 / Products::kReleases;
      if constexpr (kGroup == 32) {
        // Scales are read by loads of the warp's own, which the word could overtake: the loads that came last would
        // then see what the loader fetches next. (wgmma has been waited for.)
        __threadfence_block();
        __syncwarp();
      }
      if (threadIdx.x % kGroup < kCluster) {
        if constexpr (kCluster == 1)
          barrier_arrive(empty(stage));
        else
          barrier_arrive_at(empty(stage), threadIdx.x % kGroup);
      }
    };
    for (int32_t tile = first_tile; tile < num_tiles; tile += tile_step) {
      const TilePlace place = place_of(tile, token_tiles);
      WarpOutput<kTokens> output;
      const auto begin_output = [&] {
        output.begin(task, place.row_tile * kRows + warp * 16, place.token, place.end_token);
      };
      const typename Products::RowScales row_scales(operands, first_block(place) * kAtomRows + warp * 16);
      const bool has_rows = kRows >= kMostBoxRows || warp * 16 < kRows;
      if constexpr (!Products::template kBeginsLate<kTokens>)
        if (has_rows) begin_output();
      float d[kTokens / 2];
#pragma unroll
      for (float& sum : d) sum = 0;
      const auto wait = [&] { barrier_wait(full(at.stage), at.parity); };
      const auto stage_at = [&](int32_t stage) {
        return StagePlace{stages + stage * S::kStageBytes + warp / 4 * S::kBoxBytes,
                          stages + stage * S::kStageBytes + S::kWeightBytes, scales + stage * S::kScaleBytes};
      };
      Products::sum(d, cols, at, ring.stages, wait, stage_at, release);
      if constexpr (Products::template kBeginsLate<kTokens>) {
        output.forget();
        begin_output();
      }
      row_scales.apply(d);
      if (has_rows) output.finish(task, d, reinterpret_cast<float*>(staging));
    }
  }
  // Others may still send tokens and arrivals to this block's shared memory.
  if constexpr (kCluster > 1) sync_cluster();
}

// A tile's kernel and what it is launched with.
template <typename Products>
struct GemmVariant {
  GemmTile tile;
  void (*kernel)(CUtensorMap, CUtensorMap, typename Products::Operands, GemmTask, Ring);
  int32_t threads;
  int32_t stage_bytes;
  int32_t staging_bytes;

  int32_t stages() const { return ((tile.deep ? 227 : 113) * 1024 - staging_bytes) / (stage_bytes + 24); }
  int32_t shared_bytes() const { return stages() * (stage_bytes + 24) + staging_bytes; }
};

template <typename Products, const auto& kTiles>
constexpr auto make_variants() {
  return []<size_t... I>(std::index_sequence<I...>) {
    return std::array{GemmVariant<Products>{
        kTiles[I], gemm_kernel<Products, kTiles[I].rows, kTiles[I].tokens, kTiles[I].cluster, kTiles[I].token_cluster>,
        Shape<Products, kTiles[I].rows, kTiles[I].tokens>::kThreads,
        Shape<Products, kTiles[I].rows, kTiles[I].tokens>::kStageBytes +
            Shape<Products, kTiles[I].rows, kTiles[I].tokens>::kScaleBytes,
        Shape<Products, kTiles[I].rows, kTiles[I].tokens>::kStagingBytes}...};
  }(std::make_index_sequence<std::size(kTiles)>());
}

// Once per device: the shared memory that the kernels need.
template <typename Variants>
cudaError_t allow_variants(const Variants& variants) {
  for (const auto& variant : variants)  // where two share a kernel, the deep one comes last
    if (const cudaError_t error = allow_shared(variant.kernel, variant.shared_bytes()); error != cudaSuccess)
      return error;
  return cudaSuccess;
}

// With few tokens 32 KB (8 streams of an 8B model: 2 % faster than the whole ring at once); with many, where the tensor
// cores count, all.
inline int32_t early_stages(const GemmTile& tile, int32_t stages) {
  return tile.tokens <= 64 ? std::max(1, 32 * 1024 / (tile.rows * 128)) : stages;
}
// Rows of a box of tokens: one box if that fits exactly, since rows beyond A's are slow to copy, and rows of other
// groups are copied in vain.
inline int32_t choose_box_rows(bool grouped, int64_t num_rows, const GemmTile& tile) {
  constexpr int32_t kSmallBox = 32;
  if (!grouped && num_rows < tile.tokens) return static_cast<int32_t>(num_rows);
  if (!grouped && num_rows % tile.tokens == 0) return tile.tokens / tile.cluster;
  return std::min(kSmallBox, tile.tokens);
}

// Persistent blocks, in clusters.
inline unsigned count_blocks(const GemmTask& task, const GemmTile& tile, int num_sms) {
  const int64_t clusters = std::min(static_cast<int64_t>(num_sms) * (tile.deep ? 1 : 2) / tile.blocks(),
                                    static_cast<int64_t>(task.row_tiles) * task.token_tiles);
  return static_cast<unsigned>(clusters * tile.blocks());
}

}  // namespace qwill::cuda
