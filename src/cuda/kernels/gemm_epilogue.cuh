// What both paths of gemm.h share: where a tile lies, and what becomes of its sums.
#pragma once

#include "cuda/kernels/activation.cuh"
#include "cuda/kernels/gemm.h"

namespace qwill::cuda {

// A call as the kernels see it: tiles of weight rows (or of clusters of them) times tiles of tokens.
struct GemmTask {
  Epilogue epilogue;
  int32_t rows;        // of one weight matrix
  int32_t row_tiles;   // that cover rows, or what silu_mul fills with zeros beyond
  int32_t row_blocks;  // of one expert's matrix
  int32_t col_blocks;
  int32_t num_tokens;  // of A
  int32_t token_tiles;
  void* y;
  int64_t ldy;
  const GroupTile* groups;  // token tiles by the list, if there is one
  const int32_t* num_groups;
};

inline GemmTask make_task(const GemmCall& call, int64_t tile_rows, int64_t tile_tokens) {
  const auto tiles = [](int64_t count, int64_t size) { return static_cast<int32_t>((count + size - 1) / size); };
  const GemmWeight& weight = *call.weight;
  const GroupTiles none, &groups = call.grouped ? *call.grouped : none;
  return {
      .epilogue = call.epilogue,
      .rows = static_cast<int32_t>(weight.rows),
      .row_tiles = tiles(call.epilogue == Epilogue::silu_mul ? 2 * call.ldy : weight.rows, tile_rows),
      .row_blocks = call.grouped ? groups.row_blocks_per_expert : static_cast<int32_t>(weight.layout.row_blocks),
      .col_blocks = static_cast<int32_t>(weight.layout.col_blocks),
      .num_tokens = static_cast<int32_t>(call.num_rows),
      .token_tiles = call.grouped ? groups.max_count : tiles(call.num_rows, tile_tokens),
      .y = call.y,
      .ldy = call.ldy,
      .groups = groups.tiles,
      .num_groups = groups.count,
  };
}

struct TilePlace {
  int32_t row_tile;
  int32_t expert;
  int32_t token;      // the tile's first row of A
  int32_t end_token;  // rows of A from here on belong to other tiles
};

// Tiles are taken eight token tiles at a time, through all row tiles: what runs at once then reads few weights and few
// tokens, and the next ones find the same tokens in the L2 cache.
__device__ __forceinline__ TilePlace place_tile(const GemmTask& task, int32_t tile, int32_t token_tiles,
                                                int32_t tile_tokens) {
  constexpr int32_t kBand = 8;
  const int32_t band = tile / (kBand * task.row_tiles), within = tile % (kBand * task.row_tiles);
  const int32_t band_tiles = min(kBand, token_tiles - band * kBand);
  const int32_t token_tile = band * kBand + within % band_tiles;
  TilePlace place = {.row_tile = within / band_tiles, .expert = 0, .token = token_tile * tile_tokens};
  if (task.groups == nullptr) {
    place.end_token = min(place.token + tile_tokens, task.num_tokens);
  } else {
    const GroupTile group = task.groups[token_tile];
    place.expert = group.expert;
    place.token = group.first_row;
    place.end_token = group.first_row + group.num_rows;
  }
  return place;
}
__device__ __forceinline__ int32_t count_token_tiles(const GemmTask& task) {
  return task.groups == nullptr ? task.token_tiles : *task.num_groups;
}

// What follows takes the sums of one warp: sixteen weight rows from `row` times 8 kBlocks tokens from `token`, as
// mma_16x8x16 leaves them.

// y = sum or y += sum. One store of a warp fills four 32-byte sectors: eight weight rows of four tokens.
template <bool kAdd, int kBlocks, int kAtOnce>
__device__ __forceinline__ void write_sums(const GemmTask& task, const float (&d)[4 * kBlocks], int32_t row,
                                           int32_t token, int32_t end_token) {
  const int32_t lane = threadIdx.x % 32;
  row += lane / 4;
  token += lane % 4 * 2;
  float* y = static_cast<float*>(task.y) + token * task.ldy + row;
#pragma unroll
  for (int block = 0; block < kBlocks; block += kAtOnce) {
    const auto inside = [&](int i) {
      return row + i % 4 / 2 * 8 < task.rows && token + 8 * (block + i / 4) + i % 2 < end_token;
    };
    const auto at = [&](int i) { return y + (8 * (block + i / 4) + i % 2) * task.ldy + i % 4 / 2 * 8; };
    float old[4 * kAtOnce];
    if constexpr (kAdd) {
#pragma unroll
      for (int i = 0; i < 4 * kAtOnce; ++i) old[i] = inside(i) ? *at(i) : 0.0f;
    }
#pragma unroll
    for (int i = 0; i < 4 * kAtOnce; ++i)
      if (inside(i)) *at(i) = kAdd ? __fadd_rn(old[i], d[4 * block + i]) : d[4 * block + i];
  }
}

// y = silu(gate) * up: a thread has gate and up of the same tokens; transposed, it has neighbouring columns to store.
template <int kBlocks>
__device__ __forceinline__ void write_activations(const GemmTask& task, const float (&d)[4 * kBlocks], int32_t row,
                                                  int32_t token, int32_t end_token) {
  const int32_t lane = threadIdx.x % 32;
  const bool live = row < task.rows;
  if (row / 2 >= task.ldy) return;
  token += lane / 4;
  bfloat* y = static_cast<bfloat*>(task.y) + token * task.ldy + row / 2 + lane % 4 * 2;
#pragma unroll
  for (int block = 0; block < kBlocks; ++block) {
    const float* g = d + 4 * block;
    const uint32_t pair = transpose_matrix(live ? pack_bf16(silu_times(g[0], g[2]), silu_times(g[1], g[3])) : 0);
    if (token + 8 * block < end_token) *reinterpret_cast<uint32_t*>(y + 8 * block * task.ldy) = pair;
  }
}

// kAtOnce blocks are read and added at a time: loads in flight against registers.
template <int kBlocks, int kAtOnce>
__device__ __forceinline__ void write_tile(const GemmTask& task, const float (&d)[4 * kBlocks], int32_t row,
                                           int32_t token, int32_t end_token) {
  switch (task.epilogue) {
    case Epilogue::store: return write_sums<false, kBlocks, 1>(task, d, row, token, end_token);
    case Epilogue::add: return write_sums<true, kBlocks, kAtOnce>(task, d, row, token, end_token);
    case Epilogue::silu_mul: return write_activations<kBlocks>(task, d, row, token, end_token);
  }
}

}  // namespace qwill::cuda
