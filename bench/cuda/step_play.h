// The order of items in the ring of cuda/kernels/decode_step.cu and its waits, checked without a card.
#pragma once

#include <algorithm>
#include <cstdio>
#include <random>
#include <vector>

#include "cuda/kernels/step_items.h"

namespace qwill::cuda {

// Loader and warps agree on what is where: every item of every block, in rings of several sizes.
inline int test_items(int num_sms) {
  struct Product {
    int32_t units;
    int64_t col_blocks;
    bool pair;
  };
  const std::vector<Product> products = {{768, 64, false}, {512, 64, false}, {1536, 64, true}, {512, 192, false},
                                         {3, 1, false},    {150, 9, true},   {133, 13, false}, {18992, 16, false},
                                         {2176, 80, true}, {640, 272, false}};
  int64_t num_items = 0;
  for (const int32_t slots : {16, 17, 19, 26})
    for (const int32_t warps : {8, 12, 15})
      for (int32_t block = 0; block < num_sms; ++block) {
        RingPlace to, op_place;
        for (const Product& p : products) {
          const int32_t per_block = (p.units + num_sms - 1) / num_sms, rounds = (per_block + warps - 1) / warps;
          const BlockTiles tiles(p.units, (per_block + rounds - 1) / rounds, p.col_blocks, p.pair, block, num_sms);
          struct Item {
            int32_t slot;
            uint32_t parity;
          };
          // By tile and chunk.
          std::vector<Item> loaded(static_cast<size_t>(tiles.num_items()), {-1, 0}), taken = loaded;
          const auto at = [&](int32_t unit, int32_t chunk) {
            return static_cast<size_t>((unit - tiles.first) * tiles.num_chunks + chunk);
          };
          for (int32_t first = tiles.first; first < tiles.end; first += tiles.busy_warps)
            for (int32_t chunk = 0; chunk < tiles.num_chunks; ++chunk)
              for (int32_t warp = 0; warp < tiles.warps_of_round(first); ++warp) {
                loaded[at(first + warp, chunk)] = {to.slot, to.parity};
                to.advance(1, slots);
                ++num_items;
              }
          for (int32_t warp = 0; warp < warps; ++warp) {
            RingPlace place = op_place;
            place.advance(warp, slots);
            for (int32_t first = tiles.first; first < tiles.end; first += tiles.busy_warps) {
              const int32_t of_round = tiles.warps_of_round(first);
              if (warp >= of_round) break;
              for (int32_t chunk = 0; chunk < tiles.num_chunks; ++chunk) {
                taken[at(first + warp, chunk)] = {place.slot, place.parity};
                place.advance(of_round, slots);
              }
            }
          }
          op_place.skip(tiles.num_items(), slots);
          bool ok = op_place.slot == to.slot && op_place.parity == to.parity;
          for (size_t i = 0; i < loaded.size(); ++i)
            ok &= loaded[i].slot >= 0 && loaded[i].slot == taken[i].slot && loaded[i].parity == taken[i].parity;
          if (ok) continue;
          std::printf("FAILED items: slots %d warps %d block %d units %d\n", slots, warps, block, p.units);
          return 1;
        }
      }
  std::printf("%lld items in order\n", static_cast<long long>(num_items));
  return 0;
}

// The kernel's waits, played through in random order with few blocks: that all of it ends, that every warp finds its
// own item where it looks, and that nothing is overwritten early. A barrier is the number of its phases that have
// completed.
struct Play {
  struct Product {
    int32_t units;
    int64_t col_blocks;
    bool pair;
  };
  static constexpr int kBlocks = 3;
  std::vector<Product> products;
  int32_t warps, slots, in_flight;
  int32_t slow_warp, slow_slot;  // moves, or lands, one time in 16
  std::mt19937 random;

  struct Slot {
    int64_t full = 0, empty = 0;  // phases completed
    int64_t item = -1;            // that lies there, or is on its way
    bool landing = false;
  };
  struct Warp {
    size_t op = 0;
    bool running = false, done = false;
    int32_t first = 0, chunk = 0;
    RingPlace place, op_place;
  };
  struct Block {
    std::vector<Slot> slots;
    std::vector<Warp> warps;
    // The loading warp, its next item.
    size_t op = 0;
    int32_t first = -1, chunk = 0, warp = 0, ahead = 0;
    RingPlace to, landing;
    int finished_warps = 0;  // of the op at hand
  };
  std::vector<Block> blocks;
  int64_t arrivals = 0;
  int num_failed = 0;

  uint32_t draw() { return static_cast<uint32_t>(random()); }
  BlockTiles tiles(size_t op, int32_t block) const {
    const Product& p = products[op];
    const int32_t per_block = (p.units + kBlocks - 1) / kBlocks, rounds = (per_block + warps - 1) / warps;
    return {p.units, (per_block + rounds - 1) / rounds, p.col_blocks, p.pair, block, kBlocks};
  }
  static bool passed(int64_t phases, uint32_t parity) { return (static_cast<uint32_t>(phases) & 1) != parity; }
  static int64_t name(size_t op, int32_t unit, int32_t chunk) {
    return (static_cast<int64_t>(op) * 100000 + unit) * 1000 + chunk;
  }

