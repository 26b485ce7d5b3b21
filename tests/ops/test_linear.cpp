// place, norm_linear, linear_add and norm_gated_mlp of every backend: within the bounds of float32, over shapes that
// are multiples of nothing and shapes that matrix tiles take, and the same bits for a row in any company.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "ops/bounds.h"
#include "ops/rows.h"
#include "support/backends.h"

namespace qwill {
namespace {

using test::BoundedRows;
using test::Random;
using test::Rows;
using test::StoredWeight;

struct Precision {
  DType dtype;
  Compute compute;
};
constexpr Precision kPrecisions[] = {
    {DType::f32, Compute::f32},   {DType::bf16, Compute::f32},  {DType::f16, Compute::f32}, {DType::f32, Compute::bf16},
    {DType::bf16, Compute::bf16}, {DType::f16, Compute::bf16},  {DType::f32, Compute::fp8}, {DType::bf16, Compute::fp8},
    {DType::f32, Compute::int4},  {DType::bf16, Compute::int4},
};

// Row segments over K columns.
struct Shape {
  int64_t k;
  std::vector<int64_t> segments;
};
const Shape kShapes[] = {
    {1, {1}},   {7, {3}},       {31, {149}},     {72, {100, 48, 1}}, {200, {149}},
    {32, {16}}, {64, {32, 16}}, {96, {160, 48}}, {128, {320}},       {48, {48}},
};
// So long that a task, an operand block and a run of tiles end within them.
const Shape kLongShapes[] = {{4096, {40}}, {4096, {96}}};
// As long as a product that adds: its operand is an MLP's activation. Norms are over hidden sizes, which are at most
// 5120 in the published models; backends take little more (cuda/kernels/rows.h).
const Shape kLongerShape = {12288, {40}};
constexpr int64_t kMaxHidden = 5120;
constexpr int64_t kNumRows[] = {0, 1, 2, 15, 16, 17, 33, 100};
constexpr float kEps = 1e-6f;

StoredWeight random_weight(Random& random, const Shape& shape, const Precision& precision) {
  std::vector<test::StoredMatrix> segments;
  for (const int64_t rows : shape.segments)
    segments.push_back(test::random_matrix(random, rows, shape.k, precision.dtype, -1, 1));
  return {std::move(segments), precision.compute};
}

std::string describe(int64_t m, const Shape& shape, const Precision& precision) {
  return fmt::format("M {} K {} N {} in {} segments, {} computed in {}", m, shape.k, shape.segments[0],
                     shape.segments.size(), dtype_name(precision.dtype),
                     precision.compute == Compute::f32    ? "f32"
                     : precision.compute == Compute::bf16 ? "bf16"
                     : precision.compute == Compute::fp8  ? "fp8"
                                                          : "int4");
}

class Linear : public test::BackendTest {
 protected:
  std::vector<Precision> precisions() const {
    std::vector<Precision> all(std::begin(kPrecisions), std::end(kPrecisions));
    if (!test::has_fp8(GetParam())) std::erase_if(all, [](const Precision& p) { return p.compute == Compute::fp8; });
    if (!test::has_int4(GetParam())) std::erase_if(all, [](const Precision& p) { return p.compute == Compute::int4; });
    return all;
  }

  Norm place_norm(Ops& ops, const std::vector<float>& weight) {
    const WeightSource source{weight.data(), DType::f32, 1, static_cast<int64_t>(weight.size())};
    return {ops.place({&source, 1}, WeightUse::vector, Compute::f32), kEps};
  }

