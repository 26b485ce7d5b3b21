// In which order a block's weights pass through the ring of decode_step.cu: what the loading warp and the multiplying
// warps must agree on.
#pragma once

#include <cstdint>

#include "cuda/layout.h"

namespace qwill::cuda {

constexpr int32_t kItemAtoms = 8;  // a tile's next 512 columns, or 256 of a gate tile and 256 of its up tile
constexpr int32_t kItemBytes = kItemAtoms * static_cast<int32_t>(kAtomBytes);
constexpr int32_t kMinSlots = 16;  // more than warps that multiply
constexpr int32_t kMaxSlots = 26;
// A block's shared memory: barriers and the ops at hand, the ring, room for an operand or for a tile of attention.
constexpr int32_t kMaxStepShared = 227 * 1024;
constexpr int32_t kStepFixedShared = 2048;
// Keys, and then values in their place; queries and probabilities, the new key and value, maxima (attention_tile.cuh,
// DecodeTile).
constexpr int64_t step_attend_bytes(int64_t padded_dim) {
  return 128 * padded_dim * 2 + 16 * padded_dim * 2 + 16 * 128 * 2 + 2 * padded_dim * 2 + 16 * 8 * 4;
}

// The most items that may be under way at once. A warp that waits for item j by the parity of its slot must know that
// the item before it there, j - slots, has landed: else the slot is a phase behind, and its parity says "landed" for j.
// What the warp knows is that its own last item, at most busy_warps before j, has landed, so was issued, so everything
// up to in_flight before that has landed. (A warp's first item of an op has nothing of the same op before it in its
// slot.)
constexpr int32_t max_in_flight(int32_t slots, int32_t busy_warps) { return slots - busy_warps; }

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

// A block's tiles of a product. They are dealt to its warps in rounds; the items of a round come chunk by chunk, in
// each chunk one for each warp of the round.
struct BlockTiles {
  int32_t first, end, busy_warps, num_chunks;

  QWILL_HOST_DEVICE constexpr BlockTiles(int32_t num_units, int32_t warps, int64_t col_blocks, bool pair, int32_t block,
                                         int32_t num_blocks)
      : first(border(num_units, block, num_blocks)),
        end(border(num_units, block + 1, num_blocks)),
        busy_warps(warps),
        num_chunks(static_cast<int32_t>((col_blocks + atoms(pair) - 1) / atoms(pair))) {}

  // Columns of a chunk.
  QWILL_HOST_DEVICE static constexpr int32_t atoms(bool pair) { return pair ? kItemAtoms / 2 : kItemAtoms; }
  QWILL_HOST_DEVICE static constexpr int32_t border(int32_t num_units, int64_t block, int32_t num_blocks) {
    return static_cast<int32_t>(block * num_units / num_blocks);
  }
  QWILL_HOST_DEVICE constexpr int32_t num_items() const { return (end - first) * num_chunks; }
  // Warps of the round that begins with this tile.
  QWILL_HOST_DEVICE constexpr int32_t warps_of_round(int32_t round_first) const {
    return end - round_first < busy_warps ? end - round_first : busy_warps;
  }
};

}  // namespace qwill::cuda
