// What all attention kernels share, so that they give the same bits: the norm and rotation of a head, the softmax of a
// tile, and the merge of parts. Explicit roundings wherever a compiler could contract one kernel's sums and not
// another's.
#pragma once

#include <cmath>

#include "cuda/kernels/attention.h"
#include "cuda/kernels/attention_cache.cuh"
#include "cuda/kernels/ptx.cuh"
#include "cuda/kernels/warp.cuh"
#include "ops/paged_kv.h"

namespace qwill::cuda {

constexpr int kTile = static_cast<int>(kTileKeys);
constexpr int kGroup = static_cast<int>(kGroupTiles);
constexpr uint32_t kAllLanes = 0xffffffff;

// ---- Heads

// One head in a warp: lane l holds dimensions l and l + 32 of the lower half, and their partners in the upper half.
struct Head {
  float low[2] = {};
  float high[2] = {};
};

template <typename Use>
__device__ __forceinline__ void for_each_pair(int half, int lane, Use use) {
#pragma unroll
  for (int j = 0; j < 2; ++j)
    if (const int i = lane + 32 * j; i < half) use(j, i);
}

__device__ __forceinline__ Head load_head(const float* x, int half, int lane) {
  Head head;
  for_each_pair(half, lane, [&](int j, int i) {
    head.low[j] = x[i];
    head.high[j] = x[i + half];
  });
  return head;
}

// Cosines and sines of the lane's pairs.
struct Rotation {
  float cos[2] = {};
  float sin[2] = {};
};
__device__ __forceinline__ Rotation load_rotation(const float* cos, const float* sin, int half, int lane) {
  Rotation rotation;
  for_each_pair(half, lane, [&](int j, int i) {
    rotation.cos[j] = cos[i];
    rotation.sin[j] = sin[i];
  });
  return rotation;
}

// x / sqrt(mean(x^2) + eps) * weight, then each pair (a, b) of dimensions i and i + D / 2 becomes
// (a cos_i - b sin_i, b cos_i + a sin_i).
__device__ __forceinline__ void norm_and_rotate(Head& head, const Head& weight, float eps, const Rotation& rotation,
                                                int head_dim) {
  float sum = 0;
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    sum = __fmaf_rn(head.low[j], head.low[j], sum);
    sum = __fmaf_rn(head.high[j], head.high[j], sum);
  }
  sum = warp_sum(sum);
  const float scale = __frsqrt_rn(__fadd_rn(__fdiv_rn(sum, static_cast<float>(head_dim)), eps));
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    const float a = __fmul_rn(__fmul_rn(head.low[j], scale), weight.low[j]);
    const float b = __fmul_rn(__fmul_rn(head.high[j], scale), weight.high[j]);
    head.low[j] = __fmaf_rn(a, rotation.cos[j], -__fmul_rn(b, rotation.sin[j]));
    head.high[j] = __fmaf_rn(b, rotation.cos[j], __fmul_rn(a, rotation.sin[j]));
  }
}

// store(dimension, value) for each.
template <typename Store>
__device__ __forceinline__ void store_head(const Head& head, int half, int lane, Store store) {
  for_each_pair(half, lane, [&](int j, int i) {
    store(i, head.low[j]);
    store(i + half, head.high[j]);
  });
}

// ---- Tiles in shared memory

// Rows of 64 bf16, swizzled as in an atom (layout.h): the byte of a row's 16-byte chunk.
__device__ __forceinline__ uint32_t swizzled(int row, int chunk) {
  return static_cast<uint32_t>(row * 128 + ((chunk ^ (row & 7)) << 4));
}

// A tile's keys (or values) in shared memory: [64-column block][128 keys][64].
constexpr int kTileBlockBytes = kTile * 128;
template <int kDim>
constexpr int kTileBytes = kDim / 64 * kTileBlockBytes;
// The same as a cache keeps it: [128 bytes of a row][128 keys][128].
template <int kDim, typename Cache>
constexpr int kCachedBlocks = kDim * static_cast<int>(sizeof(typename Cache::Element)) / 128;
template <int kDim, typename Cache>
constexpr int kCachedBytes = kCachedBlocks<kDim, Cache> * kTileBlockBytes;
// A page's part of it: keys or values of one head.
template <typename Cache>
__device__ __forceinline__ const uint8_t* cached_block(const KvLayout& kv, int64_t page, int64_t head, bool values) {
  return static_cast<const uint8_t*>(kv.data) +
         (values ? kv.values(page, head) : kv.keys(page, head)) * static_cast<int64_t>(sizeof(typename Cache::Element));
}

// ---- Softmax of a tile
//
// Fragments are those of mma.sync and wgmma alike: in a warp's 16 rows, lane l holds of rows l / 4 and l / 4 + 8, for
// each 8 columns, columns 2 (l % 4) and the next: element i belongs to row i / 2 % 2.

