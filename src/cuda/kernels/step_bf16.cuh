// Products with weights of bf16 within decode_step.cu: what a warp multiplies. The bits are those of stream_tile.cuh.
#pragma once

#include "cuda/kernels/activation.cuh"
#include "cuda/kernels/step_block.cuh"
#include "cuda/kernels/wgmma.cuh"

namespace qwill::cuda {

// A lane's fragments of 64 columns, in steps of 16. The second operand of mma is half as large as the first, whose two
// halves are eight rows each. So of one tile the weights are the second, and all rows of the first are the token; of
// two tiles, gate and up, these are the halves of the first, and all columns of the second are the token. Code is short
// and goes round: what runs once an op comes from beyond the instruction caches.
template <bool kPair>
struct Bf16Fragments {
  uint32_t first[4][4], second[2][4];

  // `weights` and `token` by weights_address and token_address.
  __device__ __forceinline__ void load(const uint32_t (&weights)[kPair ? 4 : 2], uint32_t token) {
#pragma unroll
    for (int step = 0; step < 4; ++step) load_matrices(first[step], kPair ? weights[step] : token + step * 32);
#pragma unroll
    for (int half = 0; half < 2; ++half) load_matrices(second[half], kPair ? token + half * 64 : weights[half]);
  }
  __device__ __forceinline__ void multiply(float (&sums)[4]) const {
#pragma unroll
    for (int step = 0; step < 4; ++step)
      mma_16x8x16(sums, first[step], second[step / 2][step % 2 * 2], second[step / 2][step % 2 * 2 + 1]);
  }
};

// Of a warp's unit: a tile of 8 rows, or gate and up of 8 outputs.
template <bool kPair>
struct Bf16Unit {
  static constexpr int kAtoms = kPair ? kItemAtoms / 2 : kItemAtoms;  // of an item, of each tile; even
  static constexpr int kLoads = kPair ? 4 : 2;                        // of weights for 64 columns

  const StepBlock& b;
  const StepOp& op;
  const int32_t unit;
  float sums[4] = {};
  float2 before{};  // what the outputs are added to; asked for early, since it takes a while

  __device__ __forceinline__ Bf16Unit(const StepBlock& block, const StepOp& step_op, int32_t unit_in)
      : b(block), op(step_op), unit(unit_in) {
    const StreamCall& c = op.product;
    if (kPair || c.output != StreamOutput::add || count() <= 0) return;
    const float* y = static_cast<const float*>(c.y) + column();
    before.x = __ldcg(y);
    if (count() > 1) before.y = __ldcg(y + 1);
  }

  // next_item(): until the unit's next item is there; its address. done(): the item before has been multiplied.
  // Fragments are loaded 64 columns before their product, also from one item to the next. (The compiler would move each
  // load to just before its product, but not over __syncwarp.)
  template <typename Next, typename Done>
  __device__ __forceinline__ void multiply(const Next& next_item, const Done& done) {
    const int lane = b.lane, row = lane % 8;
    uint32_t token = shared_address(b.room) + (kPair ? lane / 8 : lane / 16) * 16;
    Bf16Fragments<kPair> even, odd{};  // what is not set before the loop would have its registers for the whole kernel
    uint32_t weights[kLoads] = {};
    const auto advance = [&] {
#pragma unroll
      for (int i = 0; i < kLoads; ++i) weights[i] += kAtomBytes;
      token += 128;
    };
    int32_t left = static_cast<int32_t>(op.product.layout.col_blocks), place = 0;
#pragma unroll 1
    for (bool is_first = true; left > 0; left -= 2, is_first = false) {
      const bool begins = place == 0;
      if (begins) {
        const uint32_t item =
            next_item() + static_cast<uint32_t>(row * 128 + (kPair ? lane / 8 % 2 * kAtoms * kAtomBytes : 0));
#pragma unroll
        for (int i = 0; i < kLoads; ++i)
          weights[i] = item + ((kPair ? 2 * i + lane / 16 : 4 * i + lane / 8) ^ row) * 16;
      }
      even.load(weights, token);
      advance();
      __syncwarp();
      if (!is_first) {
        odd.multiply(sums);
        if (begins) done();
      }
      odd.load(weights, token);  // beyond the last column, whatever stands there
      advance();
      __syncwarp();
      even.multiply(sums);
      place = (place + 2) % kAtoms;
    }
    if (left == 0) odd.multiply(sums);
    done();
  }

  // Of a tile, outputs of the lane from column() on: the first row's lanes have two each.
  __device__ __forceinline__ int32_t column() const { return unit * 8 + 2 * b.lane; }
  __device__ __forceinline__ int32_t count() const { return b.lane < 4 ? op.product.num_outputs - column() : 0; }

