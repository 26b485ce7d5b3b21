// bfloat16 and half precision against arithmetic on every pattern of 16 bits.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tensor/dtype.h"

namespace qwill {
namespace {

TEST(DType, HalfPrecisionWidensExactly) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const uint32_t exponent = (bits >> 10) & 31, mantissa = bits & 1023;
    const double sign = bits & 0x8000 ? -1 : 1;
    const float got = to_float(f16{static_cast<uint16_t>(bits)});
    if (exponent == 31) {
      ASSERT_TRUE(mantissa ? std::isnan(got) : got == sign * std::numeric_limits<float>::infinity())
          << std::hex << bits;
      continue;
    }
    const double wanted =
        exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, static_cast<int>(exponent) - 25);
    ASSERT_EQ(got, sign * wanted) << std::hex << bits;
    ASSERT_EQ(std::signbit(got), sign < 0) << std::hex << bits;
  }
}

// Between each bf16 value and the next: the values themselves, their middle (a tie, to even) and its two neighbours.
TEST(DType, Bf16RoundsToNearestEven) {
  for (uint32_t bits = 0; bits < 0x7f80; ++bits) {
    for (const uint32_t sign : {0u, 0x8000u}) {
      const uint32_t low = bits | sign, even = bits & 1 ? low + 1 : low;
      const auto rounded = [&](uint32_t below) {
        return uint32_t{to_bf16(std::bit_cast<float>(low << 16 | below)).bits};
      };
      ASSERT_EQ(rounded(0x0000), low);
      ASSERT_EQ(rounded(0x7fff), low);
      ASSERT_EQ(rounded(0x8000), even);
      ASSERT_EQ(rounded(0x8001), low + 1);
      ASSERT_EQ(rounded(0xffff), low + 1);
    }
  }
}

TEST(DType, Bf16KeepsInfinityAndNaN) {
  EXPECT_EQ(to_bf16(std::numeric_limits<float>::infinity()).bits, 0x7f80);
  EXPECT_EQ(to_bf16(-std::numeric_limits<float>::infinity()).bits, 0xff80);
  for (const uint32_t nan : {0x7f800001u, 0x7fc00000u, 0x7fffffffu, 0xff800001u, 0xffffffffu})
    EXPECT_TRUE(std::isnan(to_float(to_bf16(std::bit_cast<float>(nan))))) << std::hex << nan;
}

}  // namespace
}  // namespace qwill