// Below any score. Masked scores are -infinity: then their exp2 is an exact 0, even in a row that sees no key.
constexpr float kNoScore = -1e30f;

// scores: kCount / 4 blocks of 8 keys from first_key on. Row r sees keys up to positions[r].
template <int kCount>
__device__ __forceinline__ void mask_scores(float (&scores)[kCount], int first_key, const int (&positions)[2],
                                            int lane) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const int key = first_key + i / 4 * 8 + lane % 4 * 2 + i % 2;
    if (key > positions[i / 2 % 2]) scores[i] = -INFINITY;
  }
}

template <int kCount>
__device__ __forceinline__ void row_maxima(const float (&scores)[kCount], float (&maxima)[2]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float m = kNoScore;
#pragma unroll
    for (int i = 2 * r; i < kCount; i += 4) m = fmaxf(m, fmaxf(scores[i], scores[i + 1]));
    m = fmaxf(m, __shfl_xor_sync(kAllLanes, m, 1));
    maxima[r] = fmaxf(m, __shfl_xor_sync(kAllLanes, m, 2));
  }
}

// p = exp(scale (score - maximum)), rounded, as the A operand of the product with the values; scale has log2(e) in it.
template <typename Cache = Bf16Cache, int kCount>
__device__ __forceinline__ void probabilities(const float (&scores)[kCount], const float (&maxima)[2], float scale,
                                              uint32_t (&p)[kCount / 2]) {
  const float shift[2] = {-__fmul_rn(maxima[0], scale), -__fmul_rn(maxima[1], scale)};
#pragma unroll
  for (int i = 0; i < kCount / 2; ++i)
    p[i] = Cache::pack(exp2_approx(__fmaf_rn(scores[2 * i], scale, shift[i % 2])),
                       exp2_approx(__fmaf_rn(scores[2 * i + 1], scale, shift[i % 2])));
}

// sum += 16 columns of p, which all four columns of a product with ones hold: in the order of the product with values.
template <typename Cache = Bf16Cache>
struct RowSums {
  float d[4] = {};

  __device__ __forceinline__ void add(const uint32_t (&p)[4]) { Cache::multiply(d, p, Cache::kOnes, Cache::kOnes); }
  __device__ __forceinline__ float of_row(int r) const { return d[2 * r]; }
};

// ---- Parts

// A part of a row's keys is (m, l, o): the largest score, sum p, sum p v. The part without keys is (kNoScore, 0, 0),
// and merging it changes nothing.
struct MergeFactors {
  float m, a, b;
};
__device__ __forceinline__ MergeFactors merge_factors(float m_a, float m_b, float scale) {
  const float m = fmaxf(m_a, m_b);
  return {m, exp2_approx(__fmul_rn(__fsub_rn(m_a, m), scale)), exp2_approx(__fmul_rn(__fsub_rn(m_b, m), scale))};
}
// Of l and o.
__device__ __forceinline__ float merged(float a, float b, const MergeFactors& f) {
  return __fmaf_rn(b, f.b, __fmul_rn(a, f.a));
}

// Of a fragment's two rows.
struct PartScalars {
  float m[2] = {kNoScore, kNoScore};
  float l[2] = {};

  __device__ __forceinline__ MergeFactors merge(const PartScalars& b, int row, float scale) {
    const MergeFactors f = merge_factors(m[row], b.m[row], scale);
    m[row] = f.m;
    l[row] = merged(l[row], b.l[row], f);
    return f;
  }
};

// Parts of a fragment's two rows, kCount elements of o.
template <int kCount>
struct Part : PartScalars {
  float o[kCount] = {};

  __device__ __forceinline__ void merge(const Part& b, float scale) {
    const MergeFactors f[2] = {PartScalars::merge(b, 0, scale), PartScalars::merge(b, 1, scale)};
    merge_outputs(b.o, f);
  }
  __device__ __forceinline__ void merge_outputs(const float (&b)[kCount], const MergeFactors (&f)[2]) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) o[i] = merged(o[i], b[i], f[i / 2 % 2]);
  }
};

// o / l.
__device__ __forceinline__ float inverse(float l) { return __frcp_rn(l); }

// Columns from num_columns to ld of a row, by the threads of a warp.
template <typename T>
__device__ __forceinline__ void clear_padding(T* row, int64_t num_columns, int64_t ld, int lane) {
  for (int64_t c = num_columns + lane; c < ld; c += 32) row[c] = T(0.0f);
}

// log2(e) / sqrt(D): scores times this are exponents of 2.
inline float score_scale(int32_t head_dim) {
  return static_cast<float>(1.4426950408889634 / std::sqrt(static_cast<double>(head_dim)));
}

}  // namespace qwill::cuda
