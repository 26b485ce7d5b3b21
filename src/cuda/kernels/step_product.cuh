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
          if (ahead == p.in_flight) {
            wait_for(b.full(landing.slot), landing.parity, p, StepWait::slot_landed, op, landing.slot);
            landing.advance(1, p.slots);
          } else {
            ++ahead;
          }
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

// A row of x from its words. A thread first waits for one pair: when that is there, most of the others are.
__device__ __forceinline__ void load_slice(RowSlice& x, const StepBlock& b, const StepVector& vector, int32_t cols,
                                           int32_t op) {
  const StepWord* from = b.p.words + vector.at;
  const uint32_t epoch = b.epoch(vector.op);
  WordPair pair;
  if (4 * b.thread < cols)
    wait_for_words(b.p, op, [&] { return pair.load(from + 4 * b.thread, epoch); });
  wait_for_words(b.p, op, [&] {
    bool there = true;
#pragma unroll
    for (int j = 0; j < kNormVectors; ++j) {
      const int32_t c = 4 * (b.thread + kNormThreads * j);
      WordPair low{0, 0}, high{0, 0};
      if (c < cols) {
        there &= low.load(from + c, epoch);
        there &= high.load(from + c + 2, epoch);
      }
      x.values[j] = make_float4(__uint_as_float(low.a), __uint_as_float(low.b), __uint_as_float(high.a),
                                __uint_as_float(high.b));
    }
    return there;
  });
}

// Four bf16 a time from words of two, to the room when its last reader has gone.
constexpr int kMaxRowPairs = 12;  // of a thread at once
__device__ __forceinline__ void load_row(const StepBlock& b, const StreamCall& c, const StepVector& vector,
                                         int32_t op) {
  const StepWord* from = b.p.words + vector.at;
  const uint32_t epoch = b.epoch(vector.op);
  const int32_t num_pairs = c.cols / 4, padded_pairs = static_cast<int32_t>(c.layout.padded_cols()) / 4;
  const int32_t threads = b.p.warps * 32;
  WordPair pairs[kMaxRowPairs];
  if (b.thread < num_pairs) wait_for_words(b.p, op, [&] { return pairs[0].load(from + 2 * b.thread, epoch); });
  bool room_is_free = false;
  for (int32_t first = b.thread; first < padded_pairs || !room_is_free; first += threads * kMaxRowPairs) {
    wait_for_words(b.p, op, [&] {
      bool there = true;
#pragma unroll
      for (int j = 0; j < kMaxRowPairs; ++j) {
        const int32_t i = first + j * threads;
        pairs[j] = {0, 0};
        if (i < num_pairs) there &= pairs[j].load(from + 2 * i, epoch);
      }
      return there;
    });
    if (!room_is_free) b.sync();
    room_is_free = true;
#pragma unroll
    for (int j = 0; j < kMaxRowPairs; ++j)
      if (const int32_t i = first + j * threads; i < padded_pairs)
        reinterpret_cast<uint2*>(b.room)[i] = make_uint2(pairs[j].a, pairs[j].b);
  }
}

// The operand as one bf16 row at the beginning of the room. On the way all warps meet: they are through with the op
// before. No words but the first op's come from before the step.
__device__ __forceinline__ void load_step_operand(const StepBlock& b, const StepOp& op, int32_t idx) {
  const StreamCall& c = op.product;
  const auto padded = static_cast<int32_t>(c.layout.padded_cols());
  if (c.norm) {
    RowSlice weight, x;
    const bool norms = b.thread < kNormThreads;
    float inverse = 0;
    if (norms) {
      weight.load(c.norm, c.cols, b.thread);  // constant, as weights are
      if (op.input.at < 0)
        x.load(c.x, c.cols, b.thread);
      else
        load_slice(x, b, op.input, c.cols, idx);
      inverse = inverse_rms(x.sum_of_squares(c.cols, b.thread), c.cols, c.eps, b.shared.scratch, b.thread, 1);
    }
    b.sync();
    if (norms) store_normed(reinterpret_cast<bfloat*>(b.room), x, inverse, weight, padded, b.thread);
  } else if (op.input.at < 0) {
    b.sync();
    for (int32_t i = b.thread; i < padded / 8; i += b.p.warps * 32)
      reinterpret_cast<uint4*>(b.room)[i] = static_cast<const uint4*>(c.a)[i];
  } else {
    load_row(b, c, op.input, idx);
  }
}

