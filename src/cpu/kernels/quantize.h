// Rounding weights to the codes of panels: 64 columns of a row, two groups.
// Lanes are columns; sums over a group go over sixteen lanes and then one tree whatever the vector's width, so every
// instruction set makes the same panels.
// reference: tensor/panels.h    test: tests/tensor/test_panels.cpp
#pragma once

#include "cpu/kernels.h"
#include "cpu/kernels/vector_math.h"

namespace qwill::cpu {
namespace {  // each target compiles its own copy with its own flags; the linker may not merge them

template <typename S>
inline float largest_magnitude(const float* x, int64_t count) {
  typename S::F top = S::zero();
  for (int64_t c = 0; c < count; c += S::kLanes) {
    const typename S::F v = S::load(x + c);
    top = S::max(top, S::max(v, S::sub(S::zero(), v)));
  }
  return S::reduce_max(top);
}

// Not a number where one of them is an infinity or none.
template <typename S>
inline float zero_of(const float* x, int64_t count) {
  typename S::F sum = S::zero();
  for (int64_t c = 0; c < count; c += S::kLanes) sum = S::fma(S::load(x + c), S::zero(), sum);
  return S::reduce_add(sum);
}

template <typename S>
void quantize_int8(const float* x, PlainBlock& block) {
  for (size_t g = 0; g < 2; ++g, x += kGroupCols) {
    const float scale = to_float(to_f16(largest_magnitude<S>(x, kGroupCols) * (1.0f / 127)));
    const typename S::F inverse = S::set1(scale > 0 ? 1.0f / scale : 0.0f);
    alignas(64) float levels[kGroupCols];
    for (int64_t c = 0; c < kGroupCols; c += S::kLanes)
      S::store(levels + c, S::min(S::max(S::round(S::mul(S::load(x + c), inverse)), S::set1(-127)), S::set1(127)));
    block.scale[g] = scale + zero_of<S>(x, kGroupCols);
    for (size_t c = 0; c < kGroupCols; ++c)
      block.code[g * kGroupCols + c] = static_cast<uint8_t>(static_cast<int32_t>(levels[c]) + 128);
  }
}

template <typename S>
void quantize_int4(const float* x, PlainBlock& block) {
  const Codebook& book = codebook(PanelFormat::int4);
  for (size_t g = 0; g < 2; ++g, x += kGroupCols) {
    const float scale = to_float(to_f16(largest_magnitude<S>(x, kGroupCols) / 113.0f));
    block.scale[g] = scale;
    for (size_t c = 0; c < kGroupCols; ++c) {
      const float level = scale > 0 ? x[c] / scale : 0;
      uint8_t best = 0;
      for (uint8_t i = 1; i < 16; ++i)
        if (__builtin_fabsf(level - static_cast<float>(book[i] - 128)) <
            __builtin_fabsf(level - static_cast<float>(book[best] - 128)))
          best = i;
      block.code[g * kGroupCols + c] = best;
    }
  }
}

}  // namespace
}  // namespace qwill::cpu
