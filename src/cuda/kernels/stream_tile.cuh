// What every streaming product does with a warp's tile of 8 weight rows: one sequence of instructions, so the same
// bits.
#pragma once

#include "cuda/kernels/activation.cuh"
#include "cuda/kernels/ptx.cuh"
#include "cuda/kernels/row_norm.cuh"
#include "cuda/kernels/stream.h"

namespace qwill::cuda {

// The normed row, rounded to bf16, to shared memory; zeros behind its columns.
__device__ __forceinline__ void store_normed(bfloat* to, const RowSlice& x, float inverse, const RowSlice& weight,
                                             int32_t padded_cols, int thread) {
#pragma unroll
  for (int j = 0; j < kNormVectors; ++j) {
    const int col = 4 * (thread + kNormThreads * j);
    if (col >= padded_cols) continue;
    const float4 y = scaled(x.values[j], inverse, weight.values[j]);
    *reinterpret_cast<uint2*>(to + col) = make_uint2(pack_bf16(y.x, y.y), pack_bf16(y.z, y.w));
  }
}

// Fragments of one atom, or of a pair's two, and of the operand's columns.
template <bool kPair>
struct AtomFragments {
  uint32_t a[2][4], b[kPair ? 2 : 1][2][4];

  __device__ __forceinline__ void load(uint32_t a_address, uint32_t a_step, uint32_t atom, uint32_t to_second,
                                       int lane) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      load_matrices(a[half], a_address + half * a_step);
      const int row = lane % 8, chunk = half * 4 + lane / 8;
#pragma unroll
      for (int i = 0; i < (kPair ? 2 : 1); ++i)
        load_matrices(b[i][half], atom + i * to_second + row * 128 + ((chunk ^ row) * 16));
    }
  }
  // acc += operand columns times the atoms.
  __device__ __forceinline__ void multiply(float (&acc)[2][4]) const {
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
      for (int step = 0; step < 2; ++step)
#pragma unroll
        for (int i = 0; i < (kPair ? 2 : 1); ++i)
          mma_16x8x16(acc[i], {a[half][2 * step], 0, a[half][2 * step + 1], 0}, b[i][half][2 * step],
                      b[i][half][2 * step + 1]);
  }
};

// acc += up to kAtoms atoms at `data`; of a pair the up tile's atoms follow the gate tile's at kAtoms. The operand's
// columns begin at `a`, a_step bytes for each 32 of them.
template <bool kPair, int kAtoms>
__device__ __forceinline__ void multiply_chunk(float (&acc)[2][4], uint32_t a_address, uint32_t a_step, uint32_t data,
                                               int32_t atoms, int lane) {
  // A product waits for the one before it and nothing else: its fragments come an atom ahead.
  AtomFragments<kPair> now, next;
  const auto load = [&](AtomFragments<kPair>& to, int i) {
    to.load(a_address + 2 * i * a_step, a_step, data + i * kAtomBytes, kAtoms * kAtomBytes, lane);
  };
  load(now, 0);
  if (atoms == kAtoms) {
#pragma unroll
    for (int i = 0; i < kAtoms; ++i) {
      if (i + 1 < kAtoms) load(next, i + 1);
      now.multiply(acc);
      now = next;
    }
  } else {
    for (int i = 0; i < atoms; ++i) {
      if (i + 1 < atoms) load(next, i + 1);
      now.multiply(acc);
      now = next;
    }
  }
}

// What the lane adds its two outputs to.
template <StreamOutput kOutput>
__device__ __forceinline__ float2 read_tile(const StreamCall& c, int32_t unit, int lane) {
  const int32_t t = lane / 4, n = unit * 8 + 2 * (lane % 4);
  if (kOutput != StreamOutput::add || t >= c.num_rows) return {};
  const float* y = static_cast<const float*>(c.y) + t * c.ldy + n;
  return {n < c.num_outputs ? y[0] : 0, n + 1 < c.num_outputs ? y[1] : 0};
}

template <StreamOutput kOutput>
__device__ __forceinline__ void write_tile(const StreamCall& c, int32_t unit, const float (&acc)[2][4], float2 before,
                                           int lane) {
  const int32_t t = lane / 4, n = unit * 8 + 2 * (lane % 4);
  if (t >= c.num_rows) return;
  if (kOutput == StreamOutput::silu_mul) {
    if (n >= c.ldy) return;
    bfloat* y = static_cast<bfloat*>(c.y) + t * c.ldy + n;
    *reinterpret_cast<uint32_t*>(y) = pack_bf16(silu_times(acc[0][0], acc[1][0]), silu_times(acc[0][1], acc[1][1]));
    if (unit + 1 == c.layout.row_blocks / 2)
      for (int64_t pad = 8; n + pad < c.ldy; pad += 8) *reinterpret_cast<uint32_t*>(y + pad) = 0;
    return;
  }
  float* y = static_cast<float*>(c.y) + t * c.ldy + n;
  const bool add = kOutput == StreamOutput::add;
  if (n < c.num_outputs) y[0] = add ? __fadd_rn(before.x, acc[0][0]) : acc[0][0];
  if (n + 1 < c.num_outputs) y[1] = add ? __fadd_rn(before.y, acc[0][1]) : acc[0][1];
}

}  // namespace qwill::cuda
