// What the values of a warp's 32 lanes come to, in every lane; sums in one fixed order.
#pragma once

namespace qwill::cuda {

__device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) value = __fadd_rn(value, __shfl_xor_sync(0xffffffffu, value, lanes));
  return value;
}

}  // namespace qwill::cuda
