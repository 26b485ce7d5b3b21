// What both paths of gemm.h share: where a tile lies, and what becomes of its sums.
#pragma once

#include "cuda/kernels/activation.cuh"
#include "cuda/kernels/gemm.h"

namespace qwill::cuda {

// A call as the kernels see it: tiles of weight rows (or of clusters of them) times tiles of tokens.
struct GemmTask {
  Epilogue epilogue;
  NextStart next;      // see GemmCall
  int32_t rows;        // of one weight matrix
  int32_t row_tiles;   // that cover rows, or what silu_mul fills with zeros beyond
  int32_t row_blocks;  // of one expert's matrix
  int32_t col_blocks;
  int32_t num_tokens;  // of A
  int32_t token_tiles;
  void* y;
  int64_t ldy;
  const ExpertTile* groups;  // token tiles by the list, if there is one
  const int32_t* num_groups;
};

// Of a GemmCall or an Fp8Call.
template <typename Call>
GemmTask make_task(const Call& call, int64_t tile_rows, int64_t tile_tokens) {
  const auto tiles = [](int64_t count, int64_t size) { return static_cast<int32_t>((count + size - 1) / size); };
  const auto& weight = *call.weight;
  const GroupTiles none, &groups = call.grouped ? *call.grouped : none;
  return {
      .epilogue = call.epilogue,
      .next = NextStart::at_once,
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
    const ExpertTile group = task.groups[token_tile];
    place.expert = group.expert;
    place.token = group.first_row;
    place.end_token = group.first_row + group.num_rows;
  }
  return place;
}
__device__ __forceinline__ int32_t count_token_tiles(const GemmTask& task) {
  return task.groups == nullptr ? task.token_tiles : *task.num_groups;
}

// A warp fetches what a tile's sums will be added to to the L2 cache.
template <int kRows>
__device__ __forceinline__ void prefetch_sums(const GemmTask& task, const TilePlace& place) {
  constexpr int32_t kLines = kRows / 32;
  for (int32_t i = threadIdx.x % 32; i < (place.end_token - place.token) * kLines; i += 32) {
    const int32_t row = place.row_tile * kRows + i % kLines * 32;
    if (row < task.rows) prefetch_line(static_cast<float*>(task.y) + (place.token + i / kLines) * task.ldy + row);
  }
}

// What becomes of the sums of one warp: sixteen weight rows from `row` times kTokens tokens, as mma_16x8x16 leaves
// them.
//
// f32 sums go through shared memory, sixteen tokens at a time, so that a thread reads and writes pieces of four
// neighbours: piece i is of token 8 i + token_in_8(). What they are to be added to is read kAhead pieces ahead, and the
// first ones whenever begin() is called, which may be long before the sums are there.
template <int kTokens>
class WarpOutput {
 public:
  static constexpr int32_t kPitch = 20;  // floats from token to token: no bank conflicts, neither way
  static constexpr int32_t kStagingBytes = 16 * kPitch * 4;
  static constexpr int kPieces = kTokens / 8;
  static constexpr int kAhead = kTokens >= 256 ? 16 : kPieces < 8 ? kPieces : 8;
  static constexpr bool kAllAhead = kAhead == kPieces;

  __device__ __forceinline__ void begin(const GemmTask& task, int32_t row, int32_t token, int32_t end_token) {
    row_ = row;
    token_ = token;
    tokens_ = end_token - token;
    if (task.epilogue == Epilogue::silu_mul) return;
    const int32_t piece_row = row + lane() % 4 * 4;
    rows_ = task.rows - piece_row;
    whole_ = rows_ >= 4 && task.ldy % 4 == 0;
    y_ = static_cast<float*>(task.y) + (token + token_in_8()) * task.ldy + piece_row;
    if (task.epilogue == Epilogue::add) {
#pragma unroll
      for (int i = 0; i < kAhead; ++i) read(task, i);
    }
  }

  // Before a begin() that comes when the last tile's sums are gone: the compiler need not keep what was read for them.
  __device__ __forceinline__ void forget() {
#pragma unroll
    for (float4& old : old_) old = {};
  }

