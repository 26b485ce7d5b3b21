// From f32 to e4m3: scales, rounding, and a block of 128 columns by a warp; the same in every kernel.
#pragma once

#include <cuda_fp8.h>

#include <cstdint>

#include "cuda/kernels/ptx.cuh"
#include "cuda/layout.h"

namespace qwill::cuda {

// The scale of values whose largest magnitude is `most`: that becomes 448. It and its inverse are normal numbers, also
// of 0, of infinity, and of NaN, which is what nothing but NaN has.
QWILL_HOST_DEVICE inline float fp8_scale(float most) {
  constexpr float kLeast = 0x1p-100f, kMost = 0x1.fffffep+127f;
  return (most > kMost ? kMost : most >= kLeast ? most : kLeast) / 448.0f;
}

// Four values times the inverse of their scale, rounded to the nearest e4m3 (ties to even), the first in the lowest
// byte; what lies beyond 448 becomes 448; NaN stays NaN.
QWILL_HOST_DEVICE inline uint32_t pack_fp8(const float4& v, float inverse_scale) {
  const uint32_t low =
      __nv_cvt_float2_to_fp8x2(float2{v.x * inverse_scale, v.y * inverse_scale}, __NV_SATFINITE, __NV_E4M3);
  const uint32_t high =
      __nv_cvt_float2_to_fp8x2(float2{v.z * inverse_scale, v.w * inverse_scale}, __NV_SATFINITE, __NV_E4M3);
  return low | high << 16;
}

#ifdef __CUDACC__
// The largest magnitude among a warp's values; NaN does not count.
__device__ __forceinline__ float warp_most(float most) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) most = fmaxf(most, __shfl_xor_sync(~0u, most, lanes));
  return most;
}
__device__ __forceinline__ float most_of(const float4& v) {
  return fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w)));
}

// fp8_scale and 1 / fp8_scale to the bit. Neither can leave the normal numbers, so a step of Newton's each is enough,
// and there is no branch as a division has it: several blocks are rounded at once.
struct Fp8Scale {
  float scale, inverse;
  __device__ __forceinline__ explicit Fp8Scale(float most) {
    constexpr float kLeast = 0x1p-100f, kMost = 0x1.fffffep+127f, kInverse = 1.0f / 448.0f;
    const float bounded = fminf(fmaxf(most, kLeast), kMost);
    const float near = __fmul_rn(bounded, kInverse);
    scale = __fmaf_rn(__fmaf_rn(near, -448.0f, bounded), kInverse, near);
    const float guess = reciprocal_approx(scale);
    inverse = __fmaf_rn(guess, -__fmaf_rn(scale, guess, -1.0f), guess);
  }
};

// A block of 128 columns, four a lane: its bytes, and its scale.
struct Fp8Block {
  uint32_t bytes;
  float scale;
};
// Several of them, whose instructions are mixed.
template <int kCount>
__device__ __forceinline__ void quantize_blocks(Fp8Block (&blocks)[kCount], const float4 (&v)[kCount]) {
  float most[kCount];
#pragma unroll
  for (int i = 0; i < kCount; ++i) most[i] = most_of(v[i]);
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) most[i] = fmaxf(most[i], __shfl_xor_sync(~0u, most[i], lanes));
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const Fp8Scale scale(most[i]);
    blocks[i] = {pack_fp8(v[i], scale.inverse), scale.scale};
  }
}
__device__ __forceinline__ Fp8Block quantize_block(const float4& v) {
  Fp8Block blocks[1];
  quantize_blocks(blocks, {v});
  return blocks[0];
}

// Two and four bf16 as floats.
__device__ __forceinline__ float2 widen_pair(uint32_t pair) {
  return make_float2(__uint_as_float(pair << 16), __uint_as_float(pair & 0xFFFF0000u));
}
__device__ __forceinline__ float4 widen_4(const uint2& v) {
  const float2 low = widen_pair(v.x), high = widen_pair(v.y);
  return make_float4(low.x, low.y, high.x, high.y);
}

// A block of 128 columns as pairs of bf16, of which four neighbouring lanes have a quarter each: its scale, and a pair
// times the inverse of that. The bits of quantize_block.
__device__ __forceinline__ Fp8Scale scale_of_pairs(const uint32_t (&pairs)[16]) {
  float most = 0;
#pragma unroll
  for (const uint32_t pair : pairs) most = fmaxf(most, fmaxf(fabsf(widen_pair(pair).x), fabsf(widen_pair(pair).y)));
#pragma unroll
  for (int lanes = 2; lanes > 0; lanes /= 2) most = fmaxf(most, __shfl_xor_sync(~0u, most, lanes));
  return Fp8Scale(most);
}
__device__ __forceinline__ uint32_t round_pair(uint32_t pair, float inverse_scale) {
  const float2 v = widen_pair(pair);
  return __nv_cvt_float2_to_fp8x2(float2{v.x * inverse_scale, v.y * inverse_scale}, __NV_SATFINITE, __NV_E4M3);
}
#endif

}  // namespace qwill::cuda
