// Products within decode_step.cu: the loading warp, and warps that multiply.
#pragma once

#include <type_traits>

#include "cuda/kernels/fp8_tile.cuh"
#include "cuda/kernels/step_bf16.cuh"
#include "cuda/kernels/step_int4.cuh"

namespace qwill::cuda {

static_assert(kFp8SlotBytes == kItemAtoms * kAtomBytes);

// Of an op, what the loading warp needs. Asked for an op ahead: it comes from the memory itself.
struct LoadOp {
  const char* weight;
  StepCut cut;
  bool is_product;

  __device__ __forceinline__ void read(const StepOp& op) {
    weight = static_cast<const char*>(op.product.weight);
    cut = op.cut;
    is_product = !op.is_attend;
  }
};

// Where the loading warp is in the ring.
struct LoadPlace {
  uint32_t full, item, parity;  // addresses

  __device__ __forceinline__ explicit LoadPlace(const StepBlock& b) : full(b.barriers), item(b.ring), parity(0) {}
  __device__ __forceinline__ void advance(const StepBlock& b, uint32_t end, uint32_t item_bytes) {
    full += 8;
    item += item_bytes;
    if (full == end) full = b.barriers, item = b.ring, parity ^= 1;
  }
};

// While the ring is full of what is for an op that does not run yet, the memory would have nothing to do. So the op's
// next items go to the L2 cache, one in the time that the memory takes for it. (Limits come from the launch: with them
// as constants the compiler kept the loading warp's counts in registers of their own for each lane.)
struct FetchAhead {
  int32_t next = 0;   // of the op's items
  uint32_t last = 0;  // when one was fetched, in cycles

