// Products with weights of four bits within decode_step.cu: what a warp multiplies.
#pragma once

#include "cuda/kernels/step_block.cuh"
#include "cuda/kernels/stream_format.cuh"

namespace qwill::cuda {

using StepInt4 = Int4Format<kItemInt4Blocks, OperandOfRow>;

// Units of weights of four bits, of which each slice is a warp's. What can be known before the operand is there is
// found out before.
struct Int4Units {
  using Tile = StepInt4::Tile<true>;
  const StepBlock& b;
  const StepOp& op;
  const BlockUnits& units;
  int32_t idx;
  int32_t slices, slice, unit, first_step, steps;  // of the warp; columns by 32
  RingPlace at;                                    // of the next item
  Tile tile;                                       // what the first one is added to has been there for long

  __device__ __forceinline__ Int4Units(const StepBlock& block, const StepOp& step_op, const BlockUnits& block_units,
                                       int32_t op_idx)
      : b(block),
        op(step_op),
        units(block_units),
        idx(op_idx),
        slices(units.slices),
        slice(slices > 1 ? b.warp % slices : 0),
        unit(units.first + (slices > 1 ? b.warp / slices : b.warp)),
        first_step(slice * (op.cut.slice_bytes / StepInt4::kUnitBytes * StepInt4::kUnitSteps)),
        steps(min(op.cut.slice_bytes / StepInt4::kUnitBytes * StepInt4::kUnitSteps,
                  static_cast<int32_t>(op.product.layout.col_blocks) * 2 - first_step)),
        at(b.place),
        tile(op.product, unit, b.lane) {
    at.advance(b.warp, b.p.slots);
  }

  __device__ __forceinline__ uint32_t next_item(int32_t consumers) {
    wait_for(b.full(at.slot), at.parity, b.p, StepWait::slot_full, idx, at.slot);
    const uint32_t item = b.item(at.slot);
    at.advance(consumers, b.p.slots);
    return item;
  }

  // The operand is there.
  __device__ __forceinline__ void multiply() {
    const StreamCall& c = op.product;
    const StepOutputs outputs{b, op};
    const OperandAddress a = StepInt4::operand_address(shared_address(b.room), 0, 1, 0, b.lane);
    const uint32_t a_address = a.address + static_cast<uint32_t>(first_step) * 2 * a.step;
    auto* rows =
        reinterpret_cast<float*>(b.room + stream_row_bytes(c.layout.padded_cols()));  // of 16 outputs from each warp
    RingPlace held = b.place;
    held.advance(b.warp, b.p.slots);
#pragma unroll 1
    for (int32_t first = units.first; first < units.end; first += units.at_once, unit += units.at_once) {
      const int32_t consumers = units.consumers_of_round(first);
      const bool busy = b.warp < consumers;
      if (!busy && slices == 1) break;  // of the last round
      if (busy) {
        if (first > units.first) tile = Tile(c, unit, b.lane);
        int32_t multiplied = 0;
        const auto next = [&] { return next_item(consumers); };
        const auto done = [&] {
          __syncwarp();
          if (b.lane == 0) barrier_arrive(b.empty(held.slot));
          held.advance(consumers, b.p.slots);
          ++multiplied;
        };
        tile.multiply_run(steps, a_address, b.lane, next, done);
#pragma unroll 1
        while (multiplied < units.num_chunks) next(), done();  // items that bring nothing to this slice
        if (slice > 0) tile.give_row(rows + b.warp * 16, b.lane);
        if (slices > 1) b.sync();
        if (slice == 0) {
          tile.fold(c, true);
          for (int32_t i = 1; i < slices; ++i) {
            tile.take_row(rows + (b.warp + i) * 16, b.lane);
            tile.fold(c, false);
          }
          tile.template write<1>(c, outputs, unit, b.lane);
        }
      } else {
        b.sync();  // as the busy ones
      }
      if (slices > 1 && first + units.at_once < units.end) b.sync();  // the rows have been read
    }
  }
};

}  // namespace qwill::cuda
