// Descriptions of matrices to the copy engine ("tensor maps").
#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include <algorithm>

namespace qwill::cuda {

// The driver's function, found at run time: the program must start where there is no driver.
using EncodeTiled = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                                 const cuuint64_t*, const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave,
                                 CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
inline EncodeTiled find_encode_tiled() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found;
  if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found) !=
          cudaSuccess ||
      found != cudaDriverEntryPointSuccess)
    return nullptr;
  return reinterpret_cast<EncodeTiled>(function);
}

// strides are of the dimensions from the second on, in bytes.
template <int kRank>
cudaError_t encode_map(CUtensorMap& map, CUtensorMapDataType type, const void* data, const cuuint64_t (&size)[kRank],
                       const cuuint64_t (&strides)[kRank - 1], const cuuint32_t (&box)[kRank],
                       CUtensorMapSwizzle swizzle) {
  static const EncodeTiled encode = find_encode_tiled();
  if (encode == nullptr) return cudaErrorNotSupported;
  cuuint32_t steps[kRank];
  std::fill_n(steps, kRank, 1);
  const CUresult result =
      encode(&map, type, kRank, const_cast<void*>(data), size, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
             swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

}  // namespace qwill::cuda
