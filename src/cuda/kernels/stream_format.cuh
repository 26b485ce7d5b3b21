// How the warps of a streaming product multiply a weight's items: one sequence of instructions for each format, so the
// same bits wherever they lie.
#pragma once

#include "cuda/kernels/activation.cuh"
#include "cuda/kernels/int4.cuh"
#include "cuda/kernels/stream_tile.cuh"

namespace qwill::cuda {

// A format says how the weight lies in a slot and how a warp multiplies it. A unit of a slot is 8 rows by 32 kUnitSteps
// columns; a slot holds kSlotUnits of one tile of 8 rows, or of a pair of tiles (kPair) half as many of either, the
// second tile's kSlotBytes / 2 on. Its Tile are the sums of what a warp works on at once. multiply: `data` is a slot,
// a_address where the lane's operand begins, a_step what 16 columns are of it; `steps` times 32 columns are there.
// Whether a product stores or adds is asked when it runs, once a tile: it needs no code of its own.
template <int kUnitsOfSlot>
struct Bf16Format {
  static constexpr int kUnitSteps = 2;
  static constexpr int kUnitBytes = kAtomBytes;
  static constexpr int kSlotUnits = kUnitsOfSlot;
  static constexpr int kSlotBytes = kSlotUnits * kUnitBytes;
  static constexpr bool kSlices = false;
  static constexpr auto operand_address = OperandAddress::first;
  static constexpr bool kFours = false;

  // Weights are the N operand of the products (stream_tile.cuh). A lane has outputs 2 (lane % 4) and the next of row
  // lane / 4.
  template <bool kPair>
  struct Tile {
    float acc[2][4] = {};
    float2 before;  // what the outputs are added to

    __device__ __forceinline__ Tile(const StreamCall& c, int32_t unit, int lane) : before(read_tile(c, unit, lane)) {}

    __device__ __forceinline__ void multiply(uint32_t data, uint32_t a_address, uint32_t a_step, int32_t steps,
                                             int lane) {
      constexpr int kAtoms = kPair ? kSlotUnits / 2 : kSlotUnits;
      multiply_chunk<kPair, kAtoms>(acc, a_address, a_step, data, steps / kUnitSteps, lane);
    }

    template <int /*kMostRows*/, typename Outputs>
    __device__ __forceinline__ void write(const StreamCall& c, const Outputs& outputs, int32_t unit, int lane) const {
      write_tile<kPair>(c, outputs, unit, acc, before, lane);
    }
  };
};

// What two products take of the operand as their second one: 32 columns.
// Of up to 8 rows (OperandAddress::second), in fours (put_four).
struct OperandOfRows {
  uint32_t b[4];
  static constexpr auto address = OperandAddress::second;
  static constexpr bool kFours = true;
  __device__ __forceinline__ void load(uint32_t from, int /*lane*/) { load_matrices(b, from); }
};
// Of one row (OperandAddress::only), which stands for all eight.
struct OperandOfRow {
  uint32_t b[4];
  static constexpr auto address = OperandAddress::only;
  static constexpr bool kFours = false;
  __device__ __forceinline__ void load(uint32_t from, int /*lane*/) {
    load_8(b[0], b[1], from);
    load_8(b[2], b[3], from + 32);
  }
};

template <int kUnitsOfSlot, typename Operand>
struct Int4Format {
  static constexpr int kUnitSteps = Int4Layout::kBlockCols / 32;
  static constexpr int kUnitBytes = Int4Layout::kBlockBytes;
  static constexpr int kSlotUnits = kUnitsOfSlot;
  static constexpr int kSlotBytes = kSlotUnits * kUnitBytes;
  static constexpr bool kSlices = true;  // sums are those of slices of the columns (Int4Layout), at least one
  static constexpr auto operand_address = Operand::address;
  static constexpr bool kFours = Operand::kFours;

  // Weights are the M operand, two tiles of 8 rows: half as many products, and their registers are what widening makes
  // of the levels, in place (as the N operand they cost twice the instructions for a weight, more than there is time
  // for at the rate of the memory). A lane has outputs lane / 4 of both tiles, of rows 2 (lane % 4) and the next.
  template <bool>
  struct Tile {
    float acc[4] = {};
    float sums[4] = {};  // of the slices before, and of what is added to

