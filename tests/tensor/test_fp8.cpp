// Rounding to e4m3 against the list of all its values.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tensor/fp8.h"

namespace qwill {
namespace {

// All magnitudes, ascending; the index is the pattern of bits, so that even ones have an even mantissa.
std::vector<double> magnitudes() {
  std::vector<double> values;
  for (int bits = 0; bits < 0x7F; ++bits) {
    const int exponent = bits >> 3, mantissa = bits & 7;
    values.push_back(exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10));
  }
  return values;
}

TEST(Fp8, ValuesStayAndWhatLiesBetweenGoesToTheNearest) {
  const std::vector<double> values = magnitudes();
  ASSERT_EQ(values.back(), 448);
  for (size_t i = 0; i < values.size(); ++i) {
    const auto value = static_cast<float>(values[i]);
    for (const float sign : {1.0f, -1.0f}) EXPECT_EQ(round_to_e4m3(sign * value), sign * value);
    if (i + 1 == values.size()) break;
    const auto next = static_cast<float>(values[i + 1]), tie = (value + next) / 2;
    EXPECT_EQ(round_to_e4m3(tie), i % 2 == 0 ? value : next) << tie;
    EXPECT_EQ(round_to_e4m3(std::nextafter(tie, 0.0f)), value) << tie;
    EXPECT_EQ(round_to_e4m3(std::nextafter(tie, 500.0f)), next) << tie;
  }
}

TEST(Fp8, WhatIsTooLargeOrNoNumber) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  for (const float x : {449.0f, 464.0f, 1e30f, kInf}) {
    EXPECT_EQ(round_to_e4m3(x), 448) << x;
    EXPECT_EQ(round_to_e4m3(-x), -448) << x;
  }
  EXPECT_TRUE(std::isnan(round_to_e4m3(std::numeric_limits<float>::quiet_NaN())));
}

TEST(Fp8, BitsStandForTheirValues) {
  const std::vector<double> values = magnitudes();
  for (size_t bits = 0; bits < values.size(); ++bits)
    for (const uint8_t sign : {0, 0x80}) {
      const f8_e4m3 stored{static_cast<uint8_t>(bits | sign)};
      EXPECT_EQ(to_float(stored), sign ? -values[bits] : values[bits]) << bits;
      EXPECT_EQ(to_f8_e4m3(to_float(stored)).bits, stored.bits) << bits;
    }
  for (const uint8_t bits : {0x7f, 0xff}) {
    EXPECT_TRUE(std::isnan(to_float(f8_e4m3{bits})));
    EXPECT_EQ(to_f8_e4m3(to_float(f8_e4m3{bits})).bits, bits);
  }
  for (const float x : {0.0f, -0.0f, 0.0009f, -0.001f, 0.0155f, 1.06f, -1.0625f, 447.0f, -1e9f})
    EXPECT_EQ(to_float(to_f8_e4m3(x)), round_to_e4m3(x)) << x;
}

TEST(Fp8, TheLargestOfAGroupKeepsItsValue) {
  for (const float most : {1e-20f, 0.3f, 1.0f, 7.77f, 1e20f}) {
    std::vector<float> values = {most, -most / 3, most / 1000, 0};
    round_to_fp8(values);
    EXPECT_NEAR(values[0] / most, 1, 1e-6);
    EXPECT_NEAR(values[1] / (-most / 3), 1, 0x1p-4);
    EXPECT_NEAR(values[2] / (most / 1000), 1, 0x1p-4);
    EXPECT_EQ(values[3], 0);
  }
  std::vector<float> zeros(5);
  round_to_fp8(zeros);
  EXPECT_EQ(zeros, std::vector<float>(5));
}

}  // namespace
}  // namespace qwill