  // The loading warp waits for room for this item.
  __device__ __forceinline__ void fetch(const StepLaunch& p, const LoadOp& op, const BlockUnits& units, int32_t item,
                                        bool running) {
    const uint32_t now = cycles();
    if (next <= item) next = item + 1;
    if (next >= units.num_items() || next - item > p.fetch_items || now - last < (running ? ~0u : p.fetch_cycles))
      return;
    last = now;
    const StepCut& cut = op.cut;
    const BlockUnits::Item at = units.item(next++);
    const char* from = op.weight + at.unit * cut.unit_bytes() + cut.item_begin(at.slice, at.chunk);
    const auto bytes = static_cast<uint32_t>(cut.item_bytes(at.slice, at.chunk));
    if (bytes > 0 && elect_lane()) {
      prefetch_bulk(from, bytes);
      if (cut.second_at > 0) prefetch_bulk(from + cut.run_bytes, bytes);
    }
    __syncwarp();
  }
};

// All weights of the step, in the order in which they are multiplied. It waits for nothing but its own block: a slot's
// last item has been multiplied, and the item in_flight before has landed. What it does for an item must take less time
// than the item's way from memory (0.35 us), else the ring is not filled again when blocks have waited for each other.
__device__ __forceinline__ void load_weights_of_step(const StepBlock& b) {
  const StepLaunch& p = b.p;
  const uint32_t end = kept(b.full(p.slots)), item_bytes = kept(p.item_bytes);
  const int32_t in_flight = kept(p.in_flight), quiet_in_flight = kept(p.quiet_in_flight);
  LoadPlace to(b), landing(b);
  FetchAhead fetching;
  int32_t ahead = 0;
  LoadOp next;
  next.read(p.ops[0]);
  for (int32_t op = 0; op < p.num_ops; ++op) {
    const LoadOp now = next;
    if (op + 1 < p.num_ops) next.read(p.ops[op + 1]);
    if (!now.is_product) continue;
    const StepCut& cut = now.cut;
    const BlockUnits units(cut, blockIdx.x, gridDim.x);
    const int64_t unit_bytes = cut.unit_bytes();
    int32_t item = 0;
    fetching.next = 0;
    for (int32_t first = units.first; first < units.end; first += units.at_once) {
      const int32_t consumers = units.consumers_of_round(first);
      for (int32_t chunk = 0; chunk < units.num_chunks; ++chunk) {
        const char* from = now.weight + first * unit_bytes + cut.item_begin(0, chunk);
        auto bytes = static_cast<uint32_t>(cut.item_bytes(0, chunk));
        int32_t slice = 0;
#pragma unroll 1
        for (int32_t consumer = 0; consumer < consumers; ++consumer, ++item) {
          const bool running = b.is_running(op);
          if (!barrier_test_wait(to.full + kEmptyBehindFull, to.parity ^ 1)) {
            Patience patience{p};
            do {
              patience.spent(StepWait::slot_empty, op, consumer, to.parity ^ 1);
              fetching.fetch(p, now, units, item, b.is_running(op));
              __nanosleep(20);  // the warps of this quarter multiply
            } while (!barrier_test_wait(to.full + kEmptyBehindFull, to.parity ^ 1));
          }
          const int32_t limit = running ? in_flight : quiet_in_flight;
          for (; ahead >= limit; --ahead) {
            wait_for(landing.full, landing.parity, p, StepWait::slot_landed, op, consumer);
            landing.advance(b, end, item_bytes);
          }
          ++ahead;
          if (elect_lane()) {
            const bool any = bytes > 0;
            barrier_expect_bytes(to.full, cut.second_at > 0 ? 2 * bytes : bytes);
            if (any) copy_bulk_once(to.item, from, bytes, to.full);
            if (any && cut.second_at > 0) copy_bulk_once(to.item + cut.second_at, from + cut.run_bytes, bytes, to.full);
          }
          __syncwarp();
          to.advance(b, end, item_bytes);
          if (cut.slices == 1) {
            from += unit_bytes;
          } else {
            from += slice + 1 < cut.slices ? cut.slice_bytes : unit_bytes - (cut.slices - 1) * cut.slice_bytes;
            slice = slice + 1 < cut.slices ? slice + 1 : 0;
            bytes = static_cast<uint32_t>(cut.item_bytes(slice, chunk));
          }
        }
      }
    }
  }
}

// A row to be normed, not longer than kMost: as RowSlice::load_fours gives it.
template <int32_t kMost>
__device__ __forceinline__ void load_word_row(const StepBlock& b, RowSlice& x, const StepWord* from, int32_t cols,
                                              int32_t op) {
  wait_for_words(b.p, op, [&] {
    bool there = true;
#pragma unroll
    for (int j = 0; j < kNormVectors; ++j) {
      x.values[j] = make_float4(0, 0, 0, 0);
      if (j >= kMost / (4 * kNormThreads)) continue;
      const int32_t i = 4 * (b.thread + kNormThreads * j);
      const float2 first = load_words_if(i < cols, from + i, b.epoch_before(), there);
      const float2 second = load_words_if(i < cols, from + i + 2, b.epoch_before(), there);
      x.values[j] = make_float4(first.x, first.y, second.x, second.y);
    }
    return there;
  });
}

// Pairs of bf16 to the beginning of the room, four columns at a time.
__device__ __forceinline__ void load_word_operand(const StepBlock& b, const StepWord* from, int32_t padded,
                                                  int32_t op) {
  constexpr int kBatch = 4;
  const int32_t stride = b.p.warps * 32;
#pragma unroll 1
  for (int32_t first = b.thread; first < padded / 4; first += kBatch * stride) {
    float2 fours[kBatch];
    wait_for_words(b.p, op, [&] {
      bool there = true;
#pragma unroll
      for (int k = 0; k < kBatch; ++k) {
        const int32_t i = first + k * stride;
        fours[k] = load_words_if(i < padded / 4, from + 2 * i, b.epoch_before(), there);
      }
      return there;
    });
#pragma unroll
    for (int k = 0; k < kBatch; ++k)
      if (const int32_t i = first + k * stride; i < padded / 4) reinterpret_cast<float2*>(b.room)[i] = fours[k];
  }
}

// The operand as one bf16 row at the beginning of the room; the norm's weights, which are constant, pass behind it.
template <int32_t kRowWords>  // max_row_words of the step
__device__ __forceinline__ void load_step_operand(StepBlock& b, const StepOp& step_op, int32_t op) {
  const StreamCall& c = step_op.product;
  const auto padded = static_cast<int32_t>(c.layout.padded_cols());
  const bool words = kRowWords > 0 && step_op.from >= 0;
  const StepWord* from = b.p.words + step_op.from;
  if (c.norm) {
    const uint32_t weights = shared_address(b.room + stream_row_bytes(padded));
    const uint32_t barrier = shared_address(&b.shared.norm_full), parity = step_op.turn % 2;
    if (b.warp == b.p.warps - 1 && elect_lane()) {  // polls of the grid's barrier would wait behind loads of threads
      barrier_expect_bytes(barrier, static_cast<uint32_t>(c.cols) * 4);
      copy_bulk(weights, c.norm, static_cast<uint32_t>(c.cols) * 4, barrier);
    }
    __syncwarp();
    b.wait_for_op_before(op);
    if (b.thread < kNormThreads) {
      RowSlice x;
      if (words)
        load_word_row<kRowWords>(b, x, from, c.cols, op);
      else
        x.load_fours(c.x, c.cols, b.thread);
      const float inverse = inverse_rms(x, c.cols, c.eps, b.shared.scratch, b.thread);
      wait_for(barrier, parity, b.p, StepWait::norm, op, 0);
      auto* row = reinterpret_cast<bfloat*>(b.room);
#pragma unroll
      for (int j = 0; j < kNormVectors; ++j) {
        if (4 * kNormThreads * j >= padded) break;
        const int32_t i = 4 * (b.thread + kNormThreads * j);
        if (i >= padded) continue;
        float4 weight = make_float4(0, 0, 0, 0);
        if (i < c.cols) weight = load_float4(weights + i * 4);
        const float4 y = scaled(x.values[j], inverse, weight);
        put_four<false>(row, i, pack_bf16(y.x, y.y), pack_bf16(y.z, y.w));
      }
    }
  } else {
    b.wait_for_op_before(op);
    if (words) return load_word_operand(b, from, padded, op);
#pragma unroll 1
    for (int32_t i = b.thread; i < padded / 8; i += b.p.warps * 32)
      copy_16_async(shared_address(b.room) + i * 16, static_cast<const bfloat*>(c.a) + i * 8);
    commit_copies();
    wait_for_copies<0>();
  }
}

// Units of weights of e4m3, a warpgroup each.
__device__ __forceinline__ void multiply_fp8_units(const StepBlock& b, const StepOp& op, const BlockUnits& units,
                                                   int32_t idx) {
  const StreamCall& c = op.product;
  const StepOutputs outputs{b, op};
  const Fp8Operand operand(b.room, c, 1);
  const int32_t group = b.warp / 4;
  int32_t turn = 0;
  RingPlace at = b.place(idx);
  at.advance(group, b.p.slots);
  for (int32_t first = units.first; first < units.end; first += units.at_once) {
    const int32_t consumers = units.consumers_of_round(first);
    if (group >= consumers) break;  // of the last round
    Fp8Tile tile(c, operand, first + group, b.warp, b.lane);
    tile.multiply(
        turn,
        [&] {
          wait_for(b.full(at.slot), at.parity, b.p, StepWait::slot_full, idx, at.slot);
          return b.item(at.slot);
        },
        [&] {
          if (b.lane == 0) barrier_arrive(b.empty(at.slot));
          at.advance(consumers, b.p.slots);
        });
    if (b.warp % 4 == 0) tile.write(outputs);
  }
}

// Of formats of which nothing is known before.
struct NoUnits {
  __device__ __forceinline__ NoUnits(const StepBlock&, const StepOp&, const BlockUnits&, int32_t) {}
  __device__ __forceinline__ void multiply() {}
};

// What a slot's consumers arrive with when they have multiplied it: the warps of a warpgroup, or a warp for four.
constexpr int slot_arrivals(StreamFormat format) { return format == StreamFormat::int4 ? 1 : 4; }

template <StreamFormat kFormat>
__device__ __forceinline__ void run_product(StepBlock& b, const StepOp& op, int32_t idx) {
  const StreamCall& c = op.product;
  const BlockUnits units(op.cut, blockIdx.x, gridDim.x);
  RingPlace behind = b.place(idx);
  behind.skip(units.num_items(), b.p.slots);  // a division, which now is waited for by nobody
  b.set_next_place(idx, behind);
  std::conditional_t<kFormat == StreamFormat::int4, Int4Units, NoUnits> ahead(b, op, units, idx);
  if (kFormat == StreamFormat::fp8 && c.format == StreamFormat::fp8)
    Fp8Operand(b.room, c, 1).load(c, b.shared.scratch, b.thread, [&] { b.wait_for_op_before(idx); });
  else
    load_step_operand<max_row_words(kFormat)>(b, op, idx);
  const bool alone = kFormat == StreamFormat::bf16 && c.output != StreamOutput::silu_mul && op.cut.consumers() == 1 &&
                     c.layout.col_blocks % kItemAtoms == 0;
  if (alone) fence_async_proxy();  // wgmma reads the operand
  b.sync();
  b.set_running(idx);
  if (c.format == StreamFormat::bf16) {
    if (kFormat == StreamFormat::bf16 && c.output == StreamOutput::silu_mul)
      multiply_bf16_units<true, slot_arrivals(kFormat)>(b, op, units, idx);
    else if (alone)
      multiply_bf16_alone(b, op, units, idx);
    else
      multiply_bf16_units<false, slot_arrivals(kFormat)>(b, op, units, idx);
  } else if (kFormat == StreamFormat::int4) {
    ahead.multiply();
  } else if (kFormat == StreamFormat::fp8) {
    multiply_fp8_units(b, op, units, idx);
  }
}

}  // namespace qwill::cuda
