// What every streaming product in e4m3 does: its operand, and a warpgroup's sixteen weight rows.
#pragma once

#include "cuda/kernels/fp8_value.cuh"
#include "cuda/kernels/stream_fp8.h"
#include "cuda/kernels/stream_tile.cuh"
#include "cuda/kernels/wgmma.cuh"

namespace qwill::cuda {

constexpr int kFp8Threads = kNormThreads;  // that load the operand
constexpr int kFp8Warps = kFp8Threads / 32;
constexpr int kFp8HalfSlot = kFp8SlotAtoms * static_cast<int>(kAtomBytes);
constexpr int kFp8SlotBytes = kFp8UnitBlocks * kFp8HalfSlot;

// A slot is multiplied by four wgmma: its eight atoms (two row blocks of four column blocks each) are the 64 rows of
// the first operand, and the second has the four column blocks of each token as columns. So every column block gets
// sums of its own, from a fresh start, where rows and columns are of the same one; the others mean nothing.
//
// The operand in shared memory: [slot][16 columns of a block][row][column block of the slot][16 bytes]. Then the
// scales, [row][block of 128 columns, in whole slots]; and for each warpgroup and one slot or the next, [row][row of
// the unit][column block].
struct Fp8Operand {
  char* data;
  int32_t num_rows, col_blocks;

  __device__ __forceinline__ Fp8Operand(char* room, const StreamCall& c, int32_t rows)
      : data(room), num_rows(rows), col_blocks(static_cast<int32_t>(Fp8Layout::of(c.layout).col_blocks)) {}
  __device__ __forceinline__ int32_t num_slots() const { return (col_blocks + kFp8SlotAtoms - 1) / kFp8SlotAtoms; }
  __device__ __forceinline__ char* slot(int32_t idx) const { return data + idx * num_rows * kFp8SlotAtoms * 128; }
  __device__ __forceinline__ float* scales(int32_t t) const {
    return reinterpret_cast<float*>(slot(num_slots())) + t * num_slots() * kFp8SlotAtoms;
  }
  __device__ __forceinline__ float* exchange(int32_t group, int32_t turn) const {
    return scales(num_rows) + (group * 2 + turn % 2) * num_rows * kFp8UnitRows * kFp8SlotAtoms;
  }

  // Of row t and 16 columns of a block of 128.
  __device__ __forceinline__ char* place(int32_t t, int32_t block, int32_t sixteen) const {
    return slot(block / kFp8SlotAtoms) + ((sixteen * num_rows + t) * kFp8SlotAtoms + block % kFp8SlotAtoms) * 16;
  }

