// The order of items in the ring of cuda/kernels/decode_step.cu and its waits, checked without a card.
#pragma once

#include <algorithm>
#include <cstdio>
#include <random>
#include <vector>

#include "cuda/kernels/step_items.h"

namespace qwill::cuda {

struct PlayProduct {
  int32_t units, chunks, slices = 1;
  int32_t warps = 1;  // that consume an item together: 4 of e4m3

  StepCut cut(int32_t all_warps, int32_t num_blocks) const {
    StepCut cut{.num_units = units, .slices = slices, .num_chunks = chunks};
    if (!cut.deal(all_warps / warps, num_blocks, 1)) std::printf("FAILED: too few consumers\n");
    return cut;
  }
};

// Loader and warps agree on what is where: every item of every block, in rings of several sizes.
inline int test_items(int num_sms) {
  const std::vector<PlayProduct> products = {{768, 8},    {512, 8},    {1536, 16}, {512, 24},  {3, 1},
                                             {150, 3},    {133, 2},    {18992, 2}, {2176, 20}, {640, 34},
                                             {256, 4, 3}, {320, 4, 7}, {160, 1, 2}};
  int64_t num_items = 0;
  for (const int32_t slots : {16, 17, 19, 26})
    for (const int32_t warps : {8, 9, 11})
      for (int32_t block = 0; block < num_sms; ++block) {
        RingPlace to, op_place;
        for (const PlayProduct& p : products) {
          const BlockUnits units(p.cut(warps, num_sms), block, num_sms);
          struct Item {
            int32_t slot;
            uint32_t parity;
          };
          // By unit and slice, and chunk.
          std::vector<Item> loaded(static_cast<size_t>(units.num_items()), {-1, 0}), taken = loaded;
          const auto at = [&](int32_t round_first, int32_t consumer, int32_t chunk) {
            return static_cast<size_t>(((round_first - units.first) * units.slices + consumer) * units.num_chunks +
                                       chunk);
          };
          bool named = true;
          int32_t idx = 0;
          for (int32_t first = units.first; first < units.end; first += units.at_once)
            for (int32_t chunk = 0; chunk < units.num_chunks; ++chunk)
              for (int32_t consumer = 0; consumer < units.consumers_of_round(first); ++consumer) {
                const BlockUnits::Item item = units.item(idx++);
                named &= item.unit == first + consumer / units.slices && item.slice == consumer % units.slices &&
                         item.chunk == chunk;
                loaded[at(first, consumer, chunk)] = {to.slot, to.parity};
                to.advance(1, slots);
                ++num_items;
              }
          for (int32_t consumer = 0; consumer < warps; ++consumer) {
            RingPlace place = op_place;
            place.advance(consumer, slots);
            for (int32_t first = units.first; first < units.end; first += units.at_once) {
              const int32_t of_round = units.consumers_of_round(first);
              if (consumer >= of_round) break;
              for (int32_t chunk = 0; chunk < units.num_chunks; ++chunk) {
                taken[at(first, consumer, chunk)] = {place.slot, place.parity};
                place.advance(of_round, slots);
              }
            }
          }
          op_place.skip(units.num_items(), slots);
          bool ok = named && op_place.slot == to.slot && op_place.parity == to.parity;
          for (size_t i = 0; i < loaded.size(); ++i)
            ok &= loaded[i].slot >= 0 && loaded[i].slot == taken[i].slot && loaded[i].parity == taken[i].parity;
          if (ok) continue;
          std::printf("FAILED items: slots %d warps %d block %d units %d\n", slots, warps, block, p.units);
          return 1;
        }
      }
  return num_items > 0 ? 0 : 1;
}

// The kernel's waits, played through in random order with few blocks: that all of it ends, that every warp finds its
// own item where it looks, and that nothing is overwritten early. An item is given back when the unit's next one has
// landed, which is later than some products do it. Warps that share a unit's slices meet at the end of a
// round, with all others; those of a warpgroup after each item. A barrier is the number of its phases that have
// completed.
struct Play {
  static constexpr int kBlocks = 3;
  std::vector<PlayProduct> products;
  int32_t warps, slots, in_flight, quiet_in_flight;
  int32_t slot_arrivals;         // that empty a slot: 4 where some product is of e4m3
  int32_t slow_warp, slow_slot;  // moves, or lands, one time in 16
  std::mt19937 random;

  struct Slot {
    int64_t full = 0, empty = 0;  // phases completed
    int64_t item = -1;            // that lies there, or is on its way
    bool landing = false;
    int32_t arrived = 0;
  };
  struct Warp {
    size_t op = 0;
    bool running = false, done = false, meets = false;
    int32_t first = 0, chunk = 0, items = 0;  // items: of the op, taken so far
    Slot* held = nullptr;                     // of the item before, not given back yet
    RingPlace place, op_place;
  };
  struct Block {
    std::vector<Slot> slots;
    std::vector<Warp> warps;
    // The loading warp, its next item.
    size_t op = 0;
    int32_t first = -1, chunk = 0, warp = 0, ahead = 0;
    RingPlace to, landing;
    int finished_warps = 0, meeting_warps = 0;  // of the op at hand, of its round
  };
  std::vector<Block> blocks;
  int64_t arrivals = 0;
  int num_failed = 0;

