// The gated unit's activation, one sequence of instructions for every kernel that applies it.
#pragma once

#include "cuda/kernels/ptx.cuh"

namespace qwill::cuda {

// silu(g) = g / (1 + exp(-g)), to a relative error below 1e-6 (bench/cuda/bench_gemm.cu measures it).
// exp(-g) = 2^x (1 + r ln 2), where x is -g log2 e, rounded, and r what the rounding lost. Below -87, where silu is
// under 1e-35, it stays as it is at -87: the approximate division has no room beyond.
__device__ __forceinline__ float silu(float g) {
  constexpr float kLog2e = 1.44269502f, kLog2eRest = 1.92596303e-8f, kLn2 = 0.693147182f;
  const float numerator = g < -87.0f ? -87.0f : g;  // not fmaxf, which would hide a NaN
  const float minus = -fminf(numerator, 87.0f);
  const float x = __fmul_rn(minus, kLog2e);
  const float r = __fmaf_rn(minus, kLog2eRest, __fmaf_rn(minus, kLog2e, -x));
  const float power = exp2_approx(x);
  return __fmul_rn(numerator, reciprocal_approx(__fadd_rn(1.0f, __fmaf_rn(power, __fmul_rn(r, kLn2), power))));
}

// One element of the gated unit: silu(gate) * up.
__device__ __forceinline__ float silu_times(float gate, float up) { return __fmul_rn(silu(gate), up); }

}  // namespace qwill::cuda
