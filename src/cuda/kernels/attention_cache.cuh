// The types of a cache, for all attention kernels: what it holds, how, and what products with it take.
#pragma once

#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include "cuda/kernels/ptx.cuh"
#include "cuda/layout.h"

namespace qwill::cuda {

// What a cache holds, and what products with it take: queries and probabilities are rounded to its operands.
struct Bf16Cache {
  using Element = bfloat;
  using Operand = bfloat;
  static constexpr uint32_t kOnes = 0x3f803f80;

  __device__ __forceinline__ static Operand operand(float x) { return __float2bfloat16_rn(x); }
  __device__ __forceinline__ static uint32_t pack(float low, float high) { return pack_bf16(low, high); }
  __device__ __forceinline__ static void multiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    mma_16x8x16(d, a, b0, b1);
  }

  __device__ __forceinline__ static Element element(float x) { return __float2bfloat16_rn(x); }
  // Where a row keeps a dimension of a key or value, and a block of a page that place of its entries.
  __device__ __forceinline__ static int place(int dim, bool) { return dim; }
  __device__ __forceinline__ static int64_t in_block(const KvLayout& kv, int64_t entry, int64_t place) {
    return kv.in_block(entry, place);
  }
  // Sixteen dimensions of eight keys are two matrices, as mma_16x8x16 takes them.
  __device__ __forceinline__ static void widen_keys(uint32_t (&b)[2][2], const uint32_t (&loaded)[4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) b[i / 2][i % 2] = loaded[i];
  }
};

// Of e4m3. f16 holds all of it, NaN included, and two become f16 by one instruction; as bf16 they would take four.
struct Fp8Cache {
  using Element = __nv_fp8_storage_t;
  using Operand = __half;
  static constexpr uint32_t kOnes = 0x3c003c00;

  // What lies beyond f16 becomes its largest number.
  __device__ __forceinline__ static Operand operand(float x) {
    constexpr float kMost = 65504;
    return __float2half_rn(x > kMost ? kMost : x < -kMost ? -kMost : x);
  }
  __device__ __forceinline__ static uint32_t pack(float low, float high) {
    const __half2 pair = __floats2half2_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
  }
  __device__ __forceinline__ static void multiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    mma_16x8x16_f16(d, a, b0, b1);
  }

  __device__ __forceinline__ static Element element(float x) {
    return __nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3);
  }
  __device__ __forceinline__ static int place(int dim, bool is_value) {
    return is_value ? KvLayout::fp8_value_place(dim) : KvLayout::fp8_key_place(dim);
  }
  __device__ __forceinline__ static int64_t in_block(const KvLayout&, int64_t entry, int64_t place) {
    return KvLayout::in_fp8_block(entry, place);
  }

  // Two of them, in the low half of a word.
  __device__ __forceinline__ static uint32_t widen(uint32_t pair) {
    const __half2_raw two = __nv_cvt_fp8x2_to_halfraw2(static_cast<__nv_fp8x2_storage_t>(pair), __NV_E4M3);
    return two.x | static_cast<uint32_t>(two.y) << 16;
  }
  // Four of a key's sixteen dimensions, side by side in a row: 2 i and 2 i + 1, then those that are 8 further.
  __device__ __forceinline__ static void widen_key(uint32_t (&pairs)[2], uint32_t four) {
    pairs[0] = widen(four & 0xFFFF);
    pairs[1] = widen(four >> 16);
  }
  // Sixteen dimensions of eight keys are one matrix of pairs.
  __device__ __forceinline__ static void widen_keys(uint32_t (&b)[4][2], const uint32_t (&loaded)[4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) widen_key(b[i], loaded[i]);
  }
  // Four bytes a0 b0 a1 b1: a0 a1, b0 b1.
  __device__ __forceinline__ static void widen_value(uint32_t (&pairs)[2], uint32_t four) {
    widen_key(pairs, __byte_perm(four, 0, 0x3120));
  }
  // Sixteen dimensions of a row in their order: two chunks of 16 bytes.
  __device__ __forceinline__ static void widen_chunk(uint4 (&chunks)[2], const uint4& sixteen, bool is_value) {
    const uint32_t selector = is_value ? 0x3120 : 0x3210;
    uint32_t words[4][2];
    widen_key(words[0], __byte_perm(sixteen.x, 0, selector));
    widen_key(words[1], __byte_perm(sixteen.y, 0, selector));
    widen_key(words[2], __byte_perm(sixteen.z, 0, selector));
    widen_key(words[3], __byte_perm(sixteen.w, 0, selector));
#pragma unroll
    for (int i = 0; i < 2; ++i) chunks[i] = make_uint4(words[0][i], words[1][i], words[2][i], words[3][i]);
  }
};

}  // namespace qwill::cuda