  // staging: kStagingBytes of the warp's own.
  __device__ __forceinline__ void finish(const GemmTask& task, const float (&d)[kTokens / 2], float* staging) {
    switch (task.epilogue) {
      case Epilogue::store: return write_sums<false>(task, d, staging);
      case Epilogue::add: return write_sums<true>(task, d, staging);
      case Epilogue::silu_mul: return write_activations(task, d);
    }
  }

 private:
  __device__ static int32_t lane() { return threadIdx.x % 32; }
  __device__ static int32_t token_in_8() { return lane() / 8 + lane() / 4 % 2 * 4; }
  __device__ __forceinline__ bool has(int piece) const { return 8 * piece + token_in_8() < tokens_; }

  __device__ __forceinline__ void read(const GemmTask& task, int piece) {
    if (whole_ && has(piece)) old_[piece % kAhead] = *reinterpret_cast<const float4*>(y_ + 8 * piece * task.ldy);
  }

  template <bool kAdd>
  __device__ __forceinline__ void write_sums(const GemmTask& task, const float (&d)[kTokens / 2], float* staging) {
    float* const put = staging + lane() % 4 * 2 * kPitch + lane() / 4;
    const float* const get = staging + token_in_8() * kPitch + lane() % 4 * 4;
#pragma unroll
    for (int piece = 0; piece < kPieces; piece += 2) {
      __syncwarp();  // the last sixteen tokens have been read
#pragma unroll
      for (int i = 0; i < 8; ++i) put[(i / 4 * 8 + i % 2) * kPitch + i % 4 / 2 * 8] = d[4 * piece + i];
      __syncwarp();
#pragma unroll
      for (int i = 0; i < 2; ++i) write_piece<kAdd>(task, piece + i, get + 8 * i * kPitch);
    }
  }

  template <bool kAdd>
  __device__ __forceinline__ void write_piece(const GemmTask& task, int piece, const float* sums) {
    if (has(piece)) {
      float* const y = y_ + 8 * piece * task.ldy;
      if (whole_) {
        float4 sum = *reinterpret_cast<const float4*>(sums);
        if constexpr (kAdd) {
          const float4 old = old_[piece % kAhead];
          sum = {__fadd_rn(old.x, sum.x), __fadd_rn(old.y, sum.y), __fadd_rn(old.z, sum.z), __fadd_rn(old.w, sum.w)};
        }
        *reinterpret_cast<float4*>(y) = sum;
      } else {
#pragma unroll 1
        for (int32_t i = 0; i < min(rows_, 4); ++i) y[i] = kAdd ? __fadd_rn(y[i], sums[i]) : sums[i];
      }
    }
    if constexpr (kAdd) {
      if (piece + kAhead < kPieces) read(task, piece + kAhead);
    }
  }

  // silu(gate) * up: a thread has gate and up of the same tokens; transposed, it has neighbouring columns to store.
  __device__ __forceinline__ void write_activations(const GemmTask& task, const float (&d)[kTokens / 2]) const {
    const bool live = row_ < task.rows;
    if (row_ / 2 >= task.ldy) return;
    const int32_t token = lane() / 4;
    bfloat* y = static_cast<bfloat*>(task.y) + (token_ + token) * task.ldy + row_ / 2 + lane() % 4 * 2;
#pragma unroll
    for (int block = 0; block < kTokens / 8; ++block, y += 8 * task.ldy) {
      const float* g = d + 4 * block;
      const uint32_t pair = transpose_matrix(live ? pack_bf16(silu_times(g[0], g[2]), silu_times(g[1], g[3])) : 0);
      if (8 * block + token < tokens_) *reinterpret_cast<uint32_t*>(y) = pair;
    }
  }

  int32_t row_, token_, tokens_;
  int32_t rows_;  // weight rows from the thread's first on
  bool whole_;    // the thread's four are there and aligned
  float* y_;
  float4 old_[kAhead];
};

}  // namespace qwill::cuda