  void check(const Shape& shape, const Precision& precision, std::span<const int64_t> row_counts) {
    Random random(static_cast<uint64_t>(shape.k));
    const auto ops = test::make_backend(GetParam());
    const StoredWeight stored = random_weight(random, shape, precision);
    const Weight weight = stored.place(*ops);
    const bool with_norm = shape.k <= kMaxHidden;
    const std::vector<float> scale = random.floats(shape.k, 0.2f, 1.5f);
    const Norm norm = with_norm ? place_norm(*ops, scale) : Norm{};
    ASSERT_EQ(weight->rows, stored.rows());
    ASSERT_EQ(weight->cols, shape.k);
    for (const int64_t m : row_counts) {
      Rows x = Rows::random(random, m, shape.k), y = Rows::random(random, m, stored.rows());
      BoundedRows normed, added;
      for (int64_t t = 0; t < m; ++t) {
        if (with_norm)
          normed.push_back(test::linear(test::rms_normed(x.row(t), scale, kEps), stored, 0, stored.rows()));
        added.push_back(test::linear(test::exact(x.row(t)), stored, 0, stored.rows()));
        for (size_t n = 0; n < added.back().size(); ++n)
          added.back()[n] = test::plus(added.back()[n], {y.row(t)[n], 0});
      }
      const std::string where = describe(m, shape, precision);
      const std::vector<float> before = x.values;
      if (with_norm)
        test::expect_within("norm_linear " + where,
                            ops->to_host(ops->norm_linear(ops->to_device(x.tensor()), norm, weight)), normed);
      Tensor sum = ops->to_device(y.tensor());
      ops->linear_add(sum, ops->to_device(x.tensor()), weight);
      test::expect_within("linear_add " + where, ops->to_host(sum), added);
      EXPECT_EQ(x.values, before) << "inputs stay as they are";
    }
  }
};

TEST_P(Linear, ProductsAreWithinTheirBounds) {
  for (const Precision& precision : precisions())
    for (const Shape& shape : kShapes) check(shape, precision, kNumRows);
}

TEST_P(Linear, LongProductsAreWithinTheirBounds) {
  constexpr int64_t kFew[] = {1, 33}, kMany[] = {100};
  for (const Shape& shape : kLongShapes) {
    check(shape, {DType::bf16, Compute::bf16}, kFew);
    check(shape, {DType::f32, Compute::f32}, kFew);
  }
  check(kLongShapes[1], {DType::bf16, Compute::bf16}, kMany);
  check(kLongerShape, {DType::bf16, Compute::bf16}, kFew);
  if (test::has_fp8(GetParam())) {
    for (const Shape& shape : kLongShapes) check(shape, {DType::bf16, Compute::fp8}, kFew);
    check(kLongShapes[1], {DType::bf16, Compute::fp8}, kMany);
  }
  if (test::has_int4(GetParam())) {
    constexpr int64_t kInt4Rows[] = {1, 2, 3, 8, 9, 32, 33};
    for (const Shape& shape : kLongShapes) check(shape, {DType::bf16, Compute::int4}, kInt4Rows);
    check(kLongerShape, {DType::bf16, Compute::int4}, kInt4Rows);
  }
}

// Weights and rows so many that a card multiplies them in its largest tiles (tests/cuda/test_gemm_tiles.cpp), the last
// of which are not full.
TEST_P(Linear, ManyRowsInFp8AreWithinTheirBounds) {
  if (!test::has_fp8(GetParam())) GTEST_SKIP() << GetParam() << " has no e4m3";
  check({136, {4256}}, {DType::bf16, Compute::fp8}, std::array{int64_t{130}});
  check({136, {2832, 2832}}, {DType::bf16, Compute::fp8}, std::array{int64_t{260}});
}

// Not placed as something else.
TEST_P(Linear, PrecisionsThatABackendLacksAreRefused) {
  const auto ops = test::make_backend(GetParam());
  Random random(1);
  std::vector<Compute> lacking;
  if (!test::has_fp8(GetParam())) lacking.push_back(Compute::fp8);
  if (!test::has_panels(GetParam())) lacking.push_back(Compute::int8);
  if (!test::has_int4(GetParam()) && !test::has_panels(GetParam())) lacking.push_back(Compute::int4);
  for (const Compute compute : lacking) {
    EXPECT_THROW(random_weight(random, {64, {16}}, {DType::bf16, compute}).place(*ops), Error);
  }
}

// Segments of two dtypes make one weight.
TEST_P(Linear, SegmentsMayDifferInDtype) {
  Random random(1);
  for (const Compute compute : {Compute::f32, Compute::bf16}) {
    const auto ops = test::make_backend(GetParam());
    std::vector<test::StoredMatrix> segments;
    for (const DType dtype : {DType::bf16, DType::f32, DType::f16})
      segments.push_back(test::random_matrix(random, 5, 40, dtype, -1, 1));
    const StoredWeight stored(std::move(segments), compute);
    const Weight weight = stored.place(*ops);
    Rows x = Rows::random(random, 3, 40), y(3, 15);
    BoundedRows wanted;
    for (int64_t t = 0; t < 3; ++t) wanted.push_back(test::linear(test::exact(x.row(t)), stored, 0, 15));
    Tensor sum = ops->to_device(y.tensor());
    ops->linear_add(sum, ops->to_device(x.tensor()), weight);
    test::expect_within("three dtypes", ops->to_host(sum), wanted);
  }
}

TEST_P(Linear, GatedMlpIsWithinItsBounds) {
  for (const Precision& precision : precisions()) {
    for (const auto& [k, f] : {std::pair<int64_t, int64_t>{1, 1}, {31, 3}, {72, 149}, {64, 48}, {128, 320}, {96, 16}}) {
      Random random(static_cast<uint64_t>(k * 1000 + f));
      const auto ops = test::make_backend(GetParam());
      const Shape shape{k, {f, f}};
      const StoredWeight stored = random_weight(random, shape, precision);
      const Weight weight = stored.place(*ops, WeightUse::gated);
      const std::vector<float> scale = random.floats(k, 0.2f, 1.5f);
      const Norm norm = place_norm(*ops, scale);
      for (const int64_t m : kNumRows) {
        Rows x = Rows::random(random, m, k);
        BoundedRows wanted;
        for (int64_t t = 0; t < m; ++t) {
          const test::BoundedRow h = test::rms_normed(x.row(t), scale, kEps);
          wanted.push_back(test::gated(test::linear(h, stored, 0, f), test::linear(h, stored, f, f)));
        }
        const Tensor act = ops->norm_gated_mlp(ops->to_device(x.tensor()), norm, weight);
        if (act.dtype == DType::bf16)  // rounded already for the product to come
          for (test::BoundedRow& row : wanted)
            for (test::Bounded& value : row) value.error += 0x1p-8 * (std::abs(value.value) + value.error);
        test::expect_within("norm_gated_mlp " + describe(m, shape, precision), ops->to_host(act), wanted);
      }
    }
  }
}

// A row's bits: alone, with 99 others, on one thread or three.
TEST_P(Linear, ARowHasTheSameBitsInAnyCompany) {
  for (const Precision& precision : precisions()) {
    for (const Shape& shape : kShapes) {
      Random random(7);
      const auto ops = test::make_backend(GetParam()), threaded = test::make_backend(GetParam(), 3);
      const StoredWeight stored = random_weight(random, shape, precision);
      const Weight weight = stored.place(*ops), same_weight = stored.place(*threaded);
      Rows x = Rows::random(random, 100, shape.k), y(100, stored.rows());
      Tensor together = threaded->to_device(y.tensor());
      threaded->linear_add(together, threaded->to_device(x.tensor()), same_weight);
      const std::span<const float> wanted = threaded->to_host(together);
      int64_t first = 0;
      for (const int64_t m : {1, 1, 2, 15, 16, 17, 33, 15}) {
        Rows part(m, stored.rows());
        Tensor sum = ops->to_device(part.tensor());
        ops->linear_add(sum, ops->to_device({x.values.data() + first * shape.k, m, shape.k, DType::f32}), weight);
        EXPECT_EQ(std::memcmp(ops->to_host(sum).data(), wanted.data() + first * stored.rows(),
                              part.values.size() * sizeof(float)),
                  0)
            << "rows " << first << " to " << first + m - 1 << ", " << describe(m, shape, precision);
        first += m;
      }
      ASSERT_EQ(first, 100);
    }
  }
}

// The identity shows what an operand became: for bf16 the nearest value, ties to even.
TEST_P(Linear, OperandsRoundToNearestEven) {
  std::vector<std::pair<float, float>> cases = {
      {1.0f, 1.0f},
      {1.00390625f, 1.0f},          // 1 + 2^-8: a tie, down to even
      {1.01171875f, 1.015625f},     // 1 + 3 * 2^-8: a tie, up to even
      {1.0039063692f, 1.0078125f},  // just above a tie
      {1.0039061308f, 1.0f},        // just below
      {-1.00390625f, -1.0f},
      {-1.01171875f, -1.015625f},
      {1.99609375f, 2.0f},             // a tie that carries into the exponent
      {3.3895314e38f, 3.3895314e38f},  // the largest bf16
      {1.17549435e-38f, 1.17549435e-38f},
      {0.0f, 0.0f},
  };
  for (const int64_t k : {32, 31}) {  // 32: matrix tiles where there are any
    const auto ops = test::make_backend(GetParam());
    std::vector<float> identity(static_cast<size_t>(32 * k));
    for (int64_t i = 0; i < k; ++i) identity[static_cast<size_t>(i * k + i)] = 1;
    const StoredWeight stored({test::StoredMatrix(identity, k, DType::bf16)}, Compute::bf16);
    const Weight weight = stored.place(*ops);
    Rows x(static_cast<int64_t>(cases.size()), k), y(x.num, 32);
    for (int64_t t = 0; t < x.num; ++t) x.at(t, t % k) = cases[static_cast<size_t>(t)].first;
    Tensor sum = ops->to_device(y.tensor());
    ops->linear_add(sum, ops->to_device(x.tensor()), weight);
    std::ranges::copy(ops->to_host(sum), y.values.begin());
    for (int64_t t = 0; t < x.num; ++t) {
      const auto& [given, rounded] = cases[static_cast<size_t>(t)];
      EXPECT_EQ(y.at(t, t % k), rounded) << fmt::format("{:.9g} of {} columns", given, k);
    }
  }
}

// What is no number stays in its row, and nothing hangs.
TEST_P(Linear, ARowThatIsNotFiniteSpoilsNoOther) {
  constexpr float kInf = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();
  for (const Precision& precision : precisions()) {
    for (const Shape& shape : {Shape{72, {100, 48}}, Shape{64, {32, 32}}}) {
      Random random(3);
      const auto ops = test::make_backend(GetParam());
      const StoredWeight stored = random_weight(random, shape, precision);
      const Weight weight = stored.place(*ops);
      const Norm norm = place_norm(*ops, std::vector<float>(static_cast<size_t>(shape.k), 1.0f));
      Rows x = Rows::random(random, 18, shape.k);
      const auto run = [&] {
        const auto host = ops->to_host(ops->norm_linear(ops->to_device(x.tensor()), norm, weight));
        return std::vector<float>(host.begin(), host.end());
      };
      const std::vector<float> clean = run();
      for (const float bad : {kNan, kInf, -kInf, std::numeric_limits<float>::max()}) {
        const float kept = std::exchange(x.at(5, 3), bad);
        std::vector<float> got = run();
        for (int64_t n = 0; n < stored.rows(); ++n) {
          float& value = got[static_cast<size_t>(5 * stored.rows() + n)];
          EXPECT_TRUE(!std::isnan(bad) || std::isnan(value)) << n;
          value = clean[static_cast<size_t>(5 * stored.rows() + n)];
        }
        EXPECT_EQ(got, clean) << "beside a row with " << bad;
        x.at(5, 3) = kept;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Ops, Linear, testing::ValuesIn(test::backends()), test::backend_test_name);

}  // namespace
}  // namespace qwill
