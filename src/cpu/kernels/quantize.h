// Rounding weights to the codes of panels: 64 columns of a row, two groups.
// Lanes are columns; sums of sixteen go over sixteen lanes and then one tree whatever the vector's width, so every
// instruction set makes the same panels.
// reference: tensor/panels.h    test: tests/ops/test_panels.cpp, tests/tensor/test_panels.cpp
#pragma once

#include <algorithm>
#include <bit>
#include <limits>

#include "cpu/kernels.h"
#include "cpu/kernels/vector_math.h"

namespace qwill::cpu {
namespace {  // each target compiles its own copy with its own flags; the linker may not merge them

// The sum of term(c), vectors of lanes from column c on, over sixteen columns.
template <typename S, typename Term>
inline float sum_16(Term term) {
  constexpr int kVectors = 16 / S::kLanes;
  typename S::F sums[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) sums[v] = term(v * S::kLanes);
#pragma GCC unroll 2
  for (int half = kVectors / 2; half > 0; half /= 2)
#pragma GCC unroll 2
    for (int v = 0; v < half; ++v) sums[v] = S::add(sums[v], sums[v + half]);
  return S::reduce_add(sums[0]);
}
template <typename S, typename Term>
inline float sum_32(Term term) {
  return sum_16<S>(term) + sum_16<S>([&](int64_t c) { return term(c + 16); });
}

// What an error of each of 32 weights counts: |w| + mean |w|, as tensor/int4.h has it.
template <typename S>
inline void error_weights(const float* x, float* weights) {
  const auto magnitude = [&](int64_t c) { return S::max(S::load(x + c), S::sub(S::zero(), S::load(x + c))); };
  const float mean = sum_32<S>(magnitude) / kGroupCols;
  for (int64_t c = 0; c < kGroupCols; c += S::kLanes) S::store(weights + c, S::add(magnitude(c), S::set1(mean)));
}

// Of the scales largest / t, t = 127 and from 120 up, the one of least squared error.
template <typename S>
void quantize_int8(const float* x, PlainBlock& block) {
  constexpr int kCandidates = 16;
  const auto levels = [](const float* from, float scale) {
    const typename S::F level = S::round(S::mul(S::load(from), S::set1(scale > 0 ? 1.0f / scale : 0.0f)));
    return S::min(S::max(level, S::set1(-127)), S::set1(127));
  };
  for (size_t g = 0; g < 2; ++g, x += kGroupCols) {
    const float largest = largest_magnitude<S>(x, kGroupCols);
    float best = 0, least = 0;
    for (int i = 0; i <= kCandidates; ++i) {
      const float top = i == 0 ? 127.0f : 120.0f + 0.5f * static_cast<float>(i - 1);
      const float scale = to_float(to_f16(largest / top));
      const float error = sum_32<S>([&](int64_t c) {
        const typename S::F miss = S::fma(S::set1(-scale), levels(x + c, scale), S::load(x + c));
        return S::mul(miss, miss);
      });
      if (i == 0 || error < least) best = scale, least = error;
    }
    alignas(64) int8_t codes[kGroupCols];
    for (int64_t c = 0; c < kGroupCols; c += S::kLanes) S::store(codes + c, levels(x + c, best));
    block.scale[g] = best + zero_of<S>(x, kGroupCols);
    for (size_t c = 0; c < kGroupCols; ++c) block.code[g * kGroupCols + c] = static_cast<uint8_t>(codes[c] + 128);
  }
}

// Scales of either sign that make the largest magnitude a level of ±25 … ±33 of -32 … 31, the one of least error,
// weighted as quantize_int4's.
template <typename S>
void quantize_int6(const float* x, PlainBlock& block) {
  constexpr int kTops = 9;
  const auto levels = [](const float* from, float scale) {
    const typename S::F level = S::round(S::mul(S::load(from), S::set1(scale != 0 ? 0.25f / scale : 0.0f)));
    return S::min(S::max(level, S::set1(-32)), S::set1(31));
  };
  for (size_t g = 0; g < 2; ++g, x += kGroupCols) {
    const float largest = largest_magnitude<S>(x, kGroupCols);
    alignas(64) float weights[kGroupCols];
    error_weights<S>(x, weights);
    float best = 0, least = std::numeric_limits<float>::infinity();
    for (int i = 0; i < 2 * kTops; ++i) {
      const float top = (i % 2 == 0 ? 4.0f : -4.0f) * (25.0f + static_cast<float>(i / 2));
      const float scale = to_float(to_f16(largest / top));
      const float error = sum_32<S>([&](int64_t c) {
        const typename S::F miss = S::fma(S::set1(-4 * scale), levels(x + c, scale), S::load(x + c));
        return S::mul(S::mul(miss, miss), S::load(weights + c));
      });
      if (i == 0 || !(error >= least)) best = scale, least = error;  // what is too large for f16 stays so
    }
    alignas(64) int8_t codes[kGroupCols];
    for (int64_t c = 0; c < kGroupCols; c += S::kLanes) S::store(codes + c, levels(x + c, best));
    block.scale[g] = best + zero_of<S>(x, kGroupCols);
    for (size_t c = 0; c < kGroupCols; ++c) block.code[g * kGroupCols + c] = static_cast<uint8_t>(codes[c] + 32);
  }
}

// The codebooks of int4 as what a search needs: for a level y in slot floor(y / 8) + 16 at most one boundary between
// neighbouring codes; below it the one is nearest, from it on the other.
struct BookSlots {
  static constexpr int kSlots = 32;
  float boundary[4][kSlots], lower[4][kSlots], upper[4][kSlots];
  float level[4][16];
  uint8_t code[4][256] = {};  // of a level + 128

