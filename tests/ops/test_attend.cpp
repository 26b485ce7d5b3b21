// attend of every backend: ragged sequences of one batch on shuffled pages, all groupings of heads, both rotary kinds.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "ops/bounds.h"
#include "ops/rows.h"
#include "support/backends.h"

namespace qwill {
namespace {

using test::kHalfUlp;
using test::Random;
using test::Rows;

struct Heads {
  int64_t group, kv_heads, head_dim;
  int64_t row() const { return (group + 2) * kv_heads * head_dim; }
};

struct SequenceShape {
  int64_t num_keys;  // with the rows of this step
  int64_t num_rows;  // of this step: the last ones
  RopeKind rope = RopeKind::plain;
};

// Sequences and the pages that hold them.
class Pages {
 public:
  Pages(Random& random, const std::vector<SequenceShape>& shapes, int64_t page_size)
      : shapes_(shapes), page_size_(page_size) {
    int64_t num_pages = 3;  // some stay unused
    for (const SequenceShape& shape : shapes) num_pages += pages_of(shape);
    for (int64_t page = 0; page < num_pages; ++page) free_.push_back(static_cast<int32_t>(page));
    random.shuffle(free_);
    auto next = free_.begin();
    for (const SequenceShape& shape : shapes) {
      pages_.emplace_back(next, next + pages_of(shape));
      next += pages_of(shape);
    }
  }

  int64_t num_pages() const { return static_cast<int64_t>(free_.size()); }

  // The keys before this step's rows, each as a sequence of its own at position 0: stored as they are, at no cost.
  Batch history() const {
    Batch batch;
    batch.row_begin.push_back(0);
    for (size_t s = 0; s < shapes_.size(); ++s)
      for (int64_t key = 0; key < shapes_[s].num_keys - shapes_[s].num_rows; ++key)
        add_sequence(batch, s, 0, 1, RopeKind::plain, key);
    finish(batch);
    return batch;
  }
  Batch step() const {
    Batch batch;
    batch.row_begin.push_back(0);
    for (size_t s = 0; s < shapes_.size(); ++s) {
      const auto& [keys, rows, rope] = shapes_[s];
      add_sequence(batch, s, keys - rows, rows, rope, keys - rows);
    }
    finish(batch);
    return batch;
  }

 private:
  int64_t pages_of(const SequenceShape& shape) const { return (shape.num_keys + page_size_ - 1) / page_size_; }

  void add_sequence(Batch& batch, size_t s, int64_t position, int64_t rows, RopeKind rope, int64_t key) const {
    for (int64_t i = 0; i < rows; ++i) {
      batch.tokens.push_back(0);
      batch.draw_source.push_back(Batch::kFromHost);
      batch.positions.push_back(static_cast<int32_t>(position + i));
      batch.slots.push_back(static_cast<int32_t>(pages_[s][static_cast<size_t>((key + i) / page_size_)] * page_size_ +
                                                 (key + i) % page_size_));
    }
    batch.row_begin.push_back(static_cast<int32_t>(batch.num_rows()));
    batch.seq_lens.push_back(static_cast<int32_t>(position + rows));
    batch.rope.push_back(rope);
    batch.cache_namespace.push_back(0);
    batch.adapter.push_back(0);
    batch.max_pages = std::max(batch.max_pages, (position + rows + page_size_ - 1) / page_size_);
    tables_.push_back(s);
  }
  void finish(Batch& batch) const {
    for (const size_t s : tables_)
      for (int64_t i = 0; i < batch.max_pages; ++i)
        batch.page_table.push_back(i < static_cast<int64_t>(pages_[s].size()) ? pages_[s][static_cast<size_t>(i)] : 0);
    tables_.clear();
  }

