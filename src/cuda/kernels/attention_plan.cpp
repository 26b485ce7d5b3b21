// What a step's attention launches: how decode is split over blocks, which query tiles prefill has.
#include <algorithm>

#include "cuda/kernels/attention.h"
#include "ops/paged_kv.h"

namespace qwill::cuda {

int32_t DecodePlan::blocks_per_cluster() const {
  if (sequence_blocks > 0) return sequence_blocks;
  int32_t blocks = 1;
  while (blocks * tiles_per_block < std::min<int32_t>(kGroupTiles, max_tiles)) blocks *= 2;
  return blocks;
}

int32_t DecodePlan::max_groups() const { return static_cast<int32_t>((max_tiles + kGroupTiles - 1) / kGroupTiles); }

DecodePlan plan_decode(const AttendArgs& args, int32_t num_sequences, int64_t max_context, int32_t multiprocessors) {
  DecodePlan plan;
  plan.num_sequences = num_sequences;
  plan.max_tiles = static_cast<int32_t>((max_context + kTileKeys - 1) / kTileKeys);
  const int64_t pairs = int64_t{num_sequences} * args.num_kv_heads, full = multiprocessors * 9 / 10;
  if (pairs >= 3 * multiprocessors) {
    // Many sequences fill the card without a split; and a last group of few tiles would cost a block of its own.
    plan.all_groups = plan.max_groups() > 1 && plan.max_groups() <= 4;
    return plan;
  }
  int64_t blocks = (full + pairs - 1) / pairs;
  // One block a multiprocessor leaves some of its rate; two with few tiles each lose more by beginning and ending.
  if (blocks == 1 && 4 * pairs < 5 * multiprocessors && plan.max_groups() > 1) blocks = 2;
  if (plan.max_tiles <= DecodePlan::kMostSequenceTiles && blocks <= DecodePlan::kMostSequenceBlocks) {
    blocks = std::min<int64_t>(blocks, plan.max_tiles);
    if (blocks > 1) plan.sequence_blocks = static_cast<int32_t>(blocks);
    plan.all_groups = blocks == 1 && plan.max_groups() > 1;
    return plan;
  }
  const auto num_blocks = [&] { return pairs * ((plan.max_tiles + plan.tiles_per_block - 1) / plan.tiles_per_block); };
  while (plan.tiles_per_block > 1 && num_blocks() < full) plan.tiles_per_block /= 2;
  return plan;
}

int64_t decode_partial_bytes(const AttendArgs& args, const DecodePlan& plan) {
  if (plan.max_groups() == 1) return 0;
  return int64_t{4} * plan.num_sequences * args.num_heads * plan.max_groups() * part_row_floats(args.kv.padded_dim);
}

std::vector<QueryTile> list_query_tiles(std::span<const int32_t> row_begin, std::span<const int32_t> seq_lens,
                                        int32_t group, int32_t min_rows) {
  struct Weighted {
    QueryTile tile;
    int64_t num_keys;
  };
  std::vector<Weighted> weighted;
  const int32_t step = query_tile_rows(group);
  for (size_t s = 0; s < seq_lens.size(); ++s) {
    const int32_t begin = row_begin[s], end = row_begin[s + 1];
    if (seq_lens[s] == 0 || end - begin < min_rows) continue;
    for (int32_t row = begin; row < end; row += step)
      weighted.push_back({{static_cast<int32_t>(s), row}, seq_lens[s] - std::max(0, end - row - step)});
  }
  std::ranges::stable_sort(weighted, std::ranges::greater{}, &Weighted::num_keys);
  std::vector<QueryTile> tiles;
  for (const Weighted& w : weighted) tiles.push_back(w.tile);
  return tiles;
}

}  // namespace qwill::cuda
