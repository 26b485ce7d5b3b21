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

}  // namespace
}  // namespace qwill::cuda
