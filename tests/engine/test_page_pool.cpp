#include <gtest/gtest.h>

#include <set>

#include "engine/page_pool.h"
#include "support/random.h"

namespace qwill {
namespace {

TEST(PagePool, GivesPagesInOrderAndAllOrNothing) {
  PagePool pool(4);
  std::vector<int32_t> a, b;
  EXPECT_TRUE(pool.extend(a, 0));
  EXPECT_TRUE(pool.extend(a, 3));
  EXPECT_EQ(a, (std::vector<int32_t>{0, 1, 2}));
  EXPECT_TRUE(pool.extend(a, 2)) << "it has them already";
  EXPECT_EQ(a.size(), 3u);
  EXPECT_FALSE(pool.extend(b, 2));
  EXPECT_TRUE(b.empty());
  EXPECT_EQ(pool.num_free(), 1);
  EXPECT_TRUE(pool.extend(b, 1));
  EXPECT_FALSE(pool.extend(a, 4));
  pool.release(a);
  EXPECT_TRUE(a.empty());
  EXPECT_EQ(pool.num_free(), 3);
  EXPECT_TRUE(pool.extend(b, 4));
  EXPECT_EQ(b, (std::vector<int32_t>{3, 0, 1, 2}));
}

TEST(PagePool, NoPageHasTwoOwners) {
  test::Random random(1);
  PagePool pool(37);
  std::vector<std::vector<int32_t>> owners(8);
  for (int step = 0; step < 5000; ++step) {
    auto& pages = owners[static_cast<size_t>(random.below(8))];
    if (random.below(3) == 0)
      pool.release(pages);
    else
      pool.extend(pages, random.below(12));
    std::set<int32_t> seen;
    size_t owned = 0;
    for (const auto& owner : owners) {
      seen.insert(owner.begin(), owner.end());
      owned += owner.size();
    }
    ASSERT_EQ(seen.size(), owned);
    ASSERT_EQ(static_cast<int64_t>(owned) + pool.num_free(), 37);
  }
}

}  // namespace
}  // namespace qwill