    __device__ __forceinline__ Tile(const StreamCall& c, int32_t unit, int lane) {
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[i] = read_output(c, row_of(i, lane), column_of(unit, i, lane));
    }

    __device__ __forceinline__ void multiply(uint32_t data, uint32_t a_address, uint32_t /*a_step*/, int32_t steps,
                                             int lane) {
      multiply_run(steps, a_address, lane, [&] { return data; }, [] {});
    }

    // A run of columns, slot after slot. next_slot(): until the next slot is there; its address. done(): the first slot
    // that has not been given back has been multiplied. Sixteen columns are widened while the sixteen before are
    // multiplied, also from one slot to the next, and the operand of a step of 32 is read two steps before it.
    template <typename Next, typename Done>
    __device__ __forceinline__ void multiply_run(int32_t steps, uint32_t a_address, int lane, const Next& next_slot,
                                                 const Done& done) {
      constexpr uint32_t kOperandStep = 64;  // bytes
      constexpr int kUnits = kSlotUnits / 2, kSlotSteps = kUnits * kUnitSteps;
      static_assert(kUnitSteps == 4);
      const auto multiply_sixteen = [&](const Sixteen& s, const Operand& x, int sixteen) {
        mma_16x8x16(acc, {s.first[0], s.second[0], s.first[1], s.second[1]}, x.b[2 * sixteen], x.b[2 * sixteen + 1]);
      };
      uint32_t words = next_slot() + static_cast<uint32_t>(lane * 16);  // of `tiles`
      Lane tiles[2];
      open(tiles, words, lane);
      Sixteen ready = widen(tiles, 0, 0);  // the first columns of a step
      // The step whose first columns are ready; its others.
      const auto multiply_step = [&](const Lane(&of)[2], int step, const Operand& x) {
        const Sixteen second = widen(of, step, 1);
        multiply_sixteen(ready, x, 0);
        return second;
      };
      Operand even, odd;
      even.load(a_address, lane);
      odd.load(a_address + kOperandStep, lane);
      const auto multiply_unit = [&](uint32_t next_words, uint32_t next_address) {
        Lane next[2];
        open(next, next_words, lane);
#pragma unroll
        for (int step = 0; step < kUnitSteps; ++step) {
          Operand& x = step % 2 == 0 ? even : odd;
          const Sixteen second = multiply_step(tiles, step, x);
          ready = step + 1 < kUnitSteps ? widen(tiles, step + 1, 0) : widen(next, 0, 0);
          multiply_sixteen(second, x, 1);
          x.load(step < 2 ? a_address + (step + 2) * kOperandStep : next_address + (step - 2) * kOperandStep, lane);
        }
        tiles[0] = next[0], tiles[1] = next[1];
        words = next_words;
        a_address = next_address;
      };
      const auto multiply_next = [&] { multiply_unit(words + kUnitBytes, a_address + kUnitSteps * kOperandStep); };
#pragma unroll 1
      for (;; steps -= kSlotSteps) {
        if (steps >= kSlotSteps) {
#pragma unroll
          for (int i = 0; i + 1 < kUnits; ++i) multiply_next();
        } else {
#pragma unroll 1
          for (int32_t left = steps; left > kUnitSteps; left -= kUnitSteps) multiply_next();
          if (steps % kUnitSteps != 0) {  // half a unit, the last
            Sixteen second = multiply_step(tiles, 0, even);
            ready = widen(tiles, 1, 0);
            multiply_sixteen(second, even, 1);
            second = multiply_step(tiles, 1, odd);
            multiply_sixteen(second, odd, 1);
            return done();
          }
        }
        // A unit that nothing follows in the slot; if nothing follows at all, something is read again.
        const bool last = steps <= kSlotSteps;
        multiply_unit(last ? words : next_slot() + static_cast<uint32_t>(lane * 16),
                      a_address + (last ? 0 : kUnitSteps * kOperandStep));
        done();
        if (last) return;
      }
    }

