// Products within decode_step.cu: the loading warp, and a warp that multiplies.
#pragma once

#include "cuda/kernels/step_block.cuh"

namespace qwill::cuda {

// Of an op, what the loading warp needs. Asked for an op ahead: it comes from the memory itself.
struct LoadOp {
  const char* weight;
  int32_t col_blocks, num_units, busy_warps;
  bool is_product, pair;

  __device__ __forceinline__ void read(const StepOp& op) {
    weight = static_cast<const char*>(op.product.weight);
    col_blocks = static_cast<int32_t>(op.product.layout.col_blocks);
    num_units = op.num_units;
    busy_warps = op.busy_warps;
    is_product = !op.is_attend;
    pair = op.product.output == StreamOutput::silu_mul;
  }
};

// All weights of the step, in the order in which they are multiplied. It waits for nothing but its own block: a slot's
// last item has been multiplied, and the item in_flight before has landed.
__device__ __forceinline__ void load_weights_of_step(const StepBlock& b) {
  const StepLaunch& p = b.p;
  RingPlace to, landing;
  int32_t ahead = 0;
  LoadOp next;
  next.read(p.ops[0]);
  for (int32_t op = 0; op < p.num_ops; ++op) {
    const LoadOp now = next;
    if (op + 1 < p.num_ops) next.read(p.ops[op + 1]);
    if (!now.is_product) continue;
    const BlockTiles tiles(now.num_units, now.busy_warps, now.col_blocks, now.pair, blockIdx.x, gridDim.x);
    const int32_t atoms = BlockTiles::atoms(now.pair);
    const int64_t tile_bytes = static_cast<int64_t>(now.col_blocks) * kAtomBytes;
    const int64_t unit_bytes = now.pair ? 2 * tile_bytes : tile_bytes;
    for (int32_t first = tiles.first; first < tiles.end; first += tiles.busy_warps) {
      const int32_t warps = tiles.warps_of_round(first);
      for (int32_t col = 0; col < now.col_blocks; col += atoms) {
        const uint32_t bytes = static_cast<uint32_t>(min(now.col_blocks - col, atoms)) * kAtomBytes;
        const char* from = now.weight + first * unit_bytes + col * kAtomBytes;
#pragma unroll 1
        for (int32_t warp = 0; warp < warps; ++warp, from += unit_bytes) {
          wait_for(b.empty(to.slot), to.parity ^ 1, p, StepWait::slot_empty, op, to.slot);
          const int32_t limit = b.is_running(op) ? p.in_flight : p.quiet_in_flight;
          for (; ahead >= limit; --ahead) {
            wait_for(b.full(landing.slot), landing.parity, p, StepWait::slot_landed, op, landing.slot);
            landing.advance(1, p.slots);
          }
          ++ahead;
          if (elect_lane()) {
            const uint32_t barrier = b.full(to.slot), item = b.item(to.slot);
            barrier_expect_bytes(barrier, now.pair ? 2 * bytes : bytes);
            copy_bulk(item, from, bytes, barrier);
            if (now.pair) copy_bulk(item + kItemBytes / 2, from + tile_bytes, bytes, barrier);
          }
          __syncwarp();
          to.advance(1, p.slots);
        }
      }
    }
  }
}

// The operand as one bf16 row at the beginning of the room.
__device__ __forceinline__ void load_step_operand(const StepBlock& b, const StreamCall& c, int32_t op) {
  const auto padded = static_cast<int32_t>(c.layout.padded_cols());
  if (c.norm) {
    RowSlice weight;
    if (b.thread < kNormThreads) weight.load(c.norm, c.cols, b.thread);  // constant, as weights are
    b.wait_for_op_before(op);
    if (b.thread < kNormThreads) {
      RowSlice x;
      x.load(c.x, c.cols, b.thread);
      const float inverse = inverse_rms(x, c.cols, c.eps, b.shared.scratch, b.thread);
      store_normed(reinterpret_cast<bfloat*>(b.room), x, inverse, weight, padded, b.thread);
    }
  } else {
    b.wait_for_op_before(op);
    for (int32_t i = b.thread; i < padded / 8; i += b.p.warps * 32)
      copy_16_async(shared_address(b.room) + i * 16, static_cast<const bfloat*>(c.a) + i * 8);
    commit_copies();
    wait_for_copies<0>();
  }
  b.sync();
}

template <StreamOutput kOutput>
__device__ __forceinline__ void multiply_tiles(const StepBlock& b, const StepOp& op, const BlockTiles& tiles,
                                               int32_t idx) {
  const StreamCall& c = op.product;
  constexpr bool kPair = kOutput == StreamOutput::silu_mul;
  constexpr int kAtoms = BlockTiles::atoms(kPair);
  const OperandAddress a = OperandAddress::first(shared_address(b.room), 0, 1, shared_address(&b.shared.zeros), b.lane);
  const auto col_blocks = static_cast<int32_t>(c.layout.col_blocks);
  RingPlace at = b.place;
  at.advance(b.warp, b.p.slots);
  for (int32_t first = tiles.first; first < tiles.end; first += tiles.busy_warps) {
    const int32_t warps = tiles.warps_of_round(first), unit = first + b.warp;
    if (b.warp >= warps) break;  // of the last round
    const float2 before = read_tile<kOutput>(c, unit, b.lane);
    float acc[2][4] = {};
#pragma unroll 1
    for (int32_t chunk = 0; chunk < tiles.num_chunks; ++chunk) {
      const int32_t col = chunk * kAtoms;
      wait_for(b.full(at.slot), at.parity, b.p, StepWait::slot_full, idx, at.slot);
      multiply_chunk<kPair, kAtoms>(acc, a.address + static_cast<uint32_t>(col) * 4 * a.step, a.step, b.item(at.slot),
                                    min(col_blocks - col, kAtoms), b.lane);
      __syncwarp();
      if (b.lane == 0) barrier_arrive(b.empty(at.slot));
      at.advance(warps, b.p.slots);
    }
    if (kOutput == StreamOutput::store && op.by_words) {
      if (b.lane < 4) store_words(b.p.words + b.p.qkv_words + unit * 8 + 2 * b.lane, acc[0][0], acc[0][1], b.epoch());
    } else {
      write_tile<kOutput>(c, unit, acc, before, b.lane);
    }
  }
}

__device__ __forceinline__ void run_product(StepBlock& b, const StepOp& op, int32_t idx) {
  const StreamCall& c = op.product;
  load_step_operand(b, c, idx);
  b.set_running(idx);
  const BlockTiles tiles(op.num_units, op.busy_warps, c.layout.col_blocks, c.output == StreamOutput::silu_mul,
                         blockIdx.x, gridDim.x);
  switch (c.output) {
    case StreamOutput::store: multiply_tiles<StreamOutput::store>(b, op, tiles, idx); break;
    case StreamOutput::add: multiply_tiles<StreamOutput::add>(b, op, tiles, idx); break;
    case StreamOutput::silu_mul: multiply_tiles<StreamOutput::silu_mul>(b, op, tiles, idx); break;
  }
  b.place.skip(tiles.num_items(), b.p.slots);
}

}  // namespace qwill::cuda
