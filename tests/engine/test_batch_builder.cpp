#include <gtest/gtest.h>

#include "engine/batch_builder.h"

namespace qwill {
namespace {

using Ints = std::vector<int32_t>;

Sequence sequence_of(std::vector<int32_t> prompt, std::vector<int32_t> output, std::vector<int32_t> pages) {
  Sequence sequence;
  sequence.prompt_len = static_cast<int64_t>(prompt.size());
  sequence.tokens = std::move(prompt);
  sequence.tokens.insert(sequence.tokens.end(), output.begin(), output.end());
  sequence.pages = std::move(pages);
  return sequence;
}

TEST(BatchBuilder, FlattensSequences) {
  BatchBuilder builder(4);
  Sequence chunk = sequence_of({10, 11, 12, 13, 14, 15, 16, 17, 18}, {}, {7, 2, 5});
  chunk.prefix.rope = RopeKind::yarn;
  const Sequence decoding = sequence_of({20, 21}, {22, 23}, {3}), scored = sequence_of({30, 31}, {}, {0, 9});
  builder.add(chunk, 3, 4, {});
  builder.add(decoding, 3, 1, {.last = true});
  builder.add(scored, 0, 2, {.count = 2});
  const Batch batch = builder.take();
  EXPECT_EQ(batch.tokens, (Ints{13, 14, 15, 16, 23, 30, 31}));
  EXPECT_EQ(batch.draw_source, Ints(7, Batch::kFromHost));
  EXPECT_EQ(batch.positions, (Ints{3, 4, 5, 6, 3, 0, 1}));
  EXPECT_EQ(batch.slots, (Ints{7 * 4 + 3, 2 * 4, 2 * 4 + 1, 2 * 4 + 2, 3 * 4 + 3, 0, 1}));
  EXPECT_EQ(batch.row_begin, (Ints{0, 4, 5, 7}));
  EXPECT_EQ(batch.seq_lens, (Ints{7, 4, 2}));
  EXPECT_EQ(batch.rope, (std::vector<RopeKind>{RopeKind::yarn, RopeKind::plain, RopeKind::plain}));
  EXPECT_EQ(batch.max_pages, 2);
  EXPECT_EQ(batch.page_table, (Ints{7, 2, 3, 0, 0, 0}));
  EXPECT_EQ(batch.logit_rows, (Ints{4, 5, 6}));
  EXPECT_EQ(batch.cache_namespace, Ints(3, 0));
  EXPECT_EQ(batch.adapter, Ints(3, 0));
}

TEST(BatchBuilder, TakesATokenFromTheLastDraw) {
  BatchBuilder builder(4);
  const Sequence sequence = sequence_of({20, 21}, {22}, {3});
  builder.add(sequence, 3, 1, {.last = true}, 5);
  const Batch batch = builder.take();
  EXPECT_EQ(batch.draw_source, Ints{5});
  EXPECT_EQ(batch.positions, Ints{3});
  EXPECT_EQ(batch.slots, Ints{3 * 4 + 3});
  EXPECT_EQ(batch.seq_lens, Ints{4});
}

TEST(BatchBuilder, StartsAfreshAfterTake) {
  BatchBuilder builder(64);
  const Sequence first = sequence_of({1, 2, 3}, {}, {4}), second = sequence_of({9}, {}, {1});
  builder.add(first, 0, 3, {.last = true});
  builder.take();
  builder.add(second, 0, 1, {.last = true});
  const Batch batch = builder.take();
  EXPECT_EQ(batch.tokens, Ints{9});
  EXPECT_EQ(batch.row_begin, (Ints{0, 1}));
  EXPECT_EQ(batch.page_table, Ints{1});
  EXPECT_EQ(batch.logit_rows, Ints{0});
  EXPECT_EQ(builder.take().num_rows(), 0);
}

}  // namespace
}  // namespace qwill
