// attend of every backend: ragged sequences of one batch on shuffled pages, all groupings of heads, both rotary kinds.
#include <limits>
#include <map>

#include "ops/attend_input.h"

namespace qwill {
namespace {

using namespace test;

class Attend : public test::BackendTest {};

TEST_P(Attend, IsCloseToTheReference) {
  if (GetParam() == "reference") GTEST_SKIP() << "the reference itself";
  const auto ops = test::make_backend(GetParam());
  for (size_t h = 0; h < kHeads.size(); ++h) {
    const Heads& heads = kHeads[h];
    if (heads.head_dim > test::max_head_dim(GetParam())) continue;
    for (const int64_t page_size : {64, 128}) {
      const Input input = random_input(5, heads, page_size, kRagged, 1.5f);
      static std::map<size_t, Rows> answers;  // of the reference, slow: once for all backends and page sizes
      if (!answers.contains(h)) answers.emplace(h, run(*test::make_backend("reference"), input));
      expect_close(
          fmt::format("{} x {} heads of {}, pages of {}", heads.group, heads.kv_heads, heads.head_dim, page_size),
          run(*ops, input), answers.at(h), tolerance(input));
    }
  }
}

// With queries of zero all scores are equal: the answer is the plain mean of the values seen. The values are small
// integers, so sums are exact and only the quotient rounds: not one key too many or too few at any length.
TEST_P(Attend, SeesExactlyTheKeysBefore) {
  const auto ops = test::make_backend(GetParam());
  std::vector<SequenceShape> shapes = kRagged;
  for (int64_t keys = 1; keys <= 140; ++keys) shapes.push_back({keys, 1 + keys % 5 % keys});
  for (const Heads& heads : {Heads{1, 1, 16}, {2, 2, 24}, {5, 1, 32}}) {
    for (const int64_t page_size : {64, 128}) {
      Input input = random_input(6, heads, page_size, shapes, 1);
      const int64_t q_cols = heads.group * heads.kv_heads * heads.head_dim,
                    v_first = heads.row() - heads.kv_heads * heads.head_dim;
      Random random(9);
      for (Rows* rows : {&input.history, &input.step})
        for (int64_t t = 0; t < rows->num; ++t) {
          for (int64_t c = 0; c < q_cols; ++c) rows->at(t, c) = 0;
          for (int64_t c = v_first; c < heads.row(); ++c)
            rows->at(t, c) = static_cast<float>(random.between(-999, 999));
        }
      const Rows got = run(*ops, input);
      int64_t history = 0, row = 0;
      for (const auto& [num_keys, num_rows, rope] : shapes) {
        for (int64_t kv_head = 0; kv_head < heads.kv_heads; ++kv_head)
          for (int64_t d = 0; d < heads.head_dim; ++d) {
            const int64_t column = v_first + kv_head * heads.head_dim + d;
            double sum = 0;
            for (int64_t key = 0; key < num_keys - num_rows; ++key) sum += input.history.at(history + key, column);
            for (int64_t i = 0; i < num_rows; ++i) {
              sum += input.step.at(row + i, column);
              const auto wanted = static_cast<float>(sum / static_cast<double>(num_keys - num_rows + i + 1));
              for (int64_t h = kv_head * heads.group; h < (kv_head + 1) * heads.group; ++h)
                ASSERT_EQ(got.row(row + i)[static_cast<size_t>(h * heads.head_dim + d)], wanted)
                    << fmt::format("position {} of {} keys, head {} of {}, dimension {}, pages of {}",
                                   num_keys - num_rows + i, num_keys, h, heads.group * heads.kv_heads, d, page_size);
            }
          }
        history += num_keys - num_rows;
        row += num_rows;
      }
    }
  }
}

// Scores of thousands: one key takes all.
TEST_P(Attend, HugeScoresStayFinite) {
  const auto ops = test::make_backend(GetParam()), reference = test::make_backend("reference");
  for (const float size : {10.0f, 100.0f}) {
    Input input = random_input(8, {2, 1, 64}, 64, {{130, 7}, {1, 1}, {1100, 3}}, size);
    const Rows got = run(*ops, input);
    for (const float value : got.values) ASSERT_TRUE(std::isfinite(value));
    // Values lie in [-1, 1]; the score's error may exceed what decides between two keys, but never on average.
    const Rows wanted = run(*reference, input);
    double off = 0;
    for (size_t i = 0; i < got.values.size(); ++i) off += std::abs(got.values[i] - wanted.values[i]);
    EXPECT_LE(off / static_cast<double>(got.values.size()), tolerance(input)) << "norm weights up to " << size;
  }
}

// A sequence that is no number, or whose values overflowed, leaves its neighbours' bits alone and ends.
TEST_P(Attend, ASequenceThatIsNotFiniteSpoilsNoOther) {
  const auto ops = test::make_backend(GetParam());
  const std::vector<SequenceShape> shapes = {{70, 5}, {140, 9}, {200, 1}};
  const Input clean = random_input(11, {4, 1, 32}, 64, shapes, 1);
  const Rows wanted = run(*ops, clean);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), -3e38f}) {
    Input input = clean;
    for (int64_t c = 0; c < input.heads.row(); ++c) input.step.at(7, c) = bad;  // row 2 of the second sequence
    Rows got = run(*ops, input);
    if (std::isnan(bad)) {
      for (int64_t t = 7; t < 14; ++t)  // it and those behind it, which see its key
        for (const float value : got.row(t)) EXPECT_TRUE(std::isnan(value)) << "row " << t;
    }
    for (int64_t t = 0; t < got.num; ++t)
      EXPECT_TRUE((t >= 5 && t < 14) || std::ranges::equal(got.row(t), wanted.row(t)))
          << "row " << t << " beside " << bad;
  }
}

TEST_P(Attend, BitsDoNotDependOnThePages) {
  const auto ops = test::make_backend(GetParam());
  Input input = random_input(12, {4, 1, 32}, 64, kRagged, 1);
  const Rows wanted = run(*ops, input);
  for (const uint64_t seed : {2, 3}) {
    input.page_seed = seed;
    EXPECT_EQ(run(*ops, input).values, wanted.values);
  }
  input.page_size = 128;
  EXPECT_EQ(run(*ops, input).values, wanted.values) << "pages of 128";
}

INSTANTIATE_TEST_SUITE_P(Ops, Attend, testing::ValuesIn(test::backends()), test::backend_test_name);

}  // namespace
}  // namespace qwill
