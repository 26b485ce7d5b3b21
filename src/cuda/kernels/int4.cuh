// A word of four-bit weights in registers: the same bits in the kernel that multiplies them as they come and in the one
// that makes a bf16 matrix of them.
#pragma once

#include <cstdint>

#include "cuda/kernels/ptx.cuh"
#include "cuda/layout.h"

namespace qwill::cuda {

// One or two scales, -24 times each: a bf16 number, since a scale has six significant bits.
__device__ __forceinline__ uint32_t int4_biases(uint32_t scales) {
  const __nv_bfloat162 biases =
      __hmul2_rn(*reinterpret_cast<const __nv_bfloat162*>(&scales), __float2bfloat162_rn(-24.0f));
  return *reinterpret_cast<const uint32_t*>(&biases);
}

// Four of a word's eight weights in pairs: the four columns of its first sixteen, or of its second; scale and bias in
// both halves. 0x4180 with q in the first bits of the fraction is 16 + q; times the scale, less 24 times it, rounded
// once to nearest even: tensor/int4.h's int4_value. For 8 weights 3 shifts, 4 ands with or, 4 products with sum: 11
// instructions.
__device__ __forceinline__ void widen_four(uint32_t (&b)[2], uint32_t word, int sixteen, uint32_t scale,
                                           uint32_t bias) {
  constexpr uint32_t kMask = 0x00780078;
  uint32_t base;  // 16; in a register: an instruction takes one constant
  asm("mov.b32 %0, 0x41804180;" : "=r"(base));
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int shift = 8 * sixteen + 4 * i;
    const uint32_t shifted = shift < 12 ? word >> shift : __funnelshift_r(word, word, 12);
    uint32_t levels;  // shifted and kMask, or base
    asm("lop3.b32 %0, %1, %2, %3, 0xEA;" : "=r"(levels) : "r"(shifted), "n"(kMask), "r"(base));
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(b[i]) : "r"(levels), "r"(scale), "r"(bias));
  }
}

// A bf16 in both halves: the low or the high one of a pair. In these words the product takes a half as it is, without
// an instruction.
__device__ __forceinline__ uint32_t both_halves(uint32_t pair, bool high) {
  uint32_t both;
  if (high)
    asm("{\n.reg .b16 low, high;\nmov.b32 {low, high}, %1;\nmov.b32 %0, {high, high};\n}" : "=r"(both) : "r"(pair));
  else
    asm("{\n.reg .b16 low, high;\nmov.b32 {low, high}, %1;\nmov.b32 %0, {low, low};\n}" : "=r"(both) : "r"(pair));
  return both;
}

}  // namespace qwill::cuda
