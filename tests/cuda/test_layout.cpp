// How matrices lie in device memory: every element has a place of its own, and that is where the copy engine's and
// wgmma's 128-byte swizzle looks for it. Needs no card.
#include <gtest/gtest.h>

#include <set>

#include "cuda/layout.h"

namespace qwill::cuda {
namespace {

// Of byte `byte` of a row of 128 bytes: bits 4 … 6 of the address are exchanged by those three bits further up.
int64_t swizzled(int64_t row, int64_t byte) {
  const int64_t address = row * 128 + byte;
  return address ^ ((address >> 7 & 7) << 4);
}

TEST(Layout, E4m3AtomsAreSwizzledRowsOf128Bytes) {
  constexpr Fp8Layout kLayout{3, 2};
  std::set<int64_t> places;
  for (int64_t row = 0; row < kLayout.rows(); ++row)
    for (int64_t col = 0; col < kLayout.padded_cols(); ++col) {
      const int64_t atom = row / 8 * kLayout.col_blocks + col / 128;
      ASSERT_EQ(kLayout.offset(row, col), atom * kAtomBytes + swizzled(row % 8, col % 128)) << row << " " << col;
      places.insert(kLayout.offset(row, col));
    }
  EXPECT_EQ(static_cast<int64_t>(places.size()), kLayout.bytes());
  EXPECT_EQ(*places.rbegin(), kLayout.bytes() - 1);
}

TEST(Layout, Bf16AtomsAreSwizzledRowsOf128Bytes) {
  constexpr MatrixLayout kLayout{2, 3};
  for (int64_t row = 0; row < 16; ++row)
    for (int64_t col = 0; col < kLayout.padded_cols(); ++col)
      ASSERT_EQ(2 * kLayout.offset(row, col),
                (row / 8 * kLayout.col_blocks + col / 64) * kAtomBytes + swizzled(row % 8, col % 64 * 2));
}

TEST(Layout, E4m3PagesAreSwizzledRowsOf128Bytes) {
  std::set<int64_t> places;
  for (int64_t entry = 0; entry < 64; ++entry)
    for (int64_t place = 0; place < 128; ++place) {
      ASSERT_EQ(KvLayout::in_fp8_block(entry, place), swizzled(entry, place));
      places.insert(KvLayout::in_fp8_block(entry, place));
    }
  EXPECT_EQ(places.size(), 64u * 128);
}

// What mma.sync takes of sixteen dimensions of a key: a lane has 2 i, 2 i + 1, 2 i + 8, 2 i + 9, here four bytes. Of a
// value ldmatrix moves two bytes at once, which go to the same lane of two products of eight dimensions.
TEST(Layout, E4m3PagesKeepDimensionsAsLanesWantThem) {
  for (int32_t dim = 0; dim < 128; ++dim) {
    const int32_t of_key = KvLayout::fp8_key_place(dim), of_value = KvLayout::fp8_value_place(dim);
    EXPECT_EQ(of_key / 16, dim / 16);
    EXPECT_EQ(of_value / 16, dim / 16);
    const int32_t lane = of_key % 16 / 4, i = of_key % 4;
    EXPECT_EQ(dim % 16, 2 * lane + i % 2 + i / 2 * 8);
    EXPECT_EQ(dim % 16, of_value % 16 / 2 + of_value % 2 * 8);
  }
}

}  // namespace
}  // namespace qwill::cuda
