// A cache of e4m3: what is stored is rounded once, to the nearest, and what is read is what was stored; on the
// reference and on every kind of kernel for cards.
#include <limits>

#include "ops/attend_input.h"
#include "tensor/fp8.h"

namespace qwill {
namespace {

using namespace test;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

class AttendFp8 : public BackendTest {
 protected:
  void SetUp() override {
    BackendTest::SetUp();
    if (!has_fp8_cache(GetParam())) GTEST_SKIP() << "has no such cache";
  }
};

// Beside the reference's own: queries and probabilities rounded to f16, the result to bf16.
double device_tolerance(const Input& input, float largest_value) {
  return tolerance(input) + static_cast<double>(largest_value) * (0x1p-8 + largest_score(input) * 0x1p-10 + 0x1p-10);
}

// Keys and values that are numbers of e4m3: the norm's epsilon takes half of 1e-6 off each key, and rounding puts it
// back. With a cache of f32 the answer would be the same.
TEST_P(AttendFp8, ReadsWhatWasStored) {
  const auto ops = make_backend(GetParam()), reference = make_backend("reference");
  for (const Heads& heads : {Heads{1, 2, 16}, {2, 2, 24}, {5, 1, 64}, {6, 1, 80}, {4, 2, 128}}) {
    std::vector<SequenceShape> shapes = kRagged;
    for (SequenceShape& shape : shapes) shape.rope = RopeKind::plain;
    Input input = random_input(3, heads, 64, shapes, 1.5f);
    input.rotated = false;
    for (float& weight : input.k_weight) weight = round_to_e4m3(weight);
    Random random(4);
    const int64_t k_first = heads.group * heads.kv_heads * heads.head_dim,
                  v_first = k_first + heads.kv_heads * heads.head_dim;
    for (Rows* rows : {&input.history, &input.step})
      for (int64_t t = 0; t < rows->num; ++t) {
        for (int64_t c = k_first; c < v_first; ++c) rows->at(t, c) = random.below(2) == 0 ? 1.0f : -1.0f;  // norm 1
        for (int64_t c = v_first; c < heads.row(); ++c) rows->at(t, c) = round_to_e4m3(rows->at(t, c));
      }
    const Rows wanted = run(*reference, input);
    input.cache = DType::f8_e4m3;
    for (const int64_t page_size : {64, 128}) {
      input.page_size = page_size;
      expect_close(
          fmt::format("{} x {} heads of {}, pages of {}", heads.group, heads.kv_heads, heads.head_dim, page_size),
          run(*ops, input), wanted, device_tolerance(input, 1) + 1e-6 * largest_score(input));
    }
  }
}

// The first row of a sequence sees one key: its probability is 1, and the answer is the value as it was stored. One row
// and two take different kernels.
TEST_P(AttendFp8, KeepsTheNearestNumber) {
  const auto ops = make_backend(GetParam());
  constexpr int64_t kSequences = 150, kDim = 80;
  for (const int64_t num_rows : {1, 2}) {
    Input input = random_input(4, {1, 1, kDim}, 64, std::vector<SequenceShape>(kSequences, {num_rows, num_rows}), 1);
    input.cache = DType::f8_e4m3;
    Random random(5);
    for (int64_t s = 0; s < kSequences; ++s)
      for (int64_t d = 0; d < kDim; ++d) {  // of all sizes, subnormal and too large ones too, and ties
        float& value = input.step.at(s * num_rows, 2 * kDim + d);
        value = std::exp2(random.uniform(-12, 11)) * (random.below(2) == 0 ? 1.0f : -1.0f);
        if (d % 3 == 0) value = std::ldexp(static_cast<float>(random.between(-31, 31)), static_cast<int>(d / 10 - 4));
        if (s == 7) value = d % 2 == 0 ? std::numeric_limits<float>::infinity() : -1e30f;
        if (s == 9) value = kNan;
      }
    const Rows got = run(*ops, input);
    for (int64_t s = 0; s < kSequences; ++s)
      for (int64_t d = 0; d < kDim; ++d) {
        const float value = input.step.at(s * num_rows, 2 * kDim + d),
                    kept = got.row(s * num_rows)[static_cast<size_t>(d)];
        if (std::isnan(value))
          ASSERT_TRUE(std::isnan(kept)) << s << ", " << d;
        else
          ASSERT_EQ(kept, round_to_e4m3(value)) << fmt::format("sequence {}, {:.9g}", s, value);
      }
  }
}

// A key that is rounded moves the scores: by as much on a card as in the reference, on average.
TEST_P(AttendFp8, KeysAreRoundedAlike) {
  if (GetParam() == "reference") GTEST_SKIP() << "the reference itself";
  const auto ops = make_backend(GetParam()), reference = make_backend("reference");
  for (const Heads& heads : {Heads{4, 1, 64}, {4, 2, 128}}) {
    Input input = random_input(6, heads, 64, kRagged, 2.0f);
    const Rows exact = run(*reference, input);
    input.cache = DType::f8_e4m3;
    const Rows wanted = run(*reference, input), got = run(*ops, input);
    double off = 0, moved = 0;
    for (size_t i = 0; i < got.values.size(); ++i) {
      off += std::abs(got.values[i] - wanted.values[i]);
      moved += std::abs(exact.values[i] - wanted.values[i]);
    }
    EXPECT_LT(off, 0.15 * moved) << heads.head_dim;
  }
}

// With queries of zero all scores are equal: the answer is the plain mean of the values seen.
TEST_P(AttendFp8, SeesExactlyTheKeysBefore) {
  const auto ops = make_backend(GetParam());
  std::vector<SequenceShape> shapes = kRagged;
  for (int64_t keys = 1; keys <= 140; ++keys) shapes.push_back({keys, 1 + keys % 5 % keys});
  const Heads heads{2, 1, 24};
  for (const int64_t page_size : {64, 128}) {
    Input input = random_input(7, heads, page_size, shapes, 1);
    input.cache = DType::f8_e4m3;
    const int64_t q_cols = heads.group * heads.kv_heads * heads.head_dim, v_first = q_cols + heads.head_dim;
    Random random(8);
    for (Rows* rows : {&input.history, &input.step})
      for (int64_t t = 0; t < rows->num; ++t) {
        for (int64_t c = 0; c < q_cols; ++c) rows->at(t, c) = 0;
        for (int64_t c = v_first; c < heads.row(); ++c) rows->at(t, c) = static_cast<float>(random.between(-15, 15));
      }
    const Rows got = run(*ops, input);
    int64_t history = 0, row = 0;
    for (const auto& [num_keys, num_rows, rope] : shapes) {
      for (int64_t d = 0; d < heads.head_dim; ++d) {
        double sum = 0;
        for (int64_t key = 0; key < num_keys - num_rows; ++key) sum += input.history.at(history + key, v_first + d);
        for (int64_t i = 0; i < num_rows; ++i) {
          sum += input.step.at(row + i, v_first + d);
          const double mean = sum / static_cast<double>(num_keys - num_rows + i + 1);
          for (int64_t h = 0; h < heads.group; ++h)
            ASSERT_NEAR(got.row(row + i)[static_cast<size_t>(h * heads.head_dim + d)], mean,
                        0x1p-8 * std::abs(mean) + 1e-9)
                << fmt::format("position {} of {} keys, head {}, dimension {}, pages of {}", num_keys - num_rows + i,
                               num_keys, h, d, page_size);
        }
      }
      history += num_keys - num_rows;
      row += num_rows;
    }
  }
}

TEST_P(AttendFp8, ASequenceThatIsNotFiniteSpoilsNoOther) {
  const auto ops = make_backend(GetParam());
  Input clean = random_input(11, {4, 1, 32}, 64, {{70, 5}, {140, 9}, {200, 1}}, 1);
  clean.cache = DType::f8_e4m3;
  const Rows wanted = run(*ops, clean);
  Input input = clean;
  for (int64_t c = 0; c < input.heads.row(); ++c) input.step.at(7, c) = kNan;  // row 2 of the second sequence
  const Rows got = run(*ops, input);
  for (int64_t t = 0; t < got.num; ++t)
    for (size_t c = 0; c < got.row(t).size(); ++c) {
      if (t >= 7 && t < 14) {  // it and those behind it, which see its key
        ASSERT_TRUE(std::isnan(got.row(t)[c])) << "row " << t;
      } else if (t < 5 || t >= 14) {
        ASSERT_EQ(got.row(t)[c], wanted.row(t)[c]) << "row " << t;
      }
    }
}

INSTANTIATE_TEST_SUITE_P(Ops, AttendFp8, testing::ValuesIn(test::backends()), test::backend_test_name);

}  // namespace
}  // namespace qwill
