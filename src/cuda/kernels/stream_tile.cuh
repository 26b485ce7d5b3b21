// What every streaming product does with a warp's tile of 8 weight rows: one sequence of instructions, so the same
// bits.
#pragma once

#include "cuda/kernels/activation.cuh"
#include "cuda/kernels/ptx.cuh"
#include "cuda/kernels/row_norm.cuh"
#include "cuda/kernels/stream.h"

namespace qwill::cuda {

// Four columns of a row of the operand, as two pairs of bf16. kFours: as ldmatrix has to find them so that each lane
// gets those that it multiplies with four-bit weights (Int4Layout): of sixteen columns first the first pairs of all
// fours.
template <bool kFours>
__device__ __forceinline__ void put_four(bfloat* row, int32_t col, uint32_t first, uint32_t second) {
  if constexpr (kFours) {
    bfloat* to = row + col / 16 * 16 + col % 16 / 2;
    *reinterpret_cast<uint32_t*>(to) = first;
    *reinterpret_cast<uint32_t*>(to + 8) = second;
  } else {
    *reinterpret_cast<uint2*>(row + col) = make_uint2(first, second);
  }
}

// The normed row, rounded to bf16, to shared memory; zeros behind its columns.
template <bool kFours>
__device__ __forceinline__ void store_normed(bfloat* to, const RowSlice& x, float inverse, const RowSlice& weight,
                                             int32_t padded_cols, int thread) {
#pragma unroll
  for (int j = 0; j < kNormVectors; ++j) {
    const int col = 4 * (thread + kNormThreads * j);
    if (col >= padded_cols) continue;
    const float4 y = scaled(x.values[j], inverse, weight.values[j]);
    put_four<kFours>(to, col, pack_bf16(y.x, y.y), pack_bf16(y.z, y.w));
  }
}

// Where a lane reads the operand, whose rows are row_bytes apart.
struct OperandAddress {
  uint32_t address, step;  // bytes of 16 columns

  // As the first operand of mma: ldmatrix takes columns 0-7 of rows 0-7, zeros for rows 8-15 and for those beyond
  // num_rows, then columns 8-15: the fragment as it is, without an instruction between.
  __device__ __forceinline__ static OperandAddress first(uint32_t operand, uint32_t row_bytes, int32_t num_rows,
                                                         uint32_t zeros, int lane) {
    if (lane % 8 >= num_rows || lane / 8 % 2 != 0) return {zeros, 0};
    return {operand + lane % 8 * row_bytes + lane / 16 * 16, 32};
  }
  // As the second: columns 0-7, 8-15, 16-23, 24-31 of rows 0-7. Of rows beyond num_rows nobody asks for the products.
  __device__ __forceinline__ static OperandAddress second(uint32_t operand, uint32_t row_bytes, int32_t num_rows,
                                                          uint32_t /*zeros*/, int lane) {
    const int row = lane % 8;
    return {operand + (row < num_rows ? row * row_bytes : 0) + lane / 8 * 16, 32};
  }
  // As the second of four-bit weights (Int4Layout), of one row: of sixteen columns four by each lane of four.
  __device__ __forceinline__ static OperandAddress only(uint32_t operand, uint32_t /*row_bytes*/, int32_t /*num_rows*/,
                                                        uint32_t /*zeros*/, int lane) {
    return {operand + lane % 4 * 8, 32};
  }
};

// acc += up to kAtoms atoms at `data`, or pairs of them, of which the up tile's are kAtoms behind the gate tile's; each
// tile's columns in order. The operand's columns begin at a_address, a_step bytes for each 16 of them
// (OperandAddress::first).
template <bool kPair, int kAtoms>
__device__ __forceinline__ void multiply_chunk(float (&acc)[2][4], uint32_t a_address, uint32_t a_step, uint32_t data,
                                               int32_t atoms, int lane) {
  const int row = lane % 8;
  const auto multiply = [&](int i) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      uint32_t a[2][4];
#pragma unroll
      for (int step = 0; step < 2; ++step) load_matrices(a[step], a_address + (4 * i + 2 * half + step) * a_step);
      const uint32_t from = data + i * kAtomBytes + row * 128 + (((half * 4 + lane / 8) ^ row) * 16);
#pragma unroll
      for (int tile = 0; tile < (kPair ? 2 : 1); ++tile) {
        uint32_t b[4];
        load_matrices(b, from + tile * kAtoms * kAtomBytes);
        mma_16x8x16(acc[tile], a[0], b[0], b[1]);
        mma_16x8x16(acc[tile], a[1], b[2], b[3]);
      }
    }
  };
  if (atoms == kAtoms) {
#pragma unroll
    for (int i = 0; i < kAtoms; ++i) multiply(i);
  } else {
    for (int i = 0; i < atoms; ++i) multiply(i);
  }
}

// Where a tile's outputs go, one by one: those that are stored or added, of row t, column n.
struct PlainOutputs {
  const StreamCall& c;
  __device__ __forceinline__ void put(int32_t t, int32_t n, float value) const {
    static_cast<float*>(c.y)[t * c.ldy + n] = value;
  }
  __device__ __forceinline__ void put_gated(int32_t t, int32_t n, bfloat value) const {
    static_cast<bfloat*>(c.y)[t * c.ldy + n] = value;
  }
  __device__ __forceinline__ void clear_gated(int32_t t, int32_t n) const {
    put_gated(t, n, __float2bfloat16_rn(0.0f));
  }
};

// What an output is added to; asked for when its tile begins, since it takes a while.
__device__ __forceinline__ float read_output(const StreamCall& c, int32_t t, int32_t n) {
  return c.output == StreamOutput::add && t < c.num_rows && n < c.num_outputs
             ? static_cast<const float*>(c.y)[t * c.ldy + n]
             : 0;
}

// What the lane adds its two outputs to.
__device__ __forceinline__ float2 read_tile(const StreamCall& c, int32_t unit, int lane) {
  const int32_t t = lane / 4, n = unit * 8 + 2 * (lane % 4);
  return {read_output(c, t, n), read_output(c, t, n + 1)};
}

template <bool kGated, typename Outputs>
__device__ __forceinline__ void write_tile(const StreamCall& c, const Outputs& outputs, int32_t unit,
                                           const float (&acc)[2][4], float2 before, int lane) {
  const int32_t t = lane / 4, n = unit * 8 + 2 * (lane % 4);
  if (t >= c.num_rows) return;
  if (kGated) {
    if (n >= c.ldy) return;
    bfloat* y = static_cast<bfloat*>(c.y) + t * c.ldy + n;
    *reinterpret_cast<uint32_t*>(y) = pack_bf16(silu_times(acc[0][0], acc[1][0]), silu_times(acc[0][1], acc[1][1]));
    if (unit + 1 == c.layout.row_blocks / 2)
      for (int64_t pad = 8; n + pad < c.ldy; pad += 8) *reinterpret_cast<uint32_t*>(y + pad) = 0;
    return;
  }
  const bool add = c.output == StreamOutput::add;
  if (n < c.num_outputs) outputs.put(t, n, add ? __fadd_rn(before.x, acc[0][0]) : acc[0][0]);
  if (n + 1 < c.num_outputs) outputs.put(t, n + 1, add ? __fadd_rn(before.y, acc[0][1]) : acc[0][1]);
}

}  // namespace qwill::cuda
