// Elements of weights on their way: stored ones, and random ones.
#pragma once

#include <cuda_fp16.h>

#include "cuda/kernels/ptx.cuh"
#include "cuda/kernels/rows.h"

namespace qwill::cuda {

__device__ __forceinline__ float read_element(const void* source, SourceType type, int64_t i) {
  switch (type) {
    case SourceType::f32: return static_cast<const float*>(source)[i];
    case SourceType::bf16: return __bfloat162float(static_cast<const bfloat*>(source)[i]);
    case SourceType::f16: return __half2float(static_cast<const __half*>(source)[i]);
  }
  return 0;
}

// Element i of a random sequence: splitmix64 (Steele et al. 2014) of a counter.
__device__ __forceinline__ float random_element(uint64_t seed, int64_t i, float centre, float spread) {
  uint64_t z = (seed + static_cast<uint64_t>(i) + 1) * 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  const auto bits = static_cast<int32_t>((z ^ (z >> 31)) >> 32);
  return centre + spread * (static_cast<float>(bits) * 0x1p-31f);
}

}  // namespace qwill::cuda
