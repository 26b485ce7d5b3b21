// Four-bit weights: each group of kInt4Group neighbouring columns of a row shares a scale. A weight becomes
//     w' = bf16(scale * (q - 8)),   q = 0 … 15, scale a number of six significant bits, of either sign,
// a bf16 number, whoever multiplies it. Host and device make the same bits of it: every product is rounded, or fused by
// name. Of a scale of six bits 24 times it is a bf16 number too; so cards have w' of 16 + q, which a mask and an "or"
// make of a number's bits, by one fused multiplication and addition (cuda/kernels/int4.cuh).
#pragma once

#include <math.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>

#include "base/host_device.h"
#include "tensor/dtype.h"

namespace qwill {

// Of 128, 64 and 32 measured on Gaussian weights and on the built-in models (bench/bench_int4_quality.cpp).
constexpr int kInt4Group = 64;
constexpr double kInt4Bytes = (4 + 16.0 / kInt4Group) / 8;  // of a weight, with its share of the scale

QWILL_HOST_DEVICE inline float rounded_to_bf16(float value) { return to_float(to_bf16(value)); }

// To six significant bits, ties to even; NaN stays NaN.
QWILL_HOST_DEVICE inline float rounded_int4_scale(float scale) {
  if (scale != scale) return scale;
  const uint32_t bits = std::bit_cast<uint32_t>(scale);
  return std::bit_cast<float>((bits + 0x1FFFF + (bits >> 18 & 1)) & ~0x3FFFFu);
}

// q - 8 of a weight; inverse is 1 / scale. Adding 1.5 2^23 rounds to the nearest integer, ties to even.
QWILL_HOST_DEVICE inline float int4_level(float weight, float inverse) {
  return fminf(fmaxf(weight * inverse, -8.0f), 7.0f) + 12582912.0f - 12582912.0f;
}
QWILL_HOST_DEVICE inline float int4_inverse(float scale) { return scale == 0 ? 0.0f : 1.0f / scale; }

// What a weight of that level stands for.
QWILL_HOST_DEVICE inline float int4_value(float level, float scale) { return rounded_to_bf16(scale * level); }

// The scale of least squared error, weighted by |w| + mean |w|, among a few: those that spread the largest magnitude to
// 6.5 … 10.5 levels, on either side, and what least squares make of the best one's levels. Unweighted, the error of
// Gaussian weights is 1 % less, but nib's perplexity on natural text was 32.3 instead of 30.7. value(i) are the group's
// kSize weights; not a number if one of them is not, or is beyond 2^123.
template <int kSize, typename Value>
QWILL_HOST_DEVICE float choose_int4_scale(const Value& value) {
  float extreme = 0, sum = 0, zero = 0;  // zero: not a number, if there is one that is none
  QWILL_UNROLL
  for (int i = 0; i < kSize; ++i) {
    if (fabsf(value(i)) > fabsf(extreme)) extreme = value(i);
    sum += fabsf(value(i));
    zero = fmaf(value(i) * 32.0f, 0.0f, zero);
  }
  const float mean = sum / kSize;
  const auto error_of = [&](float scale) {
    const float inverse = int4_inverse(scale);
    float plain = 0, weighted = 0;
    QWILL_UNROLL
    for (int i = 0; i < kSize; ++i) {
      const float miss = fmaf(-scale, int4_level(value(i), inverse), value(i));
      plain = fmaf(miss, miss, plain);
      weighted = fmaf(fabsf(value(i)) * miss, miss, weighted);
    }
    return fmaf(mean, plain, weighted);
  };
  float best = rounded_int4_scale(extreme / -8),
        least = error_of(best);  // stays where errors leave the range of floats
  const auto consider = [&](float scale) {
    const float error = error_of(scale);
    if (error < least) best = scale, least = error;
  };
  for (int i = 0; i < 34; ++i) {
    const float levels = 6.5f + 0.25f * static_cast<float>(i % 17);
    consider(rounded_int4_scale(extreme / (i < 17 ? -levels : levels)));
  }
  const float inverse = int4_inverse(best);
  float products = 0, squares = 0;
  QWILL_UNROLL
  for (int i = 0; i < kSize; ++i) {
    const float level = int4_level(value(i), inverse);
    const float weighted = (fabsf(value(i)) + mean) * level;
    products = fmaf(weighted, value(i), products);
    squares = fmaf(weighted, level, squares);
  }
  if (squares > 0) consider(rounded_int4_scale(products / squares));
  return best + zero;
}

// A row of weights becomes what its levels stand for; columns beyond its end count as zeros.
inline void round_to_int4(std::span<float> row) {
  for (size_t first = 0; first < row.size(); first += kInt4Group) {
    const std::span<float> group = row.subspan(first, std::min<size_t>(kInt4Group, row.size() - first));
    const float scale = choose_int4_scale<kInt4Group>(
        [&](int i) { return static_cast<size_t>(i) < group.size() ? group[static_cast<size_t>(i)] : 0.0f; });
    for (float& weight : group) weight = int4_value(int4_level(weight, int4_inverse(scale)), scale);
  }
}

}  // namespace qwill
