// embed and take_rows of every backend: rows as they are stored, bit for bit.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include "ops/bounds.h"
#include "ops/rows.h"
#include "support/backends.h"

namespace qwill {
namespace {

using test::Random;
using test::Rows;

// One sequence of so many rows.
Batch batch_of(int64_t num_rows) {
  const auto rows = static_cast<size_t>(num_rows);
  Batch batch;
  batch.tokens.assign(rows, 0);
  batch.draw_source.assign(rows, Batch::kFromHost);
  batch.positions.assign(rows, 0);
  batch.slots.assign(rows, 0);
  batch.row_begin = {0, static_cast<int32_t>(num_rows)};
  batch.seq_lens = {static_cast<int32_t>(num_rows)};
  batch.rope = {RopeKind::plain};
  batch.cache_namespace = {0};
  batch.adapter = {0};
  batch.page_table = {0};
  batch.max_pages = 1;
  return batch;
}

class Gather : public test::BackendTest {};

TEST_P(Gather, EmbeddingsAreTheStoredRows) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    for (const Compute compute : {Compute::f32, Compute::bf16}) {
      for (const int64_t cols : {1, 7, 32, 72}) {
        Random random(static_cast<uint64_t>(cols));
        const auto ops = test::make_backend(GetParam());
        std::vector<test::StoredMatrix> segments;
        for (const int64_t rows : {3, 1, 9}) segments.push_back(test::random_matrix(random, rows, cols, dtype, -4, 4));
        const test::StoredWeight stored(std::move(segments), compute);
        const Weight table = stored.place(*ops);
        for (const int64_t num_rows : {0, 1, 2, 40}) {
          Batch batch = batch_of(num_rows);
          for (int32_t& token : batch.tokens) token = static_cast<int32_t>(random.below(13));
          ops->begin_step(batch, {plain_rope(16, 1e4), {}});
          const Tensor x = ops->embed(batch, table);
          ASSERT_EQ(x.rows, num_rows);
          ASSERT_EQ(x.cols, cols);
          const auto got = ops->to_host(x);
          for (int64_t t = 0; t < num_rows; ++t) {
            const std::span<const double> wanted = stored.row(batch.tokens[static_cast<size_t>(t)]);
            for (int64_t c = 0; c < cols; ++c)
              ASSERT_EQ(got[static_cast<size_t>(t * cols + c)], wanted[static_cast<size_t>(c)]) << fmt::format(
                  "{} row {} (token {}) column {}", dtype_name(dtype), t, batch.tokens[static_cast<size_t>(t)], c);
          }
        }
      }
    }
  }
}

TEST_P(Gather, TakenRowsAreCopies) {
  Random random(1);
  const auto ops = test::make_backend(GetParam());
  Rows x = Rows::random(random, 9, 31);
  for (const std::vector<int32_t>& rows : {std::vector<int32_t>{}, {8}, {0, 0, 5}, {8, 7, 6, 5, 4, 3, 2, 1, 0, 0}}) {
    Batch batch = batch_of(9);
    batch.logit_rows = rows;
    ops->begin_step(batch, {plain_rope(16, 1e4), {}});
    const Tensor taken = ops->take_rows(ops->to_device(x.tensor()), rows);
    ASSERT_EQ(taken.rows, static_cast<int64_t>(rows.size()));
    const auto got = ops->to_host(taken);
    for (size_t r = 0; r < rows.size(); ++r)
      EXPECT_TRUE(std::ranges::equal(got.subspan(r * 31, 31), x.row(rows[r]))) << "row " << rows[r];
  }
}

INSTANTIATE_TEST_SUITE_P(Ops, Gather, testing::ValuesIn(test::backends()), test::backend_test_name);

}  // namespace
}  // namespace qwill
