// e4m3: a sign, four bits of exponent, three of mantissa; ±448 the largest, no infinities (Micikevicius et al. 2022,
// arXiv:2209.05433).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>

namespace qwill {

constexpr int64_t kFp8BlockCols = 128;  // columns of a row of activations that share a scale

// The nearest value that e4m3 holds, ties to even; what is larger becomes 448; NaN stays NaN.
inline float round_to_e4m3(float x) {
  if (x == 0 || std::isnan(x)) return x;
  const float magnitude = std::min(std::abs(x), 448.0f);
  const float ulp = std::ldexp(1.0f, std::max(std::ilogb(magnitude), -6) - 3);
  return std::copysign(std::min(std::nearbyint(magnitude / ulp) * ulp, 448.0f), x);
}

// One as its bits.
struct f8_e4m3 {
  uint8_t bits;
};
inline float to_float(f8_e4m3 value) {
  const int exponent = value.bits >> 3 & 15, mantissa = value.bits & 7;
  const float magnitude = exponent == 15 && mantissa == 7 ? std::numeric_limits<float>::quiet_NaN()
                          : exponent == 0                 ? std::ldexp(static_cast<float>(mantissa), -9)
                                                          : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
  return value.bits & 0x80 ? -magnitude : magnitude;
}
// round_to_e4m3.
inline f8_e4m3 to_f8_e4m3(float x) {
  const int sign = std::signbit(x) ? 0x80 : 0;
  if (std::isnan(x)) return {static_cast<uint8_t>(sign | 0x7f)};
  const float magnitude = std::abs(round_to_e4m3(x));
  if (magnitude < 0x1p-6f) return {static_cast<uint8_t>(sign | static_cast<int>(std::ldexp(magnitude, 9)))};
  const int exponent = std::ilogb(magnitude);
  const int mantissa = static_cast<int>(std::ldexp(magnitude, 3 - exponent)) - 8;
  return {static_cast<uint8_t>(sign | (exponent + 7) << 3 | mantissa)};
}

// What values of such a largest magnitude are divided by.
inline float fp8_scale(float most) { return std::clamp(most, 0x1p-100f, std::numeric_limits<float>::max()) / 448.0f; }

// Values that share a scale, as products meet them: rounded, and multiplied by the scale again.
inline void round_to_fp8(std::span<float> values) {
  float most = 0;
  for (const float value : values) most = std::fmax(most, std::abs(value));
  const float scale = fp8_scale(most), inverse = 1.0f / scale;
  for (float& value : values) value = round_to_e4m3(value * inverse) * scale;
}

}  // namespace qwill