  bool load(Block& b, int32_t block) {  // true: it got on
    if (b.op == products.size()) return false;
    const BlockTiles t = tiles(b.op, block);
    if (b.first < 0) b.first = t.first;
    if (b.first >= t.end || t.num_chunks == 0) return ++b.op, b.first = -1, true;
    Slot& slot = b.slots[static_cast<size_t>(b.to.slot)];
    if (!passed(slot.empty, b.to.parity ^ 1)) return false;
    if (b.ahead == in_flight) {
      if (!passed(b.slots[static_cast<size_t>(b.landing.slot)].full, b.landing.parity)) return false;
      b.landing.advance(1, slots);
    } else {
      ++b.ahead;
    }
    if (slot.item >= 0) std::printf("FAILED: overwritten early\n"), ++num_failed;
    slot.item = name(b.op, b.first + b.warp, b.chunk);
    slot.landing = true;
    b.to.advance(1, slots);
    if (++b.warp < t.warps_of_round(b.first)) return true;
    b.warp = 0;
    if (++b.chunk < t.num_chunks) return true;
    b.chunk = 0;
    b.first += t.busy_warps;
    return true;
  }
  bool multiply(Block& b, Warp& w, int32_t warp, int32_t block) {
    if (w.op == products.size()) return false;
    const BlockTiles t = tiles(w.op, block);
    if (!w.running) {
      if (arrivals < static_cast<int64_t>(w.op) * kBlocks) return false;
      w.running = true, w.done = false, w.first = t.first, w.chunk = 0;
      w.place = w.op_place;
      w.place.advance(warp, slots);
      return true;
    }
    if (!w.done && (w.first >= t.end || warp >= t.warps_of_round(w.first))) {
      w.done = true;
      w.op_place.skip(t.num_items(), slots);
      if (++b.finished_warps == warps) {
        b.finished_warps = 0;
        ++arrivals;
        for (Warp& other : b.warps) ++other.op, other.running = false;
      }
      return true;
    }
    if (w.done) return false;
    Slot& slot = b.slots[static_cast<size_t>(w.place.slot)];
    if (!passed(slot.full, w.place.parity)) return false;
    if (slot.item != name(w.op, w.first + warp, w.chunk)) std::printf("FAILED: another item\n"), ++num_failed;
    slot.item = -1;
    ++slot.empty;
    w.place.advance(t.warps_of_round(w.first), slots);
    if (++w.chunk == t.num_chunks) w.chunk = 0, w.first += t.busy_warps;
    return true;
  }
  void run() {
    blocks.assign(kBlocks, {});
    for (Block& b : blocks) b.slots.resize(static_cast<size_t>(slots)), b.warps.resize(static_cast<size_t>(warps));
    const auto done = [&](const Block& b) { return b.op == products.size() && b.warps[0].op == products.size(); };
    for (int idle = 0; idle < 1'000'000 && num_failed == 0 && !std::ranges::all_of(blocks, done);) {
      const auto block = static_cast<int32_t>(draw() % kBlocks);
      Block& b = blocks[static_cast<size_t>(block)];
      const uint32_t who = draw() % static_cast<uint32_t>(warps + 4);
      bool moved = false;
      if (who == static_cast<uint32_t>(slow_warp) && draw() % 16 != 0) continue;
      if (who < static_cast<uint32_t>(warps)) {
        moved = multiply(b, b.warps[who], static_cast<int32_t>(who), block);
      } else if (who < static_cast<uint32_t>(warps) + 2) {
        moved = load(b, block);
      } else {  // copies land in any order
        const auto idx = static_cast<int32_t>(draw() % static_cast<uint32_t>(slots));
        if (idx == slow_slot && draw() % 16 != 0) continue;
        Slot& slot = b.slots[static_cast<size_t>(idx)];
        if ((moved = slot.landing)) slot.landing = false, ++slot.full;
      }
      idle = moved ? 0 : idle + 1;
    }
    for (const Block& b : blocks)
      if (num_failed == 0 && !done(b))
        std::printf("FAILED: stuck, slots %d warps %d in flight %d\n", slots, warps, in_flight), ++num_failed;
  }
};

inline int test_play() {
  int count = 0, num_failed = 0;
  for (const int32_t slots : {16, 17, 19, 26})
    for (const int32_t warps : {8, 12, 15})
      for (const int32_t in_flight : {1, std::min(6, max_in_flight(slots, warps)), max_in_flight(slots, warps)}) {
        for (int seed = 0; seed < 20 && in_flight > 0; ++seed) {
          Play play{.products = {{17, 64, false},
                                 {2, 9, false},
                                 {36, 13, true},
                                 {12, 30, false},
                                 {130, 1, true},
                                 {1, 3, false},
                                 {70, 17, false}},
                    .warps = warps,
                    .slots = slots,
                    .in_flight = in_flight,
                    .slow_warp = seed % warps,
                    .slow_slot = seed * 7 % slots,
                    .random = std::mt19937(static_cast<uint32_t>(++count)),
                    .blocks = {}};
          play.run();
          num_failed += play.num_failed;
        }
      }
  std::printf("%d plays, %d failed\n", count, num_failed);
  return num_failed;
}

}  // namespace qwill::cuda
