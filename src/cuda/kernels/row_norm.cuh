// The root-mean-square norm of one row by 256 threads, for every kernel that needs one: its order of summation is the
// same wherever it runs.
#pragma once

#include <cstdint>

#include "cuda/kernels/ptx.cuh"
#include "cuda/kernels/rows.h"
#include "cuda/kernels/warp.cuh"

namespace qwill::cuda {

constexpr int kNormThreads = 256;
constexpr int kNormVectors = 6;  // float4 a thread can hold
static_assert(kNormThreads * kNormVectors * 4 == kMaxNormCols);

// Elements 4 t + 1024 j … of a row belong to thread t; zeros beyond its end.
struct RowSlice {
  float4 values[kNormVectors];

  __device__ __forceinline__ void load(const float* row, int cols, int thread) {
    const bool fours = cols % 4 == 0;
#pragma unroll
    for (int j = 0; j < kNormVectors; ++j) {
      const int c = 4 * (thread + kNormThreads * j);
      values[j] = make_float4(0, 0, 0, 0);
      if (fours && c < cols) values[j] = *reinterpret_cast<const float4*>(row + c);
    }
    if (fours) return;
#pragma unroll
    for (int j = 0; j < kNormVectors; ++j) {
      const int c = 4 * (thread + kNormThreads * j);
      if (c < cols) values[j].x = row[c];
      if (c + 1 < cols) values[j].y = row[c + 1];
      if (c + 2 < cols) values[j].z = row[c + 2];
      if (c + 3 < cols) values[j].w = row[c + 3];
    }
  }

  // The same of a row whose length and place are multiples of four.
  __device__ __forceinline__ void load_fours(const float* row, int cols, int thread) {
#pragma unroll
    for (int j = 0; j < kNormVectors; ++j) {
      const int c = 4 * (thread + kNormThreads * j);
      values[j] = c < cols ? *reinterpret_cast<const float4*>(row + c) : make_float4(0, 0, 0, 0);
    }
  }

  __device__ __forceinline__ float sum_of_squares(int cols, int thread) const {
    float sum = 0;
#pragma unroll
    for (int j = 0; j < kNormVectors; ++j) {
      if (4 * (thread + kNormThreads * j) >= cols) continue;
      const float4 v = values[j];
      sum = __fmaf_rn(v.x, v.x, sum);
      sum = __fmaf_rn(v.y, v.y, sum);
      sum = __fmaf_rn(v.z, v.z, sum);
      sum = __fmaf_rn(v.w, v.w, sum);
    }
    return sum;
  }
};

// 1 / sqrt(mean + eps) of a row, in all 256 threads; they meet at hardware barrier 1. scratch [8] of floats may be used
// again after the next meeting.
__device__ __forceinline__ float inverse_rms(const RowSlice& x, int cols, float eps, float* scratch, int thread) {
  const float warp = warp_sum(x.sum_of_squares(cols, thread));
  if (thread % 32 == 0) scratch[thread / 32] = warp;
  sync_threads<kNormThreads>(1);
  const float total = __fadd_rn(__fadd_rn(__fadd_rn(scratch[0], scratch[1]), __fadd_rn(scratch[2], scratch[3])),
                                __fadd_rn(__fadd_rn(scratch[4], scratch[5]), __fadd_rn(scratch[6], scratch[7])));
  return __frcp_rn(__fsqrt_rn(__fadd_rn(__fdiv_rn(total, static_cast<float>(cols)), eps)));
}

__device__ __forceinline__ float4 scaled(const float4& x, float inverse, const float4& weight) {
  return make_float4(__fmul_rn(__fmul_rn(x.x, inverse), weight.x), __fmul_rn(__fmul_rn(x.y, inverse), weight.y),
                     __fmul_rn(__fmul_rn(x.z, inverse), weight.z), __fmul_rn(__fmul_rn(x.w, inverse), weight.w));
}

}  // namespace qwill::cuda
