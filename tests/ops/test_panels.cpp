// Products with weights in blocks and in eight or four bits on every CPU path: within float32's bounds of what the
// decoded weights and the rounded activations give in double, the same bits on every path, for every number of rows and
// threads.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "ops/random_blocks.h"
#include "ops/rows.h"
#include "support/backends.h"

namespace qwill {
namespace {

using test::Blocks;
using test::Random;
using test::Rows;

// What a row of activations is rounded to: codes and their scales, by group of 32.
std::vector<double> rounded(std::span<const float> x) {
  std::vector<double> out;
  for (size_t first = 0; first < x.size(); first += 32) {
    const auto group = x.subspan(first, std::min<size_t>(32, x.size() - first));
    float largest = 0;
    for (const float v : group) largest = std::max(largest, std::fabs(v));
    const float inverse = largest > 0 ? 127.0f / largest : 0, scale = largest * (1.0f / 127);
    for (const float v : group) out.push_back(static_cast<double>(scale) * std::nearbyint(v * inverse));
  }
  return out;
}

std::vector<float> products(Ops& ops, const Weight& weight, Rows& x) {
  Rows y(x.num, weight->rows);
  Tensor sum = y.tensor();
  ops.linear_add(sum, x.tensor(), weight);
  return y.values;
}

class Panels : public test::BackendTest {};

TEST_P(Panels, BlocksMultiplyAsTheyDecode) {
  const BlockFormat formats[] = {BlockFormat::q8_0, BlockFormat::q4_0,   BlockFormat::q5_0,  BlockFormat::q4_k,
                                 BlockFormat::q6_k, BlockFormat::iq4_nl, BlockFormat::iq4_xs};
  for (const BlockFormat format : formats) {
    const BlockShape shape = block_shape(format);
    for (const auto& [rows, blocks_of_row] : {std::pair{1, 1}, {31, 2}, {32, 3}, {72, 5}, {160, 1}}) {
      const int64_t cols = blocks_of_row * shape.cols;
      Random random(static_cast<uint64_t>(rows * cols));
      const Blocks blocks = test::random_blocks(random, format, rows, cols);
      const WeightSource source = blocks.source();
      const auto ops = test::make_backend(GetParam());
      const Weight weight = ops->place({&source, 1}, WeightUse::matrix, Compute::int8);
      for (const int64_t m : {1, 2, 3, 6, 7, 13, 40}) {
        Rows x = Rows::random(random, m, cols);
        const std::vector<float> got = products(*ops, weight, x);
        for (int64_t t = 0; t < m; ++t) {
          const std::vector<double> a = rounded(x.row(t));
          for (int64_t n = 0; n < rows; ++n) {
            double sum = 0, magnitude = 0, largest = 0;
            for (int64_t k = 0; k < cols; ++k) {
              const double w = blocks.values[static_cast<size_t>(n * cols + k)];
              sum += w * a[static_cast<size_t>(k)];
              largest = std::max(largest, std::fabs(w));  // of a scaled code and of a minimum: at most twice that
              magnitude += std::fabs(a[static_cast<size_t>(k)]);
            }
            magnitude *= 2 * largest;
            // A scale that was rounded to f16 (iq4_xs), or float32 sums alone.
            const double share = format == BlockFormat::iq4_xs ? 0x1p-11 : 8 * 0x1p-24;
            ASSERT_NEAR(got[static_cast<size_t>(t * rows + n)], sum, share * magnitude)
                << block_format_name(format) << " [" << rows << ", " << cols << "] row " << t << " of " << m
                << ", output " << n;
          }
        }
      }
    }
  }
}

// Rounded weights are near the given ones, and multiply as their bits say.
TEST_P(Panels, RoundedWeightsAreNear) {
  struct Case {
    Compute compute;
    bool sensitive;
    double share;  // of its group's largest magnitude, by which a weight may be off
  };
  // Half a step of 120 levels or more and what f16 rounds; a largest weight beyond the last level; the widest gap of a
  // codebook's ends.
  for (const Case& of : {Case{Compute::int8, false, 0.5 / 120 + 0x1p-11},
                         {Compute::int4, true, 2.0 / 33 + 0x1p-11},
                         {Compute::int4, false, 0.16}}) {
    for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{1, 32}, {33, 100}, {64, 256}}) {
      Random random(static_cast<uint64_t>(rows + cols));
      const std::vector<float> values = random.floats(static_cast<size_t>(rows * cols), -0.3f, 0.3f);
      const WeightSource source{
          .data = values.data(), .dtype = DType::f32, .rows = rows, .cols = cols, .sensitive = of.sensitive};
      const auto ops = test::make_backend(GetParam());
      const Weight weight = ops->place({&source, 1}, WeightUse::matrix, of.compute);
      double error = 0, size = 0;
      // Each column alone: activations of 127 in one column and zeros are exact.
      for (int64_t c = 0; c < cols; ++c) {
        Rows x(1, cols);
        x.at(0, c) = 127;
        const std::vector<float> got = products(*ops, weight, x);
        for (int64_t r = 0; r < rows; ++r) {
          const float* row = &values[static_cast<size_t>(r * cols)];
          float largest = 0;
          for (int64_t i = c / 32 * 32; i < std::min(cols, c / 32 * 32 + 32); ++i)
            largest = std::max(largest, std::fabs(row[i]));
          const double miss = static_cast<double>(got[static_cast<size_t>(r)]) / 127 - static_cast<double>(row[c]);
          ASSERT_LE(std::fabs(miss), of.share * static_cast<double>(largest))
              << "row " << r << ", column " << c << " of [" << rows << ", " << cols << "]";
          error += miss * miss;
          size += static_cast<double>(row[c]) * static_cast<double>(row[c]);
        }
      }
      EXPECT_LE(std::sqrt(error / size), of.compute == Compute::int8 ? 0.005 : of.sensitive ? 0.019 : 0.07);
    }
  }
}