  // By a warp, four columns a lane: blocks of 128 columns of row t, from `first` on every eighth.
  template <int kCount>
  __device__ __forceinline__ void put_blocks(int32_t t, int32_t first, const float4 (&v)[kCount], int lane) const {
    Fp8Block blocks[kCount];
    quantize_blocks(blocks, v);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int32_t block = first + kFp8Warps * i;
      if (block >= col_blocks) continue;
      *reinterpret_cast<uint32_t*>(place(t, block, lane / 4) + lane % 4 * 4) = blocks[i].bytes;
      if (lane == 0) scales(t)[block] = blocks[i].scale;
    }
  }
  // Eight columns a lane, of bf16: pairs of blocks, from `first` on every eighth.
  template <int kCount>
  __device__ __forceinline__ void put_pairs(int32_t t, int32_t first, const uint4 (&v)[kCount], int lane) const {
    float most[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i)
      most[i] = fmaxf(most_of(widen_4(make_uint2(v[i].x, v[i].y))), most_of(widen_4(make_uint2(v[i].z, v[i].w))));
#pragma unroll
    for (int lanes = 8; lanes > 0; lanes /= 2) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) most[i] = fmaxf(most[i], __shfl_xor_sync(~0u, most[i], lanes));
    }
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const Fp8Scale scale(most[i]);
      const uint2 bytes = make_uint2(pack_fp8(widen_4(make_uint2(v[i].x, v[i].y)), scale.inverse),
                                     pack_fp8(widen_4(make_uint2(v[i].z, v[i].w)), scale.inverse));
      const int32_t block = 2 * (first + kFp8Warps * i) + lane / 16;
      if (block >= col_blocks) continue;
      *reinterpret_cast<uint2*>(place(t, block, lane % 16 / 2) + lane % 2 * 8) = bytes;
      if (lane % 16 == 0) scales(t)[block] = scale.scale;
    }
  }

  // By kFp8Threads threads; `wait` until x or a may be read. scratch [8].
  template <typename Wait>
  __device__ __forceinline__ void load(const StreamCall& c, float* scratch, int thread, Wait wait) const {
    const int warp = thread / 32, lane = thread % 32;
    if (c.norm) {
      RowSlice weight;
      weight.load(c.norm, c.cols, thread);  // constant, as weights are
      wait();
#pragma unroll 1
      for (int32_t t = 0; t < num_rows; ++t) {
        RowSlice x;
        x.load(c.x + static_cast<int64_t>(t) * c.cols, c.cols, thread);
        const float inverse = inverse_rms(x, c.cols, c.eps, scratch, thread);
        // Most rows end within the first four.
        constexpr int kFirst = 4, kRest = kNormVectors - kFirst;
        float4 y[kFirst], rest[kRest];
#pragma unroll
        for (int j = 0; j < kFirst; ++j) y[j] = scaled(x.values[j], inverse, weight.values[j]);
        put_blocks(t, warp, y, lane);
        if (col_blocks > kFirst * kFp8Warps) {
#pragma unroll
          for (int j = 0; j < kRest; ++j) rest[j] = scaled(x.values[kFirst + j], inverse, weight.values[kFirst + j]);
          put_blocks(t, warp + kFirst * kFp8Warps, rest, lane);
        }
        if (t + 1 < num_rows) sync_threads<kNormThreads>(1);  // scratch is free again
      }
      fence_async_proxy();
      return;
    }
    wait();
    // All that a warp has of 12,288 columns is under way at once, and rounded by twos.
    constexpr int kBatch = 6, kAtOnce = 2;
    const int32_t pairs = (col_blocks + 1) / 2, stride = static_cast<int32_t>(c.layout.padded_cols());
#pragma unroll 1
    for (int32_t t = 0; t < num_rows; ++t) {
      const bfloat* row = static_cast<const bfloat*>(c.a) + int64_t{t} * stride + 8 * lane;
#pragma unroll 1
      for (int32_t first = warp; first < pairs; first += kBatch * kFp8Warps) {
        uint4 eight[kBatch / kAtOnce][kAtOnce];
#pragma unroll
        for (int i = 0; i < kBatch; ++i) {
          const int32_t from = (first + i * kFp8Warps) * 256;
          uint4& to = eight[i / kAtOnce][i % kAtOnce];
          to = make_uint4(0, 0, 0, 0);
          if (from + 8 * lane < stride) to = *reinterpret_cast<const uint4*>(row + from);
        }
#pragma unroll
        for (int i = 0; i < kBatch / kAtOnce; ++i)
          if (first + i * kAtOnce * kFp8Warps < pairs) put_pairs(t, first + i * kAtOnce * kFp8Warps, eight[i], lane);
      }
    }
    fence_async_proxy();
  }
};

// A warpgroup's unit. Lane l of its first warp has the output of token l / 16, row l % 16 of the unit.
struct Fp8Tile {
  const StreamCall& c;
  const Fp8Operand& operand;
  int32_t unit, group, warp, lane;  // the warp is of the group
  float before = 0, weight_scale = 0, sum = 0;