// As read_tile and write_tile (stream_tile.cuh) do, through words; by the lanes of row 0.
template <StreamOutput kOutput>
__device__ __forceinline__ float2 read_words_of_tile(const StepBlock& b, const StepOp& op, int32_t unit, int32_t idx) {
  if (kOutput != StreamOutput::add) return {};
  if (op.before.at < 0) return read_tile<kOutput>(op.product, unit, b.lane);
  if (b.lane >= 4) return {};
  WordPair pair;
  const uint32_t epoch = b.epoch(op.before.op);
  wait_for_words(b.p, idx,
                 [&] { return pair.load(b.p.words + op.before.at + unit * 8 + 2 * b.lane, epoch); });
  return {__uint_as_float(pair.a), __uint_as_float(pair.b)};
}

template <StreamOutput kOutput>
__device__ __forceinline__ void write_words_of_tile(const StepBlock& b, const StepOp& op, int32_t unit,
                                                    const float (&acc)[2][4], float2 before, int32_t idx) {
  if (op.is_final) write_tile<kOutput>(op.product, unit, acc, before, b.lane);
  if (op.result < 0 || b.lane >= 4) return;
  const uint32_t epoch = b.epoch(idx);
  if (kOutput == StreamOutput::silu_mul) {
    store_word(b.p.words + op.result + unit * 4 + b.lane,
               {pack_bf16(silu_times(acc[0][0], acc[1][0]), silu_times(acc[0][1], acc[1][1])), epoch});
    return;
  }
  const bool add = kOutput == StreamOutput::add;
  store_words(b.p.words + op.result + unit * 8 + 2 * b.lane,
              __float_as_uint(add ? __fadd_rn(before.x, acc[0][0]) : acc[0][0]),
              __float_as_uint(add ? __fadd_rn(before.y, acc[0][1]) : acc[0][1]), epoch);
}

template <StreamOutput kOutput>
__device__ __forceinline__ void multiply_tiles(const StepBlock& b, const StepOp& op, const BlockTiles& tiles,
                                               int32_t idx) {
  constexpr bool kPair = kOutput == StreamOutput::silu_mul;
  constexpr int kAtoms = BlockTiles::atoms(kPair);
  // ldmatrix reads four 8x8 matrices: columns 0-7, 8-15, 16-23, 24-31 of rows 0-7; rows beyond the first are zeros.
  const bool real = b.lane % 8 == 0;
  const uint32_t a_row = real ? shared_address(b.room) + b.lane / 8 * 16 : shared_address(&b.shared.zeros);
  const uint32_t a_step = real ? 64 : 0;  // bytes of 32 columns
  const auto col_blocks = static_cast<int32_t>(op.product.layout.col_blocks);
  RingPlace at = b.place;
  at.advance(b.warp, b.p.slots);
  for (int32_t first = tiles.first; first < tiles.end; first += tiles.busy_warps) {
    const int32_t warps = tiles.warps_of_round(first), unit = first + b.warp;
    if (b.warp >= warps) break;  // of the last round
    const float2 before = read_words_of_tile<kOutput>(b, op, unit, idx);
    float acc[2][4] = {};
#pragma unroll 1
    for (int32_t chunk = 0; chunk < tiles.num_chunks; ++chunk) {
      const int32_t col = chunk * kAtoms;
      wait_for(b.full(at.slot), at.parity, b.p, StepWait::slot_full, idx, at.slot);
      multiply_chunk<kPair, kAtoms>(acc, a_row + static_cast<uint32_t>(col) * 2 * a_step, a_step, b.item(at.slot),
                                    min(col_blocks - col, kAtoms), b.lane);
      __syncwarp();
      if (b.lane == 0) barrier_arrive(b.empty(at.slot));
      at.advance(warps, b.p.slots);
    }
    write_words_of_tile<kOutput>(b, op, unit, acc, before, idx);
  }
}

// All warps of the block meet twice on the way: between, the op before is over and nothing of this has begun.
template <typename Between>
__device__ __forceinline__ void run_product(StepBlock& b, const StepOp& op, int32_t idx, Between between) {
  const StreamCall& c = op.product;
  const BlockTiles tiles(op.num_units, op.busy_warps, c.layout.col_blocks, c.output == StreamOutput::silu_mul,
                         blockIdx.x, gridDim.x);
  if (tiles.num_items() > 0)
    load_step_operand(b, op, idx);
  else
    b.sync();
  between();
  b.sync();
  switch (c.output) {
    case StreamOutput::store: multiply_tiles<StreamOutput::store>(b, op, tiles, idx); break;
    case StreamOutput::add: multiply_tiles<StreamOutput::add>(b, op, tiles, idx); break;
    case StreamOutput::silu_mul: multiply_tiles<StreamOutput::silu_mul>(b, op, tiles, idx); break;
  }
  b.place.skip(tiles.num_items(), b.p.slots);
}

}  // namespace qwill::cuda
