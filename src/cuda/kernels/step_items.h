// In which order a block's weights pass through the ring of decode_step.cu: what the loading warp and the multiplying
// warps must agree on.
#pragma once

#include <cstdint>

#include "cuda/kernels/stream.h"

namespace qwill::cuda {

// A step is short where all products have at most so many columns: little is multiplied between one op and the next.
constexpr int32_t kShortCols = 4096;
// Operands that are handed on as words (decode_step.h) have places in turn. An op writes where the third one before it
// did: all blocks have read that when they have finished the second one before it, which every block knows of that
// writes (a product waits for the op before it, and attention comes behind a product).
constexpr int32_t kStepPlaces = 3, kStepPlaceWords = 4096;
// The longest row of floats that is handed on so, by the weights of the step's layers; 0: operands are never words.
constexpr int32_t max_row_words(StreamFormat format) {
  return format == StreamFormat::bf16 ? 2048 : format == StreamFormat::int4 ? kStepPlaceWords : 0;
}

constexpr int32_t kMinSlots = 16;  // more than consumers
constexpr int32_t kMaxSlots = 26;
// A block's shared memory: barriers and the ops at hand, the ring, room for an operand or for a tile of attention.
constexpr int32_t kMaxStepShared = 227 * 1024;
constexpr int32_t kStepFixedShared = 2048;
// Keys, and values in their place or behind; queries and probabilities, the new key and value, maxima
// (attention_tile.cuh, DecodeTile).
constexpr int64_t step_values_bytes(int64_t padded_dim, int64_t element_bytes) {
  return 128 * padded_dim * element_bytes;
}
constexpr int64_t step_attend_bytes(int64_t padded_dim, int64_t element_bytes) {
  return step_values_bytes(padded_dim, element_bytes) + 16 * padded_dim * 2 + 16 * 128 * 2 +
         2 * padded_dim * element_bytes + 16 * 8 * 4;
}
// Warps of a block: three warpgroups, of which at most 11 warps multiply (e4m3 is multiplied by two warpgroups), and a
// fourth, whose last warp loads. That group gives its registers to the others. (It is not for their sake: with 32 the
// compiler keeps what the loading warp counts in uniform registers. INT4 is 2 % faster so.)
constexpr int32_t kStepBlockWarps = 16, kLoadingWarp = kStepBlockWarps - 1, kMultiplyingWarps = 12;
constexpr int32_t kStepRegisters = 160, kLoadingRegisters = 32;
constexpr int32_t kLeastStepWarps = 8;
constexpr int32_t max_step_warps(StreamFormat format) { return format == StreamFormat::fp8 ? kLeastStepWarps : 11; }
// Behind the operand of a product in slices: a row of 16 outputs from each warp.
constexpr int64_t kStepSliceBytes = kMultiplyingWarps * 16 * 4;
// An item's atoms of bf16 or e4m3, its blocks of four bits: of one tile, or half as many of each of two.
constexpr int32_t kItemAtoms = 8, kItemInt4Blocks = 16;

// The most items that may be under way at once. A warp that waits for item j by the parity of its slot must know that
// the item before it there, j - slots, has landed: else the slot is a phase behind, and its parity says "landed" for j.
// What the warp knows is that its own last item, at most `consumers` before j, has landed, so was issued, so everything
// up to in_flight before that has landed. (A warp's first item of an op has nothing of the same op before it in its
// slot.)
constexpr int32_t max_in_flight(int32_t slots, int32_t consumers) { return slots - consumers; }

// A place in the ring, and the parity of its barriers in this round of the ring.
struct RingPlace {
  int32_t slot = 0;
  uint32_t parity = 0;
  // count <= slots.
  QWILL_HOST_DEVICE constexpr void advance(int32_t count, int32_t slots) {
    slot += count;
    if (slot >= slots) slot -= slots, parity ^= 1;
  }
  QWILL_HOST_DEVICE constexpr void skip(int32_t count, int32_t slots) {
    slot += count;
    parity ^= static_cast<uint32_t>(slot / slots) & 1;
    slot %= slots;
  }
};

// How a product's weight is cut into items. A unit is what a consumer (a warp, or of e4m3 a warpgroup) works on at
// once: a tile of 8 rows, or two that follow each other. An item is the next chunk of a unit's columns; where columns
// are summed in slices (Int4Layout), slices of one unit are consumers' of their own.
struct StepCut {
  int32_t num_units = 0;
  int32_t at_once = 0;      // units of a block
  int32_t slices = 1;       // of each
  int32_t num_chunks = 0;   // of each slice
  int32_t run_bytes = 0;    // of a tile, all columns
  int32_t slice_bytes = 0;  // of a tile, a slice's columns; the last slice has the rest
  int32_t chunk_bytes =
      0;                  // of a tile, an item's columns; the last chunk of a slice has the rest, which may be nothing
  int32_t second_at = 0;  // where in an item the second tile is, 0: there is none