  __device__ __forceinline__ Fp8Tile(const StreamCall& call, const Fp8Operand& a, int32_t unit_in, int32_t block_warp,
                                     int32_t lane_in)
      : c(call), operand(a), unit(unit_in), group(block_warp / 4), warp(block_warp % 4), lane(lane_in) {
    if (warp != 0 || token() >= operand.num_rows) return;
    before = read_output(c, token(), column());
    if (column() < c.layout.row_blocks * 8) weight_scale = __ldg(c.scales + column());
  }

  // All of the unit's slots, by its four warps. wait(): until the next slot is there; its address. release(): it has
  // been multiplied. `turn` counts the slots of the warpgroup's units.
  template <typename Wait, typename Release>
  __device__ __forceinline__ void multiply(int32_t& turn, Wait wait, Release release) {
#pragma unroll 1
    for (int32_t idx = 0; idx < operand.num_slots(); ++idx, ++turn) {
      float d[4];
      multiply_slot(d, wait(), idx);
      // The warp's rows are of one row block, eight of column block `first` and eight of the next; a token's sums of
      // them are in one lane of four.
      const int32_t first = 2 * (warp % 2), t = (lane % 4 - first / 2) / 2, row = warp / 2 * 8 + lane / 4;
      float* exchange = operand.exchange(group, turn);
      if (lane % 4 == first / 2 + 2 * t && t < operand.num_rows)
        *reinterpret_cast<float2*>(exchange + (t * kFp8UnitRows + row) * kFp8SlotAtoms + first) =
            make_float2(d[0], d[3]);
      __syncwarp();
      release();
      sync_threads<128>(4 + group);
      if (warp == 0 && token() < operand.num_rows) add(exchange, idx);
    }
  }

  template <typename Outputs>
  __device__ __forceinline__ void write(const Outputs& outputs) const {
    if (warp != 0) return;
    const float y = __fmul_rn(sum, weight_scale), up = __shfl_down_sync(~0u, y, 8);
    if (token() >= operand.num_rows) return;
    if (c.output == StreamOutput::silu_mul) {
      const int32_t n = unit * 8 + lane % 8;
      if (lane % 16 < 8 && n < c.ldy) outputs.put_gated(token(), n, __float2bfloat16_rn(silu_times(y, up)));
    } else {
      if (column() < c.num_outputs)
        outputs.put(token(), column(), c.output == StreamOutput::add ? __fadd_rn(before, y) : y);
    }
  }

 private:
  // Column blocks 4 idx … of the unit. What follows the last column block is multiplied in vain.
  __device__ __forceinline__ void multiply_slot(float (&d)[4], uint32_t slot, int32_t idx) const {
    const uint64_t a = atom_descriptor(slot);
    const uint64_t b = rows_descriptor(shared_address(operand.slot(idx)), operand.num_rows * kFp8SlotAtoms);
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < 4; ++step)
      wgmma_fp8(d, a + step * kDescriptorK32Fp8, b + step * descriptor_step(32 * kFp8SlotAtoms) * operand.num_rows,
                step > 0);
    wgmma_commit();
    wgmma_wait<0>(d);
  }
  __device__ __forceinline__ void add(const float* exchange, int32_t idx) {
    const float4 sums = *reinterpret_cast<const float4*>(exchange + lane * kFp8SlotAtoms);
    const float4 scales = *reinterpret_cast<const float4*>(operand.scales(token()) + idx * kFp8SlotAtoms);
    const int32_t blocks = operand.col_blocks - idx * kFp8SlotAtoms;
    sum = __fmaf_rn(sums.x, scales.x, sum);
    if (blocks > 1) sum = __fmaf_rn(sums.y, scales.y, sum);
    if (blocks > 2) sum = __fmaf_rn(sums.z, scales.z, sum);
    if (blocks > 3) sum = __fmaf_rn(sums.w, scales.w, sum);
  }

  __device__ __forceinline__ int32_t token() const { return lane / 16; }
  __device__ __forceinline__ int32_t column() const { return unit * kFp8UnitRows + lane % 16; }
};

}  // namespace qwill::cuda