  std::vector<SequenceShape> shapes_;
  int64_t page_size_;
  std::vector<int32_t> free_;
  std::vector<std::vector<int32_t>> pages_;
  mutable std::vector<size_t> tables_;  // which sequence's pages each sequence of the batch in the making has
};

struct Input {
  Heads heads;
  int64_t page_size;
  std::vector<SequenceShape> shapes;
  std::vector<float> q_weight, k_weight;
  Rows history, step;  // [T, (H + 2 KV) D]
  uint64_t page_seed = 1;
  DType cache = DType::f32;
};

RopeSettings rope_settings_of(int64_t head_dim) {
  return {plain_rope(head_dim, 1e6), yarn_rope(head_dim, 1e6,
                                               {.factor = 4,
                                                .beta_fast = 32,
                                                .beta_slow = 1,
                                                .attention_factor = 1.1386,
                                                .original_max_position_embeddings = 512,
                                                .truncate = true})};
}

Input random_input(uint64_t seed, const Heads& heads, int64_t page_size, const std::vector<SequenceShape>& shapes,
                   float weight_size) {
  Random random(seed);
  int64_t history = 0, step = 0;
  for (const SequenceShape& shape : shapes) {
    history += shape.num_keys - shape.num_rows;
    step += shape.num_rows;
  }
  return {heads,
          page_size,
          shapes,
          random.floats(heads.head_dim, 0.3f * weight_size, weight_size),
          random.floats(heads.head_dim, 0.3f * weight_size, weight_size),
          Rows::random(random, history, heads.row(), -1, 1),
          Rows::random(random, step, heads.row(), -1, 1)};
}

// The step's answer, [T, H D].
Rows run(Ops& ops, const Input& input) {
  Random random(input.page_seed);
  const Pages pages(random, input.shapes, input.page_size);
  const KvGeometry geometry{.num_layers = 2,
                            .num_kv_heads = input.heads.kv_heads,
                            .head_dim = input.heads.head_dim,
                            .page_size = input.page_size,
                            .num_pages = pages.num_pages(),
                            .dtype = input.cache};
  PagedKv kv = ops.allocate_kv(geometry);
  const auto norm = [&](const std::vector<float>& weight) {
    const WeightSource source{weight.data(), DType::f32, 1, static_cast<int64_t>(weight.size())};
    return Norm{ops.place({&source, 1}, WeightUse::vector, Compute::f32), 1e-6f};
  };
  const Norm q_norm = norm(input.q_weight), k_norm = norm(input.k_weight);
  Tensor out;
  for (const auto& [batch, given] : {std::pair{pages.history(), input.history}, {pages.step(), input.step}}) {
    if (given.num == 0) continue;
    Rows qkv = given;  // a backend may use its input as room for work
    ops.begin_step(batch, rope_settings_of(input.heads.head_dim));
    out = ops.attend(ops.to_device(qkv.tensor()), q_norm, k_norm, batch, kv[1]);
  }
  Rows result(out.rows, out.cols);
  std::ranges::copy(ops.to_host(out), result.values.begin());
  ops.free_kv(kv);
  return result;
}

// How far float32 may lie from the reference. A score: D products of normed, rotated values (the norm's error counts
// twice, three roundings each for rotation), bounded by Cauchy-Schwarz. A probability follows the score's error twice
// (its own and the sum's); sums run over 128 keys, then over tiles.
double tolerance(const Input& input) {
  const int64_t D = input.heads.head_dim;
  double q = 0, k = 0, v = 0;
  for (const float w : input.q_weight) q = std::max<double>(q, std::abs(w));
  for (const float w : input.k_weight) k = std::max<double>(k, std::abs(w));
  for (const Rows* rows : {&input.history, &input.step})
    for (int64_t t = 0; t < rows->num; ++t)
      for (int64_t c = input.heads.row() - input.heads.kv_heads * D; c < input.heads.row(); ++c)
        v = std::max<double>(v, std::abs(rows->row(t)[static_cast<size_t>(c)]));
  const double largest = std::sqrt(static_cast<double>(D)) * q * k * 1.1386 * 1.1386;
  const double score = largest * (2 * test::sum_error(D) + 18 * kHalfUlp);
  return v * (2 * score + 2 * test::sum_error(128) + 40 * kHalfUlp);
}

void expect_close(const std::string& what, const Rows& got, const Rows& wanted, double allowed) {
  ASSERT_EQ(got.values.size(), wanted.values.size());
  for (int64_t t = 0; t < got.num; ++t)
    for (int64_t c = 0; c < got.cols; ++c)
      ASSERT_LE(std::abs(got.row(t)[static_cast<size_t>(c)] - wanted.row(t)[static_cast<size_t>(c)]), allowed)
          << fmt::format("{}: row {} column {}: got {:.9g}, wanted {:.9g} ± {:.2g}", what, t, c,
                         got.row(t)[static_cast<size_t>(c)], wanted.row(t)[static_cast<size_t>(c)], allowed);
}

const std::vector<Heads> kHeads = {{1, 2, 16},  {2, 2, 24},  {4, 1, 32}, {5, 1, 64},
                                   {8, 1, 128}, {4, 2, 128}, {2, 1, 256}};
// At the borders of pages, tiles and groups of tiles; one, a few and many rows of one step.
const std::vector<SequenceShape> kRagged = {
    {1, 1},    {127, 5},  {128, 1},  {129, 3, RopeKind::yarn},  {64, 64},   {1023, 1, RopeKind::yarn}, {1024, 2},
    {1025, 1}, {2100, 2}, {150, 90}, {300, 41, RopeKind::yarn}, {1030, 10},
};

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

// A cache of bf16 rounds keys and values, and the products' operands with them: on average that is little.
TEST_P(Attend, ABf16CacheIsCloseOnAverage) {
  if (!test::has_bf16_cache(GetParam())) GTEST_SKIP() << GetParam() << " keeps its cache in f32";
  const auto ops = test::make_backend(GetParam());
  for (const Heads& heads : kHeads) {
    if (heads.head_dim > test::max_head_dim(GetParam())) continue;
    Input input = random_input(5, heads, 64, kRagged, 1.0f);
    const Rows wanted = run(*test::make_backend("reference"), input);
    input.cache = DType::bf16;
    const Rows got = run(*ops, input);
    double off = 0, size = 0;
    for (size_t i = 0; i < got.values.size(); ++i) {
      off += std::abs(got.values[i] - wanted.values[i]);
      size += std::abs(wanted.values[i]);
    }
    EXPECT_LE(off, 0x1p-7 * size) << heads.group << " x " << heads.kv_heads << " heads of " << heads.head_dim;
    EXPECT_GT(off, 0x1p-14 * size) << "nothing was rounded";
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
