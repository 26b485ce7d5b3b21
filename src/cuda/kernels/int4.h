// Four-bit weights (tensor/int4.h): made of placed bf16 matrices, and made bf16 again for products with many rows.
#pragma once

#include <cuda_runtime_api.h>

#include "cuda/kernels/gemm.h"
#include "cuda/layout.h"

namespace qwill::cuda {

// The bf16 matrix `from`, rounded, to `to`, of Int4Layout::of(layout).
cudaError_t round_to_int4(void* to, const void* from, const MatrixLayout& layout, cudaStream_t stream);

// Back: the bf16 numbers that the weights stand for, of the columns from block first_block of 128 on, as a matrix of
// layout `part`.
cudaError_t widen_int4(void* to, const MatrixLayout& part, const void* from, const MatrixLayout& layout,
                       int64_t first_block, cudaStream_t stream);

// The same of matrices of experts that lie one after the other: those that have tiles, which an earlier kernel lists.
// The others keep what they hold.
cudaError_t widen_int4_experts(void* to, const void* from, const MatrixLayout& layout, const GroupTiles& groups,
                               cudaStream_t stream);

}  // namespace qwill::cuda
