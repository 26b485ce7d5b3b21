// One tile of a decode row's keys and values, by 8 warps of a block, and the merging of parts in global or shared
// memory.
#pragma once

#include <type_traits>

#include "cuda/kernels/attention_common.cuh"

namespace qwill::cuda {

constexpr int kDecodeWarps = 8;
constexpr int kDecodeRows = 16;                  // of the first operand of mma.sync: the heads of a group
constexpr int kWarpKeys = kTile / kDecodeWarps;  // a warp scores these, and sums kDim / 8 dimensions over all keys
template <int kDim>
constexpr int kWarpDims = kDim / kDecodeWarps;

template <int kDim, typename Cache = Bf16Cache>
struct DecodeTile {  // values lie elsewhere
  uint8_t keys[kCachedBytes<kDim, Cache>];
  uint8_t q[kDim / 64][kDecodeRows * 128];  // rows swizzled as in an atom
  uint8_t p[kTile / 64][kDecodeRows * 128];
  typename Cache::Element fresh[2][kDim];  // this step's key and value, as a page keeps its rows
  float maxima[kDecodeRows][kDecodeWarps];

  // Rows beyond the group stay zero.
  __device__ __forceinline__ void clear_queries(int thread) {
    for (int i = thread; i < static_cast<int>(sizeof(q)) / 16; i += 32 * kDecodeWarps)
      reinterpret_cast<uint4*>(q)[i] = {};
  }
};

__device__ __forceinline__ Head select(bool first, const Head& a, const Head& b) {
  Head head;
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    head.low[j] = first ? a.low[j] : b.low[j];
    head.high[j] = first ? a.high[j] : b.high[j];
  }
  return head;
}

// What a head is normed and rotated by.
struct HeadConstants {
  Head q_norm, k_norm;
  Rotation rotation;
};

// The group's queries of a row, and with the newest keys the new key and value: into the tile and to their slot.
// load_qkv gives the row's head of that number among queries, keys and values.
template <int kDim, typename Cache, typename Load>
__device__ __forceinline__ void prepare_heads(DecodeTile<kDim, Cache>& tile, const AttendArgs& args, Load load_qkv,
                                              int kv_head, bool is_newest, int32_t slot, const HeadConstants& constants,
                                              int warp, int lane) {
  const int group = args.group(), dim = args.head_dim, half = dim / 2;
  const KvLayout& kv = args.kv;
  for (int i = warp; i < group + (is_newest ? 2 : 0); i += kDecodeWarps) {
    const int head = i < group ? kv_head * group + i : args.num_heads + (i - group) * args.num_kv_heads + kv_head;
    Head x = load_qkv(head);
    if (i <= group)
      norm_and_rotate(x, select(i < group, constants.q_norm, constants.k_norm), args.norm_eps, constants.rotation, dim);
    if (i < group) {
      store_head(x, half, lane, [&](int d, float value) {
        *reinterpret_cast<typename Cache::Operand*>(tile.q[d / 64] + swizzled(i, d % 64 / 8) + d % 8 * 2) =
            Cache::operand(value);
      });
    } else {
      const bool is_value = i > group;
      auto* fresh = tile.fresh[i - group];
      for (int d = dim + lane; d < kDim; d += 32) fresh[Cache::place(d, is_value)] = Cache::element(0);
      store_head(x, half, lane, [&](int d, float value) { fresh[Cache::place(d, is_value)] = Cache::element(value); });
      if (slot >= 0) {
        const int64_t page_of_slot = slot / kv.page_size, entry = slot % kv.page_size;
        auto* block = static_cast<typename Cache::Element*>(kv.data) +
                      (is_value ? kv.values(page_of_slot, kv_head) : kv.keys(page_of_slot, kv_head));
        store_head(x, half, lane, [&](int d, float value) {
          block[Cache::in_block(kv, entry, Cache::place(d, is_value))] = Cache::element(value);
        });
      }
    }
  }
}

template <int kDim, typename Cache>
__device__ __forceinline__ void load_queries(uint32_t (&q)[kDim / 16][4], const DecodeTile<kDim, Cache>& tile,
                                             int lane) {
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k)
    load_matrices(q[k], shared_address(tile.q[k / 4]) + swizzled(lane % 16, k % 4 * 2 + lane / 16));
}