// Every path of this machine, every number of rows and threads.
TEST(PanelPaths, BitsAreTheSameEverywhere) {
  for (const BlockFormat format :
       {BlockFormat::none, BlockFormat::q8_0, BlockFormat::q4_0, BlockFormat::q4_k, BlockFormat::q6_k}) {
    for (const auto& [compute, sensitive] :
         {std::pair{Compute::int8, false}, {Compute::int4, false}, {Compute::int4, true}}) {
      Random random(7);
      const int64_t rows = 1000, cols = 512, m = 29;
      const Blocks blocks =
          test::random_blocks(random, format == BlockFormat::none ? BlockFormat::q8_0 : format, rows, cols);
      WeightSource source =
          format == BlockFormat::none ? WeightSource{blocks.values.data(), DType::f32, rows, cols} : blocks.source();
      source.sensitive = sensitive;
      Rows x = Rows::random(random, m, cols);
      std::vector<float> wanted;
      for (const std::string& path : test::cpu_paths()) {
        if (!test::machine_has(path)) continue;
        for (const int num_threads : {1, 3}) {
          const auto ops = test::make_backend(path, num_threads);
          const Weight weight = ops->place({&source, 1}, WeightUse::matrix, compute);
          const std::vector<float> got = products(*ops, weight, x);
          if (wanted.empty()) wanted = got;
          ASSERT_EQ(got, wanted) << path << ", " << block_format_name(format);
          for (const int64_t t : {0, 17}) {
            Rows one(1, cols);
            std::ranges::copy(x.row(t), one.values.begin());
            const std::vector<float> alone = products(*ops, weight, one);
            ASSERT_TRUE(std::equal(alone.begin(), alone.end(), wanted.begin() + t * rows))
                << path << ", row " << t << " alone";
          }
          if (num_threads == 1) continue;
          for (const int64_t few : {2, 6, 7, 13, 24, 25}) {
            Rows some(few, cols);
            std::copy_n(x.values.begin(), few * cols, some.values.begin());
            const std::vector<float> of_some = products(*ops, weight, some);
            ASSERT_TRUE(std::equal(of_some.begin(), of_some.end(), wanted.begin())) << path << ", " << few << " rows";
          }
        }
      }
    }
  }
}

// Activations and weights that are no numbers must not become some.
TEST_P(Panels, WhatIsNoNumberStaysNone) {
  const auto ops = test::make_backend(GetParam());
  Random random(3);
  const std::vector<float> values = random.floats(32 * 64, -1, 1);
  for (const auto& [compute, sensitive] :
       {std::pair{Compute::int8, false}, {Compute::int4, false}, {Compute::int4, true}}) {
    const WeightSource source{
        .data = values.data(), .dtype = DType::f32, .rows = 32, .cols = 64, .sensitive = sensitive};
    const Weight weight = ops->place({&source, 1}, WeightUse::matrix, compute);
    for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
      Rows x = Rows::random(random, 2, 64);
      x.at(1, 40) = bad;
      const std::vector<float> got = products(*ops, weight, x);
      for (size_t n = 0; n < 32; ++n) {
        EXPECT_TRUE(std::isfinite(got[n]));
        EXPECT_FALSE(std::isfinite(got[32 + n]));
      }
    }
  }
}

// Scales are f16: weights that they cannot reach must not pass for zeros.
TEST_P(Panels, WhatIsTooLargeIsNoNumber) {
  const auto ops = test::make_backend(GetParam());
  Random random(4);
  std::vector<float> values = random.floats(32 * 64, -1, 1);
  values[5 * 64 + 40] = -1e7f;
  for (const auto& [compute, sensitive] :
       {std::pair{Compute::int8, false}, {Compute::int4, false}, {Compute::int4, true}}) {
    const WeightSource source{
        .data = values.data(), .dtype = DType::f32, .rows = 32, .cols = 64, .sensitive = sensitive};
    Rows x = Rows::random(random, 1, 64);
    const std::vector<float> got = products(*ops, ops->place({&source, 1}, WeightUse::matrix, compute), x);
    for (size_t n = 0; n < 32; ++n) EXPECT_EQ(std::isfinite(got[n]), n != 5) << n;
  }
}

INSTANTIATE_TEST_SUITE_P(Paths, Panels, testing::ValuesIn(test::cpu_paths()), test::backend_test_name);

}  // namespace
}  // namespace qwill
