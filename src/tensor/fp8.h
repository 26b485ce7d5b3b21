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
