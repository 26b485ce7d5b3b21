// Caches of fewer bits: what is stored is the nearest number of the type, and what is read is what was stored.
#include <limits>

#include "ops/attend_input.h"

namespace qwill {
namespace {

using namespace test;

const float kNan = std::numeric_limits<float>::quiet_NaN();

// Keys and values that every type holds exactly: of 32 dimensions the first is 127 steps, which are a power of two.
Input exact_input(uint64_t seed, const Heads& heads, std::vector<SequenceShape> shapes) {
  for (SequenceShape& shape : shapes) shape.rope = RopeKind::plain;  // YaRN would scale them
  Input input = random_input(seed, heads, 64, shapes, 1.5f);
  input.rotated = false;
  Random random(seed + 1);
  const auto steps = [&](int64_t d, int64_t least) {
    const auto size = static_cast<float>(d % kKvScaleDims == 0 ? 127 : random.between(least, 127));
    return random.below(2) == 0 ? size : -size;
  };
  for (int64_t d = 0; d < heads.head_dim; ++d) input.k_weight[static_cast<size_t>(d)] = steps(d, 1) / 64;
  const int64_t k_first = heads.group * heads.kv_heads * heads.head_dim,
                v_first = k_first + heads.kv_heads * heads.head_dim;
  for (Rows* rows : {&input.history, &input.step})
    for (int64_t t = 0; t < rows->num; ++t) {
      for (int64_t c = k_first; c < v_first; ++c)
        rows->at(t, c) = random.below(2) == 0 ? 1.0f : -1.0f;  // its norm is 1
      for (int64_t c = v_first; c < heads.row(); ++c) rows->at(t, c) = steps((c - v_first) % heads.head_dim, 0) / 128;
    }
  return input;
}

class AttendCaches : public BackendTest {};

// The norm's epsilon, 1e-6, takes half of it off each key, and rounding puts it back.
TEST_P(AttendCaches, ReadWhatWasStored) {
  if (!is_cpu(GetParam())) GTEST_SKIP() << "rounds more than the cache";
  const auto ops = make_backend(GetParam()), reference = make_backend("reference");
  for (const Heads& heads :
       {Heads{1, 2, 16}, {2, 2, 24}, {3, 1, 32}, {5, 1, 64}, {6, 1, 80}, {4, 2, 128}, {2, 1, 256}}) {
    Input input = exact_input(3, heads, kRagged);
    const Rows wanted = run(*reference, input);
    for (const DType dtype : cache_dtypes(GetParam())) {
      for (const int64_t page_size : {64, 128}) {
        input.cache = dtype;
        input.page_size = page_size;
        expect_close(fmt::format("{}: {} x {} heads of {}, pages of {}", dtype_name(dtype), heads.group, heads.kv_heads,
                                 heads.head_dim, page_size),
                     run(*ops, input), wanted, tolerance(input) + 1e-6 * largest_score(input));
      }
      input.page_size = 64;
    }
  }
}

// A sequence of one key: its probability is 1, and the answer is the value as it was stored.
TEST_P(AttendCaches, KeepTheNearestNumber) {
  if (!is_cpu(GetParam())) GTEST_SKIP() << "rounds more than the cache";
  const auto ops = make_backend(GetParam());
  constexpr int64_t kRows = 300, kDim = 80;
  Input input = random_input(4, {1, 1, kDim}, 64, std::vector<SequenceShape>(kRows, {1, 1}), 1);
  Random random(5);
  for (int64_t t = 0; t < kRows; ++t)
    for (int64_t d = 0; d < kDim; ++d) {  // of all sizes, subnormal ones of f16 too; some blocks are zero
      const float size = std::exp2(random.uniform(-30, 15));
      input.step.at(t, 2 * kDim + d) = t == 0 ? 0.0f : size * (random.below(2) == 0 ? 1.0f : -1.0f);
    }
  const auto value = [&](int64_t t, int64_t d) { return input.step.row(t)[static_cast<size_t>(2 * kDim + d)]; };
  for (const DType dtype : cache_dtypes(GetParam())) {
    input.cache = dtype;
    const Rows got = run(*ops, input);
    for (int64_t t = 0; t < kRows; ++t)
      for (int64_t d = 0; d < kDim; ++d) {
        const float v = value(t, d), kept = got.row(t)[static_cast<size_t>(d)];
        const auto where = [&] { return fmt::format("{}: {:.9g} was kept as {:.9g}", dtype_name(dtype), v, kept); };
        if (dtype == DType::bf16) {
          ASSERT_EQ(kept, to_float(to_bf16(v))) << where();
        } else if (dtype == DType::f16) {
          const float step = std::exp2(std::max(std::floor(std::log2(std::abs(v))), -14.0f) - 10);
          ASSERT_EQ(std::fmod(kept, step), 0.0f) << where();
          ASSERT_LE(std::abs(kept - v), step / 2) << where();
        } else {
          float largest = 0;
          for (int64_t i = d / kKvScaleDims * kKvScaleDims; i < std::min(kDim, (d / kKvScaleDims + 1) * kKvScaleDims);
               ++i)
            largest = std::max(largest, std::abs(value(t, i)));
          // Half a step, which is rounded up by at most 2^-7; a few roundings of f32 decide near the middle.
          ASSERT_LE(std::abs(kept - v), largest / 254 * (1 + 0x1p-7f) * (1 + 0x1p-14f)) << where();
        }
      }
  }
}

TEST_P(AttendCaches, LargeValuesSaturateAndNansStay) {
  if (!is_cpu(GetParam())) GTEST_SKIP() << "has its own kernels";
  const auto ops = make_backend(GetParam());
  Input input = random_input(6, {1, 1, 64}, 64, std::vector<SequenceShape>(4, {1, 1}), 1);
  for (int64_t d = 128; d < 192; ++d) {
    input.step.at(0, d) = 70000;
    input.step.at(1, d) = -1e30f;
    input.step.at(2, d) = kNan;
  }
  for (const DType dtype : cache_dtypes(GetParam())) {
    input.cache = dtype;
    const Rows got = run(*ops, input);
    for (size_t d = 0; d < 64; ++d) {
      EXPECT_NEAR(got.row(0)[d], dtype == DType::f16 ? 65504 : 70000, 70000 * 0x1p-8);
      EXPECT_NEAR(got.row(1)[d], dtype == DType::f16 ? -65504 : -1e30, dtype == DType::f16 ? 0 : 1e30 * 0x1p-7);
      EXPECT_TRUE(std::isnan(got.row(2)[d])) << dtype_name(dtype);
      EXPECT_LE(std::abs(got.row(3)[d]), 1.0f);
    }
  }
}

// Relative to the answers' mean size: a value's mean rounding error, and about as much again by the scores.
TEST_P(AttendCaches, AreCloseOnAverage) {
  const auto ops = make_backend(GetParam());
  for (const Heads& heads : kHeads) {
    if (heads.head_dim > max_head_dim(GetParam()) || cache_dtypes(GetParam()).empty()) continue;
    Input input = random_input(5, heads, 64, kRagged, 1.0f);
    const Rows wanted = run(*make_backend("reference"), input);
    for (const DType dtype : cache_dtypes(GetParam())) {
      input.cache = dtype;
      const Rows got = run(*ops, input);
      double off = 0, size = 0;
      for (size_t i = 0; i < got.values.size(); ++i) {
        off += std::abs(got.values[i] - wanted.values[i]);
        size += std::abs(wanted.values[i]);
      }
      const double most = dtype == DType::f16 ? 0x1p-10 : dtype == DType::f8_e4m3 ? 0x1p-4 : 0x1p-7;
      EXPECT_LE(off, most * size) << dtype_name(dtype) << ": " << heads.group << " x " << heads.kv_heads << " heads of "
                                  << heads.head_dim;
      EXPECT_GT(off, 0x1p-7 * most * size) << "nothing was rounded";
    }
  }
}

// With queries of zero the answer is the plain mean of the values, integers here: as it is with a cache of f32, which
// Attend.SeesExactlyTheKeysBefore checks.
TEST_P(AttendCaches, SeeExactlyTheKeysBefore) {
  if (!is_cpu(GetParam())) GTEST_SKIP() << "rounds more than the cache";
  const auto ops = make_backend(GetParam());
  std::vector<SequenceShape> shapes = kRagged;
  for (int64_t keys = 1; keys <= 140; ++keys) shapes.push_back({keys, 1 + keys % 5 % keys});
  for (const Heads& heads : {Heads{1, 1, 16}, {3, 1, 64}, {6, 1, 128}}) {
    Input input = exact_input(7, heads, shapes);
    const int64_t q_cols = heads.group * heads.head_dim, v_first = q_cols + heads.head_dim;
    for (Rows* rows : {&input.history, &input.step})
      for (int64_t t = 0; t < rows->num; ++t) {
        for (int64_t c = 0; c < q_cols; ++c) rows->at(t, c) = 0;
        for (int64_t c = v_first; c < heads.row(); ++c) rows->at(t, c) *= 128;
      }
    const Rows wanted = run(*ops, input);
    for (const DType dtype : cache_dtypes(GetParam())) {
      input.cache = dtype;
      EXPECT_EQ(run(*ops, input).values, wanted.values) << dtype_name(dtype);
    }
  }
}

// Alone, with its predecessors long stored, or as one of many rows of a mixed step: whatever the blocks of queries.
TEST_P(AttendCaches, BitsDoNotDependOnTheBatch) {
  if (!is_cpu(GetParam())) GTEST_SKIP() << "see tests/model/test_determinism.cpp";
  const auto ops = make_backend(GetParam());
  for (const Heads& heads : {Heads{1, 2, 32}, {2, 2, 48}, {5, 1, 64}, {8, 1, 128}}) {
    Input all = random_input(8, heads, 64, {{70, 5}, {300, 41}, {1030, 10}}, 1.5f);
    all.rotated = false;
    std::vector<DType> dtypes = cache_dtypes(GetParam());
    dtypes.push_back(DType::f32);
    for (const DType dtype : dtypes) {
      all.cache = dtype;
      const Rows together = run(*ops, all);
      int64_t history = 0, step = 0;
      for (const SequenceShape& shape : all.shapes) {
        for (const int64_t row : {int64_t{0}, shape.num_rows / 2, shape.num_rows - 1}) {
          Input one = all;
          one.shapes = {{shape.num_keys - shape.num_rows + row + 1, 1}};
          one.history = all.history.slice(history, shape.num_keys - shape.num_rows).with(all.step.slice(step, row));
          one.step = all.step.slice(step + row, 1);
          ASSERT_TRUE(std::ranges::equal(run(*ops, one).row(0), together.row(step + row)))
              << dtype_name(dtype) << ", group of " << heads.group << ", row " << row << " of " << shape.num_rows;
        }
        history += shape.num_keys - shape.num_rows;
        step += shape.num_rows;
      }
    }
  }
}

// Long sequences are cut where there are more threads than KV heads.
TEST_P(AttendCaches, BitsDoNotDependOnTheThreads) {
  std::vector<DType> dtypes = cache_dtypes(GetParam());
  dtypes.push_back(DType::f32);
  for (const std::vector<SequenceShape>& shapes :
       {std::vector<SequenceShape>{{5000, 1}}, {{1025, 1}, {3000, 1}, {40, 1}, {2048, 1}}, {{2049, 1}, {1500, 70}}}) {
    for (const Heads& heads : {Heads{2, 1, 64}, {4, 2, 128}}) {
      Input input = random_input(9, heads, 64, shapes, 1);
      for (const DType dtype : dtypes) {
        input.cache = dtype;
        const Rows wanted = run(*make_backend(GetParam(), 1), input);
        for (const int threads : {2, 3, 7})
          EXPECT_EQ(run(*make_backend(GetParam(), threads), input).values, wanted.values)
              << dtype_name(dtype) << ", " << threads << " threads, " << shapes.size() << " sequences";
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Ops, AttendCaches, testing::ValuesIn(test::backends()), test::backend_test_name);

}  // namespace
}  // namespace qwill
