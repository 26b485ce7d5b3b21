// Which tiles products take (cuda/kernels/gemm.h, fp8.h). Needs no card.
#include <gtest/gtest.h>

#include <algorithm>

#include "cuda/kernels/fp8.h"

namespace qwill::cuda {
namespace {

constexpr int kNumSms = 132;  // of an H100

// qkv, o, gate and up, down of every published dense model.
constexpr int64_t kWeightRows[] = {1024, 2048, 2560, 4096, 5120, 6144, 7168, 10240, 12288, 19456, 24576, 34816, 51200};

TEST(GemmTiles, ManyRowsTakeWideOnesAndFewDoNot) {
  for (const int64_t weight_rows : kWeightRows) {
    for (const int64_t num_rows : {2048, 8192})
      EXPECT_TRUE(is_wide(choose_fp8_tile(weight_rows, num_rows, kNumSms))) << weight_rows << ", " << num_rows;
    for (const int64_t num_rows : {1, 8, 33, 64})
      EXPECT_FALSE(is_wide(choose_fp8_tile(weight_rows, num_rows, kNumSms))) << weight_rows << ", " << num_rows;
  }
  EXPECT_TRUE(rounds_at_once(choose_fp8_tile(24576, 512, kNumSms))) << "gate and up of 8B";
  // What test_cuda.cpp compares with few rows.
  EXPECT_TRUE(rounds_at_once(choose_fp8_tile(2 * 3992, 500, kNumSms)));
  EXPECT_TRUE(is_wide(choose_fp8_tile(4096, 500, kNumSms)));
  // What test_linear.cpp compares with the reference.
  EXPECT_EQ(choose_fp8_tile(4256, 130, kNumSms), kWideFp8Tiles[1]);
  EXPECT_EQ(choose_fp8_tile(5664, 260, kNumSms), kWideFp8Tiles[0]);
}

// Two blocks of a cluster take 256 rows at once: where the second would have none, another tile is chosen.
TEST(GemmTiles, NoBlockOfAPairIsLeftWithoutRowsWhereOneTileWouldDo) {
  for (const int64_t weight_rows : kWeightRows)
    for (int64_t num_rows = 1; num_rows <= 128; ++num_rows)
      EXPECT_FALSE(is_wide(choose_fp8_tile(weight_rows, num_rows, kNumSms))) << weight_rows << ", " << num_rows;
}

TEST(GemmTiles, EveryNumberOfRowsHasOne) {
  for (const int64_t weight_rows : kWeightRows)
    for (int64_t num_rows = 1; num_rows <= 2100; ++num_rows) {
      const GemmTile tile = choose_fp8_tile(weight_rows, num_rows, kNumSms);
      EXPECT_TRUE(is_wide(tile) || std::ranges::find(kFp8Tiles, tile) != std::end(kFp8Tiles));
    }
}

TEST(GemmTiles, UpTo256RowsEveryWeightIsReadOnce) {
  for (const int64_t weight_rows : {4096, 6144, 24576})  // of 8B; smaller ones are not bound by memory
    for (int64_t num_rows = 1; num_rows <= 256; ++num_rows) {
      if (num_rows > 64 && num_rows <= 128) continue;
      const GemmTile tile = choose_gemm_tile(weight_rows, num_rows, kNumSms);
      EXPECT_GE(tile.tokens * tile.token_cluster, num_rows) << weight_rows << ", " << num_rows;
    }
}

}  // namespace
}  // namespace qwill::cuda
