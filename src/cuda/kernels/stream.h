// Products of a few rows with one weight, bound by the rate at which the weight can be read.
#pragma once

#include <cuda_runtime_api.h>

#include "cuda/layout.h"

namespace qwill::cuda {

enum class StreamOutput : uint8_t {
  store,     // y [T, ldy] f32 = product
  add,       // y [T, ldy] f32 += product
  silu_mul,  // y [T, ldy] bf16 = silu(gate) * up; row blocks of the weight alternate gate, up. Columns beyond the
             // weight's are written as zeros.
};

// How the weight lies.
enum class StreamFormat : uint8_t {
  bf16,  // atoms of the layout
  int4,  // Int4Layout::of(layout)
  fp8,   // Fp8Layout::of(layout), by stream_fp8.h
};

// One product. Either x and norm are given (the operand is the norm of x, rounded to bf16) or a (as it is); for fp8 the
// operand is brought to e4m3 instead.
struct StreamCall {
  const void* weight = nullptr;
  const float* scales = nullptr;  // of fp8: [rows of the layout]
  MatrixLayout layout;
  StreamFormat format = StreamFormat::bf16;
  int32_t num_outputs = 0;      // columns of y
  const float* x = nullptr;     // [T, cols]
  const float* norm = nullptr;  // [cols]
  float eps = 0;
  const void* a = nullptr;  // [T, padded_cols] bf16
  int32_t cols = 0;
  int32_t num_rows = 0;  // T, at most kMaxStreamCallRows, of fp8 kMaxFp8StreamRows
  StreamOutput output = StreamOutput::store;
  void* y = nullptr;
  int64_t ldy = 0;
};

// Rows up to which the stream is the fastest for a weight of bf16, in a step of a model (of two rows a matrix by itself
// streams as fast, but a step of 8B took 6.8 ms instead of 5.8).
constexpr int32_t kMaxStreamRows = 1;
// The same for one of four bits, read several times, instead of being made bf16 (4.5 bytes a weight, 0.53 a reading).
constexpr int32_t kMaxInt4StreamRows = 32;
// What one call can take.
constexpr int32_t kMaxStreamCallRows = 8;
constexpr int32_t kMaxFp8StreamRows = 2;

// A row of the operand as bf16 in shared memory: 16 bytes apart from the next for the sake of the banks.
QWILL_HOST_DEVICE constexpr int64_t stream_row_bytes(int64_t padded_cols) { return padded_cols * 2 + 16; }

// Whether there are not too many rows, and the operand leaves room for the weight's ring.
bool stream_fits(const StreamCall& call, int32_t num_sms);
cudaError_t prepare_stream();
cudaError_t stream(const StreamCall& call, int32_t num_sms, cudaStream_t cuda_stream);

}  // namespace qwill::cuda
