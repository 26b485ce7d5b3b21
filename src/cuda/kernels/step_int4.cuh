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
        at(b.place(idx)),
        tile(op.product, unit, b.lane) {
    at.advance(b.warp, b.p.slots);
  }

  __device__ __forceinline__ uint32_t next_item(int32_t consumers) {
    wait_for(b.full(at.slot), at.parity, b.p, StepWait::slot_full, idx, at.slot);
    const uint32_t item = b.item(at.slot);
    at.advance(consumers, b.p.slots);
    return item;
  }

  // The unit's outputs, of which every fourth lane has one of each tile: sums of its slices. What the op says is read
  // at once: one after the other each would be waited for.
  __device__ __forceinline__ void write(const float* rows) const {
    const StreamCall& c = op.product;
    const StreamOutput output = c.output;
    const StepStores stores = op.stores;
    const int32_t num_outputs = c.num_outputs, to = op.to;
    const int64_t ldy = c.ldy, row_blocks = c.layout.row_blocks;
    void* const y = c.y;
    const bool add = output == StreamOutput::add;
    float first = add ? __fadd_rn(tile.sums[0], tile.acc[0]) : tile.acc[0],
          second = add ? __fadd_rn(tile.sums[2], tile.acc[2]) : tile.acc[2];
    const float* row = rows + b.warp * 16 + b.lane / 4;
#pragma unroll 1
    for (int32_t i = 1; i < slices; ++i) {
      row += 16;
      first = __fadd_rn(first, row[0]);
      second = __fadd_rn(second, row[8]);
    }
    if (b.lane % 4 != 0) return;
    if (output == StreamOutput::silu_mul) {
      const int32_t n = unit * 8 + b.lane / 4;
      auto* const gated = static_cast<bfloat*>(y);
      gated[n] = __float2bfloat16_rn(silu_times(first, second));
      if (unit + 1 == row_blocks / 2)
#pragma unroll 1
        for (int64_t pad = n + 8; pad < ldy; pad += 8) gated[pad] = __float2bfloat16_rn(0.0f);
      return;
    }
    const int32_t n = unit * 16 + b.lane / 4;
    const bool as_words = stores == StepStores::words;
    if (as_words) {
      StepWord* const words = b.p.words + to;
      if (n < num_outputs) store_word(words + n, first, b.epoch());
      if (n + 8 < num_outputs) store_word(words + n + 8, second, b.epoch());
    }
    if (!as_words || add) {  // an added row too: for the next sum, and whoever comes after the step
      auto* const sums = static_cast<float*>(y);
      if (n < num_outputs) sums[n] = first;
      if (n + 8 < num_outputs) sums[n + 8] = second;
    }
  }

  // The operand is there.
  __device__ __forceinline__ void multiply() {
    const StreamCall& c = op.product;
    const OperandAddress a = StepInt4::operand_address(shared_address(b.room), 0, 1, 0, b.lane);
    const uint32_t a_address = a.address + static_cast<uint32_t>(first_step) * 2 * a.step;
    auto* rows =
        reinterpret_cast<float*>(b.room + stream_row_bytes(c.layout.padded_cols()));  // of 16 outputs from each warp
    RingPlace held = b.place(idx);
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
        if (slice == 0) write(rows);
      } else {
        b.sync();  // as the busy ones
      }
      if (slices > 1 && first + units.at_once < units.end) b.sync();  // the rows have been read
    }
  }
};

}  // namespace qwill::cuda