    // A slice has ended.
    __device__ __forceinline__ void fold(const StreamCall& c, bool is_first) {
      const bool anew = is_first && c.output != StreamOutput::add;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        sums[i] = anew ? acc[i] : __fadd_rn(sums[i], acc[i]);
        acc[i] = 0;
      }
    }
    // The slice of another warp, in row 0: from one to the other by 16 floats in shared memory.
    __device__ __forceinline__ void give_row(float* to, int lane) const {
      if (lane % 4 == 0) to[lane / 4] = acc[0], to[lane / 4 + 8] = acc[2];
    }
    __device__ __forceinline__ void take_row(const float* from, int lane) {
      if (lane % 4 == 0) acc[0] = from[lane / 4], acc[2] = from[lane / 4 + 8];
    }

    // Of at most kMostRows rows.
    template <int kMostRows, typename Outputs>
    __device__ __forceinline__ void write(const StreamCall& c, const Outputs& outputs, int32_t unit, int lane) const {
      if (kMostRows == 1 && lane % 4 != 0) return;
      constexpr int kStride = kMostRows == 1 ? 2 : 1;
      if (c.output == StreamOutput::silu_mul) {
        const int32_t n = unit * 8 + lane / 4;
        if (n >= c.ldy) return;
#pragma unroll
        for (int i = 0; i < 2; i += kStride) {
          const int32_t t = 2 * (lane % 4) + i;
          if (t >= c.num_rows) continue;
          outputs.put_gated(t, n, __float2bfloat16_rn(silu_times(sums[i], sums[i + 2])));
          if (unit + 1 == c.layout.row_blocks / 2)
            for (int32_t pad = n + 8; pad < c.ldy; pad += 8) outputs.clear_gated(t, pad);
        }
      } else {
#pragma unroll
        for (int i = 0; i < 4; i += kStride)
          if (has(c, unit, i, lane)) outputs.put(row_of(i, lane), column_of(unit, i, lane), sums[i]);
      }
    }

   private:
    // The first operand of a product: 16 columns of both tiles.
    struct Sixteen {
      uint32_t first[2], second[2];
    };
    // What a lane needs of a unit: its row's columns, and the scales of their groups.
    struct Lane {
      uint32_t words[kUnitSteps];
      uint32_t scales, biases;
      static_assert(Int4Layout::kRowScales == 2);

      __device__ __forceinline__ void load(uint32_t from, uint32_t scales_from) {
        asm volatile("ld.shared.v4.b32 {%0,%1,%2,%3}, [%4];"
                     : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                     : "r"(from)
                     : "memory");
        asm volatile("ld.shared.b32 %0, [%1];" : "=r"(scales) : "r"(scales_from) : "memory");
        biases = int4_biases(scales);
      }
      __device__ __forceinline__ uint32_t scale(int step) const {
        return both_halves(scales, step * 32 / kInt4Group == 1);
      }
      __device__ __forceinline__ uint32_t bias(int step) const {
        return both_halves(biases, step * 32 / kInt4Group == 1);
      }
    };

    static __device__ __forceinline__ void open(Lane (&to)[2], uint32_t from, int lane) {
      const uint32_t scales_from = from + static_cast<uint32_t>(Int4Layout::scale(lane / 4, 0) - lane * 16);
      to[0].load(from, scales_from);
      to[1].load(from + kSlotBytes / 2, scales_from + kSlotBytes / 2);
    }
    static __device__ __forceinline__ Sixteen widen(const Lane (&of)[2], int step, int sixteen) {
      Sixteen s;
      widen_four(s.first, of[0].words[step], sixteen, of[0].scale(step), of[0].bias(step));
      widen_four(s.second, of[1].words[step], sixteen, of[1].scale(step), of[1].bias(step));
      return s;
    }
    static __device__ __forceinline__ int32_t row_of(int i, int lane) { return 2 * (lane % 4) + i % 2; }
    static __device__ __forceinline__ int32_t column_of(int32_t unit, int i, int lane) {
      return unit * 16 + lane / 4 + i / 2 * 8;
    }
    static __device__ __forceinline__ bool has(const StreamCall& c, int32_t unit, int i, int lane) {
      return row_of(i, lane) < c.num_rows && column_of(unit, i, lane) < c.num_outputs;
    }
  };
};

}  // namespace qwill::cuda
