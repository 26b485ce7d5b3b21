// A word of four-bit weights in registers: the same bits in the kernel that multiplies them as they come and in the one
// that makes a bf16 matrix of them.
#pragma once

#include <cstdint>

#include "cuda/kernels/ptx.cuh"
#include "cuda/layout.h"

namespace qwill::cuda {

// The eight weights of a word, b[i] of columns 8 i + 2 (lane % 4) and the next of its 32; scale in both halves.
// 0x4300 with q in the last bits is 128 + q; q - 8 is exact, and the product rounds to nearest even: tensor/int4.h's
// int4_value. 3 shifts, 4 ands with or, 4 differences, 4 products: 15 instructions for 8 weights.
__device__ __forceinline__ void widen_word(uint32_t (&b)[4], uint32_t word, uint32_t scale) {
  constexpr uint32_t kMask = 0x000F000F, kEight = 0x43084308;  // 136
  uint32_t base;                                               // 128; in a register: an instruction takes one constant
  asm("mov.b32 %0, 0x43004300;" : "=r"(base));
  const auto pair = [](uint32_t bits) { return *reinterpret_cast<const __nv_bfloat162*>(&bits); };
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    uint32_t levels;  // word >> 4 i, and kMask, or base
    asm("lop3.b32 %0, %1, %2, %3, 0xEA;" : "=r"(levels) : "r"(word >> (4 * i)), "n"(kMask), "r"(base));
    const __nv_bfloat162 weights = __hmul2_rn(__hsub2_rn(pair(levels), pair(kEight)), pair(scale));
    b[i] = *reinterpret_cast<const uint32_t*>(&weights);
  }
}

// A bf16 in both halves: the low or the high one of a pair.
__device__ __forceinline__ uint32_t both_halves(uint32_t pair, bool high) {
  return __byte_perm(pair, 0, high ? 0x3232 : 0x1010);
}

}  // namespace qwill::cuda
