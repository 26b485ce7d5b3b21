#include <gtest/gtest.h>

#include <set>

#include "engine/page_pool.h"

namespace qwill {
namespace {

TEST(PagePool, GivesEveryPageOnceInOrder) {
  PagePool pool(3);
  for (int32_t page = 0; page < 3; ++page) EXPECT_EQ(pool.take(), page);
  EXPECT_EQ(pool.take(), std::nullopt);
  pool.give_back(1);
  EXPECT_EQ(pool.num_free(), 1);
  EXPECT_EQ(pool.take(), 1);
  EXPECT_EQ(pool.take(), std::nullopt);
}

}  // namespace
}  // namespace qwill
