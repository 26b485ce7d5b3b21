// How attention of decode rows is split over blocks (cuda/kernels/attention.h). Needs no card.
#include <gtest/gtest.h>

#include "cuda/kernels/attention.h"
#include "ops/paged_kv.h"

namespace qwill::cuda {
namespace {

constexpr int kNumSms = 132;  // of an H100

DecodePlan plan_of(int32_t sequences, int64_t context) {
  AttendArgs args;
  args.num_heads = 32, args.num_kv_heads = 8, args.head_dim = 128;
  return plan_decode(args, sequences, context, kNumSms);
}

TEST(DecodePlan, TakesAllTilesInClustersThatCardsHave) {
  for (int32_t sequences = 1; sequences <= 300; ++sequences)
    for (const int64_t context : {1, 128, 129, 1024, 1025, 2048, 2049, 4096, 5000, 32768}) {
      const DecodePlan plan = plan_of(sequences, context);
      EXPECT_EQ(plan.max_tiles, (context + kTileKeys - 1) / kTileKeys);
      EXPECT_LE(plan.blocks_per_cluster(), 8);
      if (plan.sequence_blocks > 0) {
        EXPECT_LE(plan.sequence_blocks, plan.max_tiles);
        EXPECT_LE(plan.max_tiles, DecodePlan::kMostSequenceTiles);
        EXPECT_FALSE(plan.all_groups);
      } else {
        EXPECT_GE(plan.blocks_per_cluster() * plan.tiles_per_block, std::min<int64_t>(kGroupTiles, plan.max_tiles));
        EXPECT_TRUE(!plan.all_groups || plan.tiles_per_block == kGroupTiles);
      }
    }
}

// A tile beyond the first group, as a block of its own beside one with eight, would make the card wait for that one.
TEST(DecodePlan, FewSequencesAreSplitEvenlyAndManyNotAtAll) {
  EXPECT_EQ(plan_of(8, 1056).sequence_blocks, 2);
  EXPECT_EQ(plan_of(16, 1056).sequence_blocks, 2);
  for (const int32_t sequences : {24, 32, 64, 256}) {
    EXPECT_EQ(plan_of(sequences, 1056).sequence_blocks, 0);
    EXPECT_TRUE(plan_of(sequences, 1056).all_groups);
  }
}

}  // namespace
}  // namespace qwill::cuda