  __device__ __forceinline__ void write() const {
    const StreamCall& c = op.product;
    const StepOutputs outputs{b, op};
    if (kPair) {  // every fourth lane has an output, of which two are put at once
      const float mine = silu_times(sums[0], sums[2]), next = __shfl_down_sync(~0u, mine, 4);
      if (b.lane % 8 != 0) return;
      const int32_t n = unit * 8 + b.lane / 4;
      outputs.put_two_gated(n, pack_bf16(mine, next));
      if (unit + 1 == c.layout.row_blocks / 2)
#pragma unroll 1
        for (int32_t pad = n + 8; pad < c.ldy; pad += 8) outputs.put_two_gated(pad, 0);
      return;
    }
    if (count() <= 0) return;
    const bool add = c.output == StreamOutput::add;
    outputs.put(0, column(), add ? __fadd_rn(before.x, sums[0]) : sums[0]);
    if (count() > 1) outputs.put(0, column() + 1, add ? __fadd_rn(before.y, sums[1]) : sums[1]);
  }
};

// Warps come in an order in which those of the loading warp's quarter of the multiprocessor are last.
__device__ __forceinline__ int32_t consumer_of(const StepBlock& b) {
  if (b.p.warps % 4 != 0) return b.warp;
  return b.warp % 4 != 0 ? b.warp / 4 * 3 + b.warp % 4 - 1 : (b.p.warps + b.warp) / 4 + b.p.warps / 2;
}

// Units of weights of bf16, a warp each. kArrivals: of a slot's consumers.
template <bool kPair, int kArrivals>
__device__ __forceinline__ void multiply_bf16_units(const StepBlock& b, const StepOp& op, const BlockUnits& units,
                                                    int32_t idx) {
  const int32_t consumer = consumer_of(b);
  RingPlace at = b.place;
  at.advance(consumer, b.p.slots);
  RingPlace held = at;  // the item that is multiplied
#pragma unroll 1
  for (int32_t first = units.first; first < units.end; first += units.at_once) {
    const int32_t consumers = units.consumers_of_round(first);
    if (consumer >= consumers) break;  // of the last round
    Bf16Unit<kPair> unit(b, op, first + consumer);
    unit.multiply(
        [&] {
          wait_for(b.full(at.slot), at.parity, b.p, StepWait::slot_full, idx, at.slot);
          const uint32_t item = b.item(at.slot);
          at.advance(consumers, b.p.slots);
          return item;
        },
        [&] {
          __syncwarp();
          if (b.lane == 0) barrier_arrive(b.empty(held.slot), kArrivals);
          held.advance(consumers, b.p.slots);
        });
    unit.write();
  }
}

// Where a block has one unit at once, of whole items, by a warpgroup: wgmma takes 20 cycles for 16 columns where a
// warp's mma takes 26, and hardly an instruction. The token is the first operand, its row eight times, of which others
// begin 8 columns later, and these eight times: rows that nobody asks for. The outputs are those of row 0, in the first
// four lanes of warp 0, as those of mma.
__device__ __forceinline__ void multiply_bf16_alone(const StepBlock& b, const StepOp& op, const BlockUnits& units,
                                                    int32_t idx) {
  if (b.warp >= 4) return;
  RingPlace at = b.place;
#pragma unroll 1
  for (int32_t first = units.first; first < units.end; ++first) {
    Bf16Unit<false> unit(b, op, first);
    int32_t held = 0;
#pragma unroll 1
    for (int32_t chunk = 0; chunk < units.num_chunks; ++chunk) {
      wait_for(b.full(at.slot), at.parity, b.p, StepWait::slot_full, idx, at.slot);
      // From a reduction, so that the compiler counts on in uniform registers: one instruction for a descriptor, not
      // six.
      const uint64_t weights = atom_descriptor(__reduce_or_sync(~0u, b.item(at.slot)));
      const uint64_t token =
          rows_descriptor(__reduce_or_sync(~0u, shared_address(b.room) + chunk * kItemAtoms * 128), 1);
      wgmma_fence();
#pragma unroll
      for (int step = 0; step < 4 * kItemAtoms; ++step)
        wgmma(unit.sums, token + step * descriptor_step(32),
              weights + step / 4 * descriptor_step(kAtomBytes) + step % 4 * kDescriptorK16);
      wgmma_commit();
      wgmma_wait<1>();  // the item before
      if (b.lane == 0 && chunk > 0) barrier_arrive(b.empty(held));
      held = at.slot;
      at.advance(1, b.p.slots);
    }
    wgmma_wait<0>(unit.sums);
    if (b.lane == 0) barrier_arrive(b.empty(held));
    if (b.warp == 0) unit.write();
  }
}

}  // namespace qwill::cuda
