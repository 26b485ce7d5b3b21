// Products of f32 matrices by CUDA cores: exactly f32, no TF32.
//
// Y[t, n] = sum over k of A[t, k] W[n, k]: k in blocks of 64; each block summed by FMA from zero, in order; then the
// blocks added in order. So an element's bits depend on its row of A and its row of W alone, whatever kernel, tile or
// number of rows; and the error stays near 1e-6.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/kernels/moe.h"

namespace qwill::cuda {

enum class EpilogueF32 : uint8_t {
  store,     // Y[t, n] = sum
  add,       // Y[t, n] += sum
  silu_mul,  // W's rows 0 … F - 1 are gate, F … 2F - 1 up: Y[t, f] = silu(gate sum) * (up sum), N = 2F
};

// A [T, lda], W [N, ldw], Y [T, ldy], row-major f32.
struct GemmF32 {
  const float* a;
  int64_t lda;
  const float* weight;
  int64_t ldw;
  float* y;
  int64_t ldy;
  int64_t num_cols;  // N: rows of the weight that one row of A meets
  int64_t depth;     // K
  EpilogueF32 epilogue;
};

// Any T, N, K. Fast where K, lda and ldw are multiples of 4 and A and W are aligned to 16 bytes. W is constant: its
// first columns are read before the kernel ahead has ended.
cudaError_t gemm_f32(const GemmF32& gemm, int64_t num_rows, cudaStream_t stream);

// The same for mixtures of experts: A and Y in permuted rows (moe.h), weights stacked [E * N, ldw]; a tile's rows meet
// the weights of its expert. num_tiles is on the device; max_tiles bounds it, mean_rows (P / E) only guides.
cudaError_t gemm_f32_grouped(const GemmF32& gemm, const ExpertTile* tiles, const int32_t* num_tiles, int64_t max_tiles,
                             int64_t mean_rows, cudaStream_t stream);

}  // namespace qwill::cuda
