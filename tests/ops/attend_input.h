// Steps for attend, and a backend's answer: ragged sequences of one batch on shuffled pages.
#pragma once

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/bounds.h"
#include "ops/rows.h"
#include "support/backends.h"

namespace qwill::test {

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
  bool rotated = true;  // else all rotary angles are zero: keys do not depend on their positions
};

inline RopeSettings rope_settings_of(int64_t head_dim) {
  return {plain_rope(head_dim, 1e6), yarn_rope(head_dim, 1e6,
                                               {.factor = 4,
                                                .beta_fast = 32,
                                                .beta_slow = 1,
                                                .attention_factor = 1.1386,
                                                .original_max_position_embeddings = 512,
                                                .truncate = true})};
}

inline Input random_input(uint64_t seed, const Heads& heads, int64_t page_size,
                          const std::vector<SequenceShape>& shapes, float weight_size) {
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
inline Rows run(Ops& ops, const Input& input) {
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
    RopeSettings rope = rope_settings_of(input.heads.head_dim);
    if (!input.rotated)
      for (RopeSetting& setting : rope) std::ranges::fill(setting.inv_freq, 0.0f);
    ops.begin_step(batch, rope);
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
inline double largest_score(const Input& input) {
  double q = 0, k = 0;
  for (const float w : input.q_weight) q = std::max<double>(q, std::abs(w));
  for (const float w : input.k_weight) k = std::max<double>(k, std::abs(w));
  return std::sqrt(static_cast<double>(input.heads.head_dim)) * q * k * 1.1386 * 1.1386;
}
inline double tolerance(const Input& input) {
  const int64_t D = input.heads.head_dim;
  double v = 0;
  for (const Rows* rows : {&input.history, &input.step})
    for (int64_t t = 0; t < rows->num; ++t)
      for (int64_t c = input.heads.row() - input.heads.kv_heads * D; c < input.heads.row(); ++c)
        v = std::max<double>(v, std::abs(rows->row(t)[static_cast<size_t>(c)]));
  const double score = largest_score(input) * (2 * sum_error(D) + 18 * kHalfUlp);
  return v * (2 * score + 2 * sum_error(128) + 40 * kHalfUlp);
}

inline void expect_close(const std::string& what, const Rows& got, const Rows& wanted, double allowed) {
  ASSERT_EQ(got.values.size(), wanted.values.size());
  for (int64_t t = 0; t < got.num; ++t)
    for (int64_t c = 0; c < got.cols; ++c)
      ASSERT_LE(std::abs(got.row(t)[static_cast<size_t>(c)] - wanted.row(t)[static_cast<size_t>(c)]), allowed)
          << fmt::format("{}: row {} column {}: got {:.9g}, wanted {:.9g} ± {:.2g}", what, t, c,
                         got.row(t)[static_cast<size_t>(c)], wanted.row(t)[static_cast<size_t>(c)], allowed);
}

inline const std::vector<Heads> kHeads = {{1, 2, 16},  {2, 2, 24},  {4, 1, 32}, {5, 1, 64},
                                          {8, 1, 128}, {4, 2, 128}, {2, 1, 256}};
// At the borders of pages, tiles and groups of tiles; one, a few and many rows of one step.
inline const std::vector<SequenceShape> kRagged = {
    {1, 1},    {127, 5},  {128, 1},  {129, 3, RopeKind::yarn},  {64, 64},   {1023, 1, RopeKind::yarn}, {1024, 2},
    {1025, 1}, {2100, 2}, {150, 90}, {300, 41, RopeKind::yarn}, {1030, 10},
};

}  // namespace qwill::test