// Chunks of a copied tile's row that lacks the new key or value, those of dimensions first_dim and on; by the warp that
// reads them.
template <typename Element>
__device__ __forceinline__ void patch_row(uint8_t* rows, int row, const Element* fresh, int first_dim, int num_dims,
                                          int lane) {
  constexpr int kChunkDims = 16 / sizeof(Element);
  if (lane < num_dims / kChunkDims) {
    const int chunk = first_dim / kChunkDims + lane;
    *reinterpret_cast<uint4*>(rows + chunk / 8 * kTileBlockBytes + swizzled(row, chunk % 8)) =
        reinterpret_cast<const uint4*>(fresh)[chunk];
  }
  __syncwarp();
}

// The warp's keys.
template <int kDim, typename Cache = Bf16Cache>
__device__ __forceinline__ void score_keys(float (&scores)[kWarpKeys / 2], const uint32_t (&q)[kDim / 16][4],
                                           uint32_t keys, int warp, int lane) {
  constexpr int kSteps = 4 / static_cast<int>(sizeof(typename Cache::Element));  // of 16 dimensions: four matrices
#pragma unroll
  for (int k = 0; k < kDim / 16; k += kSteps)
#pragma unroll
    for (int n = 0; n < kWarpKeys / 8; ++n) {
      const int row = warp * kWarpKeys + n * 8 + lane % 8, chunk = k * (4 / kSteps) + lane / 8;
      uint32_t loaded[4], b[kSteps][2];
      load_matrices(loaded, keys + chunk / 8 * kTileBlockBytes + swizzled(row, chunk % 8));
      Cache::widen_keys(b, loaded);
      float(&d)[4] = *reinterpret_cast<float(*)[4]>(scores + 4 * n);
#pragma unroll
      for (int i = 0; i < kSteps; ++i) Cache::multiply(d, q[k + i], b[i][0], b[i][1]);
    }
}

// The warp's maxima to the tile; when all warps have, those of all keys.
template <int kDim, typename Cache>
__device__ __forceinline__ void put_maxima(DecodeTile<kDim, Cache>& tile, const float (&m)[2], int warp, int lane) {
  if (lane % 4 != 0) return;
  tile.maxima[lane / 4][warp] = m[0];
  tile.maxima[lane / 4 + 8][warp] = m[1];
}
template <int kDim, typename Cache>
__device__ __forceinline__ void take_maxima(const DecodeTile<kDim, Cache>& tile, float (&m)[2], int lane) {
#pragma unroll
  for (int w = 0; w < kDecodeWarps; ++w)
#pragma unroll
    for (int r = 0; r < 2; ++r) m[r] = fmaxf(m[r], tile.maxima[lane / 4 + 8 * r][w]);
}

template <int kDim, typename Cache>
__device__ __forceinline__ void put_probabilities(DecodeTile<kDim, Cache>& tile, const float (&scores)[kWarpKeys / 2],
                                                  const float (&m)[2], float scale, int warp, int lane) {
  uint32_t own[kWarpKeys / 4];
  probabilities<Cache>(scores, m, scale, own);
#pragma unroll
  for (int j = 0; j < kWarpKeys / 4; ++j) {
    const int chunk = warp * (kWarpKeys / 8) + j / 2;
    *reinterpret_cast<uint32_t*>(tile.p[chunk / 8] + swizzled(lane / 4 + j % 2 * 8, chunk % 8) + lane % 4 * 4) = own[j];
  }
}

// o += p v over the tile's keys in the warp's dimensions, sums += p.
template <int kDim, typename Cache>
__device__ __forceinline__ void sum_values(float (&o)[kWarpDims<kDim> / 2], RowSums<Cache>& sums,
                                           const DecodeTile<kDim, Cache>& tile, uint32_t values, int warp, int lane) {
#pragma unroll
  for (int k = 0; k < kTile / 16; k += 2) {
    uint32_t p[2][4];
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      load_matrices(p[j], shared_address(tile.p[k / 4]) + swizzled(lane % 16, (k + j) % 4 * 2 + lane / 16));
      sums.add(p[j]);
    }
    if constexpr (std::is_same_v<Cache, Fp8Cache>) {  // sixteen dimensions at once, i and i + 8 side by side
      static_assert(kWarpDims<kDim> == 16);
      uint32_t fours[4], b[4][2];
      load_matrices_transposed(fours, values + swizzled(k * 16 + lane, warp));
#pragma unroll
      for (int i = 0; i < 4; ++i) Cache::widen_value(b[i], fours[i]);
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        float(&d)[4] = *reinterpret_cast<float(*)[4]>(o + 4 * n);
        Cache::multiply(d, p[0], b[0][n], b[1][n]);
        Cache::multiply(d, p[1], b[2][n], b[3][n]);
      }
    } else {
#pragma unroll
      for (int n = 0; n < kWarpDims<kDim> / 8; ++n) {
        const int chunk = warp * (kWarpDims<kDim> / 8) + n;
        uint32_t b[4];
        load_matrices_transposed(b, values + chunk / 8 * kTileBlockBytes + swizzled(k * 16 + lane, chunk % 8));
        float(&d)[4] = *reinterpret_cast<float(*)[4]>(o + 4 * n);
        Cache::multiply(d, p[0], b[0], b[1]);
        Cache::multiply(d, p[1], b[2], b[3]);
      }
    }
  }
}