  // As many units at once as divide a block's into equal rounds, of several rounds a multiple of `together` where there
  // are consumers for it. False if there are not enough consumers for one.
  constexpr bool deal(int32_t most_consumers, int32_t num_blocks, int32_t together) {
    const int32_t most = most_consumers / slices, per_block = (num_units + num_blocks - 1) / num_blocks;
    if (most < 1) return false;
    const int32_t rounds = per_block > most ? (per_block + most - 1) / most : 1;
    at_once = per_block > rounds ? (per_block + rounds - 1) / rounds : 1;
    const int32_t rounded = (at_once + together - 1) / together * together;
    if (rounds > 1 && rounded <= most) at_once = rounded;
    return true;
  }
  QWILL_HOST_DEVICE constexpr int64_t unit_bytes() const { return int64_t{run_bytes} * (second_at > 0 ? 2 : 1); }
  QWILL_HOST_DEVICE constexpr int32_t consumers() const { return at_once * slices; }
  // Of a tile, what an item of it brings.
  QWILL_HOST_DEVICE constexpr int32_t item_begin(int32_t slice, int32_t chunk) const {
    return slice * slice_bytes + chunk * chunk_bytes;
  }
  QWILL_HOST_DEVICE constexpr int32_t item_bytes(int32_t slice, int32_t chunk) const {
    const int32_t of_slice = slice_bytes - chunk * chunk_bytes, of_run = run_bytes - item_begin(slice, chunk);
    const int32_t rest = of_slice < of_run ? of_slice : of_run;
    return rest < 0 ? 0 : rest < chunk_bytes ? rest : chunk_bytes;
  }
};

// A block's units of a product. They are dealt to its consumers in rounds; the items of a round come chunk by chunk, in
// each chunk one for each consumer of the round.
struct BlockUnits {
  int32_t first, end, at_once, slices, num_chunks;

  QWILL_HOST_DEVICE constexpr BlockUnits(const StepCut& cut, int32_t block, int32_t num_blocks)
      : first(border(cut.num_units, block, num_blocks)),
        end(border(cut.num_units, block + 1, num_blocks)),
        at_once(cut.at_once),
        slices(cut.slices),
        num_chunks(cut.num_chunks) {}

  // In 32 bits (plan_step sees that they suffice): all warps wait for it at the beginning of each op.
  QWILL_HOST_DEVICE static constexpr int32_t border(int32_t num_units, int32_t block, int32_t num_blocks) {
    return static_cast<int32_t>(static_cast<uint32_t>(block) * static_cast<uint32_t>(num_units) /
                                static_cast<uint32_t>(num_blocks));
  }
  QWILL_HOST_DEVICE constexpr int32_t num_items() const { return (end - first) * slices * num_chunks; }
  struct Item {
    int32_t unit, slice, chunk;
  };
  // The i-th that the block takes.
  QWILL_HOST_DEVICE constexpr Item item(int32_t i) const {
    const int32_t of_round = at_once * slices * num_chunks, round_first = first + i / of_round * at_once,
                  rest = i % of_round, consumers = consumers_of_round(round_first), consumer = rest % consumers;
    return {round_first + consumer / slices, consumer % slices, rest / consumers};
  }
  // Units, consumers of the round that begins with this unit.
  QWILL_HOST_DEVICE constexpr int32_t units_of_round(int32_t round_first) const {
    return end - round_first < at_once ? end - round_first : at_once;
  }
  QWILL_HOST_DEVICE constexpr int32_t consumers_of_round(int32_t round_first) const {
    return units_of_round(round_first) * slices;
  }
};

}  // namespace qwill::cuda