  uint32_t draw() { return static_cast<uint32_t>(random()); }
  BlockUnits units(size_t op, int32_t block) const { return {products[op].cut(warps, kBlocks), block, kBlocks}; }
  static bool passed(int64_t phases, uint32_t parity) { return (static_cast<uint32_t>(phases) & 1) != parity; }
  // Of an item, by its round and consumer.
  static int64_t name(size_t op, int32_t first, int32_t consumer, int32_t chunk) {
    return ((static_cast<int64_t>(op) * 100000 + first) * 100 + consumer) * 1000 + chunk;
  }

  bool load(Block& b, int32_t block) {  // true: it got on
    if (b.op == products.size()) return false;
    const BlockUnits t = units(b.op, block);
    if (b.first < 0) b.first = t.first;
    if (b.first >= t.end || t.num_chunks == 0) return ++b.op, b.first = -1, true;
    Slot& slot = b.slots[static_cast<size_t>(b.to.slot)];
    if (!passed(slot.empty, b.to.parity ^ 1)) return false;
    const bool running = b.warps[0].op > b.op || (b.warps[0].op == b.op && b.warps[0].running);
    if (b.ahead >= (running ? in_flight : quiet_in_flight)) {
      if (!passed(b.slots[static_cast<size_t>(b.landing.slot)].full, b.landing.parity)) return false;
      b.landing.advance(1, slots);
      --b.ahead;
      return true;
    }
    ++b.ahead;
    if (slot.item >= 0) std::printf("FAILED: overwritten early\n"), ++num_failed;
    slot.item = name(b.op, b.first, b.warp, b.chunk);
    slot.landing = true;
    b.to.advance(1, slots);
    if (++b.warp < t.consumers_of_round(b.first)) return true;
    b.warp = 0;
    if (++b.chunk < t.num_chunks) return true;
    b.chunk = 0;
    b.first += t.at_once;
    return true;
  }
  bool multiply(Block& b, Warp& w, int32_t warp, int32_t block) {
    if (w.op == products.size()) return false;
    const PlayProduct& p = products[w.op];
    const BlockUnits t = units(w.op, block);
    const int32_t consumer = warp / p.warps;
    if (!w.running) {
      if (arrivals < static_cast<int64_t>(w.op) * kBlocks) return false;
      w.running = true, w.done = w.meets = false, w.first = t.first, w.chunk = w.items = 0;
      w.place = w.op_place;
      w.place.advance(consumer, slots);
      return true;
    }
    if (w.done || w.meets) return false;
    const bool busy = w.first < t.end && consumer < t.consumers_of_round(w.first);
    if (w.first >= t.end || (!busy && p.slices == 1)) {
      w.done = true;
      w.op_place.skip(t.num_items(), slots);
      if (++b.finished_warps == warps) {
        b.finished_warps = 0;
        ++arrivals;
        for (Warp& other : b.warps) ++other.op, other.running = false;
      }
      return true;
    }
    if (!busy) return end_round(b, w, t);
    for (int32_t other = consumer * p.warps; other < (consumer + 1) * p.warps; ++other)
      if (b.warps[static_cast<size_t>(other)].items < w.items) return false;
    Slot& slot = b.slots[static_cast<size_t>(w.place.slot)];
    if (!passed(slot.full, w.place.parity)) return false;
    if (slot.item != name(w.op, w.first, consumer, w.chunk)) std::printf("FAILED: another item\n"), ++num_failed;
    if (w.held) give_back(*w.held, p);
    w.held = &slot;
    ++w.items;
    w.place.advance(t.consumers_of_round(w.first), slots);
    if (++w.chunk < t.num_chunks) return true;
    give_back(slot, p);
    w.held = nullptr;
    return end_round(b, w, t);
  }
  void give_back(Slot& slot, const PlayProduct& p) const {
    if ((slot.arrived += slot_arrivals / p.warps) == slot_arrivals) slot.arrived = 0, slot.item = -1, ++slot.empty;
  }
  bool end_round(Block& b, Warp& w, const BlockUnits& t) {
    w.chunk = 0;
    if (t.slices == 1) return w.first += t.at_once, true;
    w.meets = true;
    if (++b.meeting_warps < warps) return true;
    b.meeting_warps = 0;
    for (Warp& each : b.warps) each.meets = false, each.first += t.at_once;
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
  const std::vector<PlayProduct> of_warps = {{17, 8},  {2, 2}, {36, 4},   {12, 4, 3},
                                             {130, 1}, {1, 1}, {7, 2, 5}, {70, 3}};
  const std::vector<PlayProduct> of_groups = {{17, 8, 1, 4}, {2, 2, 1, 4}, {1, 3, 1, 4}, {36, 4, 1, 4}, {70, 3}};
  int count = 0, num_failed = 0;
  for (const bool groups : {false, true})
    for (const int32_t slots : {16, 17, 19, 26})
      for (const int32_t warps : {8, 9, 11}) {
        if (groups && warps != kLeastStepWarps) continue;
        const int32_t most = max_in_flight(slots, warps);
        for (const int32_t in_flight : {1, std::min(6, most), most})
          for (int seed = 0; seed < 20 && in_flight > 0; ++seed) {
            Play play{.products = groups ? of_groups : of_warps,
                      .warps = warps,
                      .slots = slots,
                      .in_flight = in_flight,
                      .quiet_in_flight = std::min(in_flight, 1 + seed % 3),
                      .slot_arrivals = groups ? 4 : 1,
                      .slow_warp = seed % warps,
                      .slow_slot = seed * 7 % slots,
                      .random = std::mt19937(static_cast<uint32_t>(++count)),
                      .blocks = {}};
            play.run();
            num_failed += play.num_failed;
          }
      }
  return num_failed;
}

}  // namespace qwill::cuda