// One row of a part in a warp: lane l has dimensions kDim / 32 l and on.
template <int kDim>
struct RowPart {
  static constexpr int kLaneDims = kDim / 32;
  float m = kNoScore, l = 0;
  float o[kLaneDims] = {};

  __device__ __forceinline__ void merge(const RowPart& b, float scale) {
    const MergeFactors f = merge_factors(m, b.m, scale);
    m = f.m;
    l = merged(l, b.l, f);
#pragma unroll
    for (int i = 0; i < kLaneDims; ++i) o[i] = merged(o[i], b.o[i], f);
  }
  // Rows as part_row_floats lays them; `read` gives the two floats at a place.
  template <typename Element, typename Read>
  __device__ __forceinline__ void load(const Element* row, int lane, Read read) {
#pragma unroll
    for (int i = 0; i < kLaneDims; i += 2) {
      const float2 two = read(row + lane * kLaneDims + i);
      o[i] = two.x, o[i + 1] = two.y;
    }
    const float2 scalars = read(row + kDim);
    m = scalars.x, l = scalars.y;
  }
  // store(place in the row, float, float)
  template <typename Store>
  __device__ __forceinline__ void for_each_pair_of_floats(int lane, Store store) const {
#pragma unroll
    for (int i = 0; i < kLaneDims; i += 2) store(lane * kLaneDims + i, o[i], o[i + 1]);
    if (lane == 0) store(kDim, m, l);
  }
  __device__ __forceinline__ void store(float* row, int lane) const {
    for_each_pair_of_floats(lane, [&](int d, float a, float b) { *reinterpret_cast<float2*>(row + d) = {a, b}; });
  }
  // store(dimension, two bf16 of o / l)
  template <typename Store>
  __device__ __forceinline__ void for_each_result(int head_dim, int lane, Store store) const {
    const float factor = inverse(l);
#pragma unroll
    for (int i = 0; i < kLaneDims; i += 2)
      if (const int d = lane * kLaneDims + i; d < head_dim)
        store(d, pack_bf16(__fmul_rn(o[i], factor), __fmul_rn(o[i + 1], factor)));
  }
  __device__ __forceinline__ void store_result(bfloat* out, int head_dim, int lane) const {
    for_each_result(head_dim, lane, [&](int d, uint32_t two) { *reinterpret_cast<uint32_t*>(out + d) = two; });
  }
};

// Parts merged in order, kAhead being read at a time: load(parts, begin) gives those from `begin` on, and leaves those
// beyond the last, which are without keys, as they are.
template <int kDim, int kAhead, typename Load>
__device__ __forceinline__ RowPart<kDim> merge_parts(int count, float scale, Load load) {
  RowPart<kDim> sum;
  for (int begin = 0; begin < count; begin += kAhead) {
    RowPart<kDim> parts[kAhead];
    load(parts, begin);
#pragma unroll
    for (int i = 0; i < kAhead; ++i) sum.merge(parts[i], scale);
  }
  return sum;
}

// Parts first, first + stride, …
template <int kDim, typename Read>
__device__ __forceinline__ RowPart<kDim> merge_rows(const float* first, int64_t stride, int count, float scale,
                                                    int lane, Read read) {
  constexpr int kAhead = 8;
  return merge_parts<kDim, kAhead>(count, scale, [&](RowPart<kDim>(&parts)[kAhead], int begin) {
#pragma unroll
    for (int i = 0; i < kAhead; ++i)
      if (begin + i < count) parts[i].load(first + (begin + i) * stride, lane, read);
  });
}

}  // namespace qwill::cuda
