// What stream.h does with weights of e4m3 (fp8.h).
#pragma once

#include "cuda/kernels/fp8.h"
#include "cuda/kernels/stream.h"

namespace qwill::cuda {

constexpr int32_t kFp8Groups = 2;      // warpgroups that multiply
constexpr int32_t kFp8UnitBlocks = 2;  // row blocks of a unit: two that follow each other, gate and up for silu_mul
constexpr int32_t kFp8UnitRows = kFp8UnitBlocks * static_cast<int32_t>(kAtomRows);
constexpr int32_t kFp8SlotAtoms = 4;  // of each row block in a slot
// The operand in shared memory (fp8_tile.cuh): of each row its e4m3, in whole slots of 512 columns, and their scales;
// what warps of a warpgroup give each other; and what products read behind the last row.
constexpr int64_t fp8_operand_bytes(const MatrixLayout& layout, int32_t num_rows) {
  const int64_t slots = (Fp8Layout::of(layout).col_blocks + kFp8SlotAtoms - 1) / kFp8SlotAtoms;
  const int64_t row = slots * kFp8SlotAtoms * (kFp8AtomCols + 4);
  const int64_t exchanged = kFp8Groups * 2 * kFp8UnitRows * kFp8SlotAtoms * 4;
  return num_rows * (row + exchanged) + 256;
}

// Whether the operand leaves room for the weight's rings.
bool stream_fp8_fits(const StreamCall& call, int32_t num_sms);
cudaError_t prepare_stream_fp8();
// Otherwise than stream.h, silu_mul leaves columns of y beyond the weight's as they are. Of a the columns behind cols
// are zeros.
cudaError_t stream_fp8(const StreamCall& call, int32_t num_sms, cudaStream_t cuda_stream);

}  // namespace qwill::cuda