  BookSlots() {
    const Codebooks& books = codebooks(PanelFormat::int4);
    for (int b = 0; b < 4; ++b) {
      for (int i = 0; i < 16; ++i) {
        const uint8_t book = books[static_cast<size_t>(16 * b + i)];
        level[b][i] = static_cast<float>(book) - 128;
        code[b][book] = static_cast<uint8_t>(i);
      }
      int next = 0;
      for (int slot = 0; slot < kSlots; ++slot) {
        const float end = 8.0f * static_cast<float>(slot - 15);
        lower[b][slot] = upper[b][slot] = level[b][next];
        boundary[b][slot] = end;
        if (next == 15) continue;
        const float middle = (level[b][next] + level[b][next + 1]) / 2;
        if (middle >= end) continue;
        boundary[b][slot] = middle;
        upper[b][slot] = level[b][++next];
      }
    }
  }
  uint8_t index(int b, float value) const { return code[b][static_cast<int>(value) + 128]; }
};

// Where levels y lie.
template <typename S>
inline typename S::F slot_of(typename S::F y) {
  return S::min(S::max(S::floor(S::fma(y, S::set1(0.125f), S::set1(16))), S::zero()), S::set1(BookSlots::kSlots - 1));
}

// The nearest levels of a book to levels y.
template <typename S>
inline typename S::F nearest_level(const BookSlots& slots, int b, typename S::F y) {
  const typename S::F slot = slot_of<S>(y);
  return S::select_below(y, S::look_up_32(slots.boundary[b], slot), S::look_up_32(slots.lower[b], slot),
                         S::look_up_32(slots.upper[b], slot));
}

// Of each book, the weighted squared error of sixteen columns in squares of the scale.
template <typename S>
inline void book_errors(const BookSlots& slots, const float* x, const float* weights, typename S::F inverse,
                        float errors[4]) {
  constexpr int kVectors = 16 / S::kLanes;
  typename S::F sums[4][kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    const typename S::F y = S::mul(S::load(x + v * S::kLanes), inverse), slot = slot_of<S>(y),
                        weight = S::load(weights + v * S::kLanes);
#pragma GCC unroll 4
    for (int b = 0; b < 4; ++b) {
      const typename S::F lower = S::sub(y, S::look_up_32(slots.lower[b], slot)),
                          upper = S::sub(y, S::look_up_32(slots.upper[b], slot));
      sums[b][v] = S::mul(S::min(S::mul(lower, lower), S::mul(upper, upper)), weight);
    }
  }
#pragma GCC unroll 2
  for (int half = kVectors / 2; half > 0; half /= 2)
#pragma GCC unroll 2
    for (int v = 0; v < half; ++v)
#pragma GCC unroll 4
      for (int b = 0; b < 4; ++b) sums[b][v] = S::add(sums[b][v], sums[b][v + half]);
  S::reduce_add_4(sums[0][0], sums[1][0], sums[2][0], sums[3][0], errors);
}

// Scales of either sign whose lowest four bits choose the books; errors are weighted. Tried: those that make the
// largest magnitude a level of ±95 … ±130, and what least squares make of the best one's codes. (Of Gaussian weights
// the error is 6.5 % so, 6.4 % with eighty of them.)
template <typename S>
void quantize_int4(const float* x, PlainBlock& block) {
  static const BookSlots slots;
  constexpr int kTops = 6;
  for (size_t g = 0; g < 2; ++g, x += kGroupCols) {
    const float largest = largest_magnitude<S>(x, kGroupCols);
    alignas(64) float weights[kGroupCols], levels[kGroupCols];
    error_weights<S>(x, weights);

    uint16_t best = 0;
    unsigned best_choice = 0;
    float least = std::numeric_limits<float>::infinity();
    const auto consider = [&](float wanted) {
      // The nearest f16 whose lowest bits are zero.
      const auto bits = static_cast<uint16_t>((to_f16(wanted).bits + 8u) & ~15u);
      const float scale = to_float(f16{bits});
      if (scale == 0) return;
      float total = 0;
      unsigned choice = 0;
      for (unsigned half = 0; half < 2; ++half) {
        float errors[4];
        book_errors<S>(slots, x + half * 16, weights + half * 16, S::set1(1.0f / scale), errors);
        // The least without branches, which nobody could predict: a book's number in the lowest bits of its error.
        uint32_t chosen = ~0u;
        for (uint32_t b = 0; b < 4; ++b) chosen = std::min(chosen, (std::bit_cast<uint32_t>(errors[b]) & ~3u) | b);
        choice |= (chosen & 3) << 2 * half;
        total += std::bit_cast<float>(chosen & ~3u);
      }
      total *= scale * scale;
      if (!(total < least)) return;
      best = bits;
      best_choice = choice;
      least = total;
    };
    const auto round_to_levels = [&](float scale) {
      const typename S::F inverse = S::set1(scale != 0 ? 1.0f / scale : 0.0f);
      for (int64_t c = 0; c < kGroupCols; c += S::kLanes)
        S::store(levels + c, nearest_level<S>(slots, static_cast<int>(c < 16 ? best_choice & 3 : best_choice >> 2),
                                              S::mul(S::load(x + c), inverse)));
    };

    for (int i = 0; i < kTops; ++i) {
      const float scale = largest / (95.0f + 35.0f / (kTops - 1) * static_cast<float>(i));
      consider(scale);
      consider(-scale);
    }
    const auto weighted = [&](int64_t c) { return S::mul(S::load(weights + c), S::load(levels + c)); };
    for (int i = 0; i < 2; ++i) {
      round_to_levels(to_float(f16{best}));
      const float products = sum_32<S>([&](int64_t c) { return S::mul(weighted(c), S::load(x + c)); });
      const float squares = sum_32<S>([&](int64_t c) { return S::mul(weighted(c), S::load(levels + c)); });
      if (squares > 0) consider(products / squares);
    }

    if (best == 0 && !(largest * largest < 1)) best = 0x7c00;  // what is too large for f16 is infinite, not 0
    const float scale = to_float(f16{static_cast<uint16_t>(best | best_choice)});
    round_to_levels(scale);
    for (size_t c = 0; c < kGroupCols; ++c) {
      const int b = static_cast<int>(c < 16 ? best_choice & 3 : best_choice >> 2);
      block.code[g * kGroupCols + c] = slots.index(b, levels[c]);
    }
    block.scale[g] = scale + zero_of<S>(x, kGroupCols);
  }
}

}  // namespace
}  // namespace qwill::cpu
