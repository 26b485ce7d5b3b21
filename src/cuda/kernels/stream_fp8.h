// Products in e4m3 (fp8.h) of a few rows with one weight, bound by the rate at which the weight can be read.
#pragma once

#include "cuda/kernels/fp8.h"
#include "cuda/kernels/stream.h"

namespace qwill::cuda {

// One product. Either x and norm are given (the operand is the norm of x) or a; it is brought to e4m3 here.
// Otherwise than stream.h, silu_mul leaves columns of y beyond the weight's as they are.
struct Fp8StreamCall {
  const void* weight = nullptr;
  const float* weight_scales = nullptr;
  Fp8Layout layout;
  int32_t num_outputs = 0;      // columns of y
  const float* x = nullptr;     // [T, cols]
  const float* norm = nullptr;  // [cols]
  float eps = 0;
  const void* a = nullptr;  // [T, a_stride] bf16, a_stride a multiple of 64, zeros behind cols
  int64_t a_stride = 0;
  int32_t cols = 0;
  int32_t num_rows = 0;  // T, at most kMaxFp8StreamRows
  StreamOutput output = StreamOutput::store;
  void* y = nullptr;
  int64_t ldy = 0;
};

constexpr int32_t kMaxFp8StreamRows = 8;
// Up to so many rows it is taken for the faster; every block norms and rounds them all.
constexpr int32_t kFewFp8Rows = 2;

// Whether the operand leaves room for the weight's rings.
bool stream_fp8_fits(const Fp8StreamCall& call, int32_t num_sms);
cudaError_t prepare_stream_fp8();
cudaError_t stream_fp8(const Fp8StreamCall& call, int32_t num_sms, cudaStream_t cuda_stream);

}  // namespace qwill::cuda
