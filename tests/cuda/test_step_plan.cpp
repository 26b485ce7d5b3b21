// Whether and how the ops of a step run as one kernel (cuda/kernels/decode_step.h). Needs no card.
#include <gtest/gtest.h>

#include <vector>

#include "cuda/kernels/decode_step.h"
#include "cuda/step_play.h"

namespace qwill::cuda {
namespace {

struct Shape {
  int32_t layers = 3, cols = 512, heads = 8, kv_heads = 2, head_dim = 64, ffn = 1024, vocab = 1000;
  StreamFormat format = StreamFormat::bf16;
};

struct StepPlan : testing::Test {
  std::vector<float> x = std::vector<float>(8192), qkv = x, logits = x, out = x, act = x, norm = x, weight = x;
  std::vector<int32_t> indices = std::vector<int32_t>(64);
  std::vector<StepOp> ops;
  StepLaunch launch;

  void add(int32_t rows, int32_t cols, const Shape& s, StreamOutput output, void* y, const void* a = nullptr) {
    StreamCall& c = ops.emplace_back().product;
    c.weight = weight.data();
    c.scales = weight.data();
    c.layout = {(rows + 7) / 8, (cols + 63) / 64};
    c.format = rows == s.vocab ? StreamFormat::bf16 : s.format;
    c.num_outputs = output == StreamOutput::silu_mul ? rows / 2 : rows;
    c.cols = cols;
    c.num_rows = 1;
    c.output = output;
    c.y = y;
    c.ldy = c.num_outputs;
    c.a = a;
    if (a) return;
    c.x = x.data();
    c.norm = norm.data();
  }
  bool plan(const Shape& s, const StepTuning& tuning = {}, int32_t max_tiles = 4, bool fp8_cache = false) {
    ops.clear();
    for (int32_t layer = 0; layer < s.layers; ++layer) {
      add((s.heads + 2 * s.kv_heads) * s.head_dim, s.cols, s, StreamOutput::store, qkv.data());
      StepOp& op = ops.emplace_back();
      op.is_attend = true;
      op.max_tiles = max_tiles;
      AttendArgs& a = op.attend;
      a.num_rows = a.num_sequences = 1;
      a.num_heads = s.heads;
      a.num_kv_heads = s.kv_heads;
      a.head_dim = s.head_dim;
      a.qkv = qkv.data();
      a.seq_lens = a.slots = a.page_table = indices.data();
      a.max_pages = 32;
      a.kv = {nullptr, s.kv_heads, fp8_cache ? 128 : (s.head_dim + 63) / 64 * 64, 64, fp8_cache};
      a.out = out.data();
      a.ld_out = (s.heads * s.head_dim + 63) / 64 * 64;
      add(s.cols, s.heads * s.head_dim, s, StreamOutput::add, x.data(), out.data());
      add(2 * s.ffn, s.cols, s, StreamOutput::silu_mul, act.data());
      add(s.cols, s.ffn, s, StreamOutput::add, x.data(), act.data());
    }
    add(s.vocab, s.cols, s, StreamOutput::store, logits.data());
    return plan_step(ops, tuning, 132, launch);
  }
};

TEST_F(StepPlan, QueriesKeysAndValuesGoAsWords) {
  ASSERT_TRUE(plan({.ffn = 8192}));
  for (size_t i = 0; i < ops.size(); ++i)
    EXPECT_EQ(ops[i].stores == StepStores::words, !ops[i].is_attend && i + 1 < ops.size() && ops[i + 1].is_attend)
        << "op " << i;
  ops[0].product.y = x.data();  // another's
  EXPECT_FALSE(plan_step(ops, {}, 132, launch));
}

TEST_F(StepPlan, InShortStepsAllOperandsButTheFirstAreWords) {
  ASSERT_TRUE(plan({}));
  const int64_t words = step_words(ops[1].attend);
  for (size_t i = 0; i + 1 < ops.size(); ++i) {
    const StepOp &op = ops[i], &next = ops[i + 1];
    EXPECT_EQ(op.stores, StepStores::words) << "op " << i;
    if (next.is_attend) continue;
    EXPECT_EQ(next.from, op.to) << "op " << i;
    EXPECT_EQ(op.to % 2, 0);
    const int64_t written = next.product.norm ? next.product.cols : next.product.layout.padded_cols() / 2;
    EXPECT_LE(op.to + written, words) << "op " << i;
    EXPECT_GE(op.to, ops[0].to + ops[0].product.num_outputs) << "op " << i;
    for (size_t j = i + 1; j <= i + 2 && j + 1 < ops.size(); ++j)  // others may still be reading what op i wrote
      EXPECT_GE(std::abs(ops[j].to - op.to), ops[j + 1].is_attend ? 1 : written) << "ops " << i << ", " << j;
  }
  EXPECT_EQ(ops[0].from, -1);
  EXPECT_EQ(ops.back().stores, StepStores::plain);
}

// With four bits, however long: but gated rows, which no warp has by two. With e4m3 none.
TEST_F(StepPlan, WithFewerBitsRowsOfAttentionAndAddedOnesAreWords) {
  for (const int ffn : {1024, 12288}) {
    ASSERT_TRUE(plan({.cols = 4096, .ffn = ffn, .format = StreamFormat::int4}));
    const int64_t words = step_words(ops[1].attend);
    for (size_t i = 0; i + 1 < ops.size(); ++i) {
      const bool gated = !ops[i].is_attend && ops[i].product.output == StreamOutput::silu_mul;
      EXPECT_EQ(ops[i].stores, gated ? StepStores::plain : StepStores::words) << "op " << i;
      if (gated) {
        EXPECT_EQ(ops[i + 1].from, -1);
      }
      if (gated || ops[i + 1].is_attend) continue;
      EXPECT_EQ(ops[i + 1].from, ops[i].to) << "op " << i;
      EXPECT_LE(ops[i].to + 4096, words) << "op " << i;
    }
    EXPECT_EQ(ops.back().stores, StepStores::plain);
  }
  ASSERT_TRUE(plan({.cols = 5120, .format = StreamFormat::int4}));  // longer than a place
  EXPECT_EQ(ops[2].stores, StepStores::plain);
  ASSERT_TRUE(plan({.format = StreamFormat::fp8}));
  EXPECT_EQ(ops[2].stores, StepStores::plain);
  EXPECT_EQ(ops[3].from, -1);
}

// Else somebody would read what is not there yet, or wait for what nobody writes.
TEST_F(StepPlan, WordsAreReadByTheNextOpAloneWhichReadsNoMoreThanIsWritten) {
  const auto words = [&](size_t i) {
    EXPECT_TRUE(plan_step(ops, {}, 132, launch));
    EXPECT_EQ(ops[i].stores == StepStores::words, ops[i + 1].from >= 0);
    return ops[i].stores == StepStores::words;
  };
  ASSERT_TRUE(plan({}));
  ASSERT_TRUE(words(1) && words(2) && words(3) && words(4));
  ops[4].product.a = out.data();  // attention's result is read twice, the gated row by nobody
  EXPECT_FALSE(words(1) || words(3));
  ASSERT_TRUE(plan({}));
  ops[1].attend.ld_out += 64;
  EXPECT_FALSE(words(1));
  ASSERT_TRUE(plan({}));
  ops[3].product.ldy += 64;
  EXPECT_FALSE(words(3));
  ASSERT_TRUE(plan({}));
  ops[4].product.layout.row_blocks += 8;  // other blocks add to what op 2 has written
  EXPECT_FALSE(words(2));
  EXPECT_TRUE(words(1));
  ASSERT_TRUE(plan({}));
  ops[5].product.x = logits.data();  // and so nobody reads what op 4 adds but op 7, which adds to it
  EXPECT_FALSE(words(4));
  ASSERT_TRUE(plan({.cols = 2560, .ffn = 4096}));  // longer than a place
  EXPECT_TRUE(words(1) && words(3));
  EXPECT_FALSE(words(2) || words(4));
}

TEST_F(StepPlan, WeightsOfOneFormatAndAHeadOfBf16) {
  ASSERT_TRUE(plan({.format = StreamFormat::int4}));
  EXPECT_EQ(launch.format, StreamFormat::int4);
  ops[2].product.format = StreamFormat::fp8;
  EXPECT_FALSE(plan_step(ops, {}, 132, launch));
}

TEST_F(StepPlan, ItemsBringEveryByteOfATileOnce) {
  for (const StreamFormat format : {StreamFormat::bf16, StreamFormat::int4, StreamFormat::fp8})
    for (const int32_t ffn : {512, 1088, 4160}) {
      ASSERT_TRUE(plan({.layers = 1, .ffn = ffn, .format = format}));
      for (const StepOp& op : ops) {
        if (op.is_attend) continue;
        int64_t next = 0;
        for (int32_t slice = 0; slice < op.cut.slices; ++slice)
          for (int32_t chunk = 0; chunk < op.cut.num_chunks; ++chunk) {
            const int32_t bytes = op.cut.item_bytes(slice, chunk);
            if (bytes == 0) continue;
            EXPECT_EQ(op.cut.item_begin(slice, chunk), next);
            next += bytes;
          }
        EXPECT_EQ(next, op.cut.run_bytes);
        EXPECT_LE((op.cut.second_at > 0 ? 2 : 1) * op.cut.chunk_bytes, launch.item_bytes);
      }
    }
}

TEST_F(StepPlan, WhatCannotBeOneKernelIsToldApart) {
  EXPECT_TRUE(plan({}));
  EXPECT_FALSE(plan({.head_dim = 256}));           // no attention of that width
  EXPECT_FALSE(plan({.cols = 8192, .ffn = 512}));  // longer than what a row of the norm may be
  EXPECT_FALSE(plan({.cols = 510}));               // no multiple of four
  EXPECT_FALSE(plan({}, {.warps = 12}));
  EXPECT_FALSE(plan({.format = StreamFormat::fp8}, {.warps = 9}));
  ASSERT_TRUE(plan({.format = StreamFormat::int4}));
  ops[2].product.layout.row_blocks -= 1;  // a tile without its pair
  EXPECT_FALSE(plan_step(ops, {}, 132, launch));
  EXPECT_FALSE(plan({.ffn = 49152, .format = StreamFormat::int4}));  // more slices than warps
  ASSERT_TRUE(plan({}));
  ops.resize(2);  // attention comes last
  EXPECT_FALSE(plan_step(ops, {}, 132, launch));
  ops.resize(1);
  EXPECT_FALSE(plan_step(ops, {}, 132, launch));
}

TEST_F(StepPlan, ACacheOfE4m3LeavesNoLessRoomForTheRing) {
  ASSERT_TRUE(plan({.head_dim = 128}, {}, 67));
  const int32_t slots = launch.slots;
  EXPECT_FALSE(launch.fp8_cache);
  ASSERT_TRUE(plan({.head_dim = 128}, {}, 67, true));
  EXPECT_TRUE(launch.fp8_cache);
  EXPECT_GE(launch.slots, slots);
  ops[1].attend.kv.is_fp8 = !ops[1].attend.kv.is_fp8;  // not as the others
  EXPECT_FALSE(plan_step(ops, {}, 132, launch));
}

TEST(StepRing, LoaderAndWarpsAgreeOnEveryItemsPlace) { EXPECT_EQ(test_items(132), 0); }

TEST(StepRing, EveryWaitEndsAndEveryItemIsWhereItsWarpLooks) { EXPECT_EQ(test_play(), 0); }

TEST_F(StepPlan, ValuesLieApartWhereABlockHasSeveralTilesOrProductsAreShort) {
  const Shape longer{.ffn = 8192};
  ASSERT_TRUE(plan(longer, {}, 66));  // 132 tasks
  EXPECT_FALSE(launch.values_apart);
  const int32_t slots = launch.slots;
  ASSERT_TRUE(plan(longer, {}, 67));
  EXPECT_TRUE(launch.values_apart);
  EXPECT_LE(launch.slots, slots);
  ASSERT_TRUE(plan({}, {}, 4));
  EXPECT_TRUE(launch.values_apart);
}

}  // namespace
}  // namespace qwill::cuda
