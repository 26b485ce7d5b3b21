// Rounding weights to the codes of panels: 64 columns of a row, two groups.
// Lanes are columns; sums of sixteen go over sixteen lanes and then one tree whatever the vector's width, so every
// instruction set makes the same panels.
// reference: tensor/panels.h    test: tests/ops/test_panels.cpp, tests/tensor/test_panels.cpp
#pragma once

#include <algorithm>
#include <cmath>

#include "cpu/kernels.h"
#include "cpu/kernels/vector_math.h"

namespace qwill::cpu {
namespace {  // each target compiles its own copy with its own flags; the linker may not merge them

template <typename S>
inline float largest_magnitude(const float* x) {
  typename S::F top = S::zero();
  for (int64_t c = 0; c < kGroupCols; c += S::kLanes) {
    const typename S::F v = S::load(x + c);
    top = S::max(top, S::max(v, S::sub(S::zero(), v)));
  }
  return S::reduce_max(top);
}

// Zero, or not a number where one of the group is an infinity or none.
template <typename S>
inline float zero_of(const float* x) {
  typename S::F sum = S::zero();
  for (int64_t c = 0; c < kGroupCols; c += S::kLanes) sum = S::fma(S::load(x + c), S::zero(), sum);
  return S::reduce_add(sum);
}

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

// Of the scales largest / t, t = 127 and from 120 up, the one of least squared error.
template <typename S>
void quantize_int8(const float* x, PlainBlock& block) {
  constexpr int kCandidates = 16;
  const auto levels = [](const float* from, float scale) {
    const typename S::F level = S::round(S::mul(S::load(from), S::set1(scale > 0 ? 1.0f / scale : 0.0f)));
    return S::min(S::max(level, S::set1(-127)), S::set1(127));
  };
  for (size_t g = 0; g < 2; ++g, x += kGroupCols) {
    const float largest = largest_magnitude<S>(x);
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
    block.scale[g] = best + zero_of<S>(x);
    for (size_t c = 0; c < kGroupCols; ++c) block.code[g * kGroupCols + c] = static_cast<uint8_t>(codes[c] + 128);
  }
}

// The codebooks of int4 as what a search needs: for a level y in slot floor(y / 8) + 16 at most one boundary between
// neighbouring codes; below it the one is nearest, from it on the other.
struct BookSlots {
  static constexpr int kSlots = 32;
  float boundary[4][kSlots], lower[4][kSlots], upper[4][kSlots];
  float level[4][16];

  BookSlots() {
    const Codebooks& books = codebooks(PanelFormat::int4);
    for (int b = 0; b < 4; ++b) {
      for (int i = 0; i < 16; ++i) level[b][i] = static_cast<float>(books[static_cast<size_t>(16 * b + i)]) - 128;
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
  int64_t index(int b, float value) const { return std::lower_bound(level[b], level[b] + 16, value) - level[b]; }
};

// The nearest levels of a book to x / scale.
template <typename S>
inline typename S::F nearest_level(const BookSlots& slots, int b, typename S::F y) {
  const typename S::F slot =
      S::min(S::max(S::floor(S::fma(y, S::set1(0.125f), S::set1(16))), S::zero()), S::set1(BookSlots::kSlots - 1));
  const typename S::F boundary = S::look_up_32(slots.boundary[b], slot), lower = S::look_up_32(slots.lower[b], slot),
                      upper = S::look_up_32(slots.upper[b], slot);
  return S::select_below(y, boundary, lower, upper);
}

// Scales of either sign whose lowest four bits choose the books; errors weighted by |w| + mean |w|, as tensor/int4.h
// has it. Tried: those that spread the largest magnitude to 0.85 … 1.15 of either end of the books, and twice what
// least squares make of the best one's codes.
template <typename S>
void quantize_int4(const float* x, PlainBlock& block) {
  static const BookSlots slots;
  constexpr int kSpreads = 10;
  constexpr float kEnds[2] = {-127, 118};
  for (size_t g = 0; g < 2; ++g, x += kGroupCols) {
    float extreme = 0;
    for (int64_t c = 0; c < kGroupCols; ++c)
      if (std::fabs(x[c]) > std::fabs(extreme)) extreme = x[c];
    alignas(64) float weights[kGroupCols], levels[kGroupCols], best_levels[kGroupCols];
    const auto magnitude = [&](int64_t c) { return S::max(S::load(x + c), S::sub(S::zero(), S::load(x + c))); };
    const float mean = sum_32<S>(magnitude) / kGroupCols;
    for (int64_t c = 0; c < kGroupCols; c += S::kLanes) S::store(weights + c, S::add(magnitude(c), S::set1(mean)));

    // The best books for a scale; its weighted error, and `levels`.
    const auto choose = [&](float scale, unsigned& choice) {
      const typename S::F inverse = S::set1(scale != 0 ? 1.0f / scale : 0.0f);
      float total = 0;
      choice = 0;
      for (int64_t first = 0; first < kGroupCols; first += kGroupCols / 2) {
        float least = 0;
        unsigned chosen = 0;
        for (int b = 0; b < 4; ++b) {
          alignas(64) float own[16];
          const float error = sum_16<S>([&](int64_t c) {
            const typename S::F value = S::load(x + first + c);
            const typename S::F level = nearest_level<S>(slots, b, S::mul(value, inverse));
            S::store(own + c, level);
            const typename S::F miss = S::fma(S::set1(-scale), level, value);
            return S::mul(S::mul(miss, miss), S::load(weights + first + c));
          });
          if (b > 0 && !(error < least)) continue;
          least = error;
          chosen = static_cast<unsigned>(b);
          std::copy(own, own + 16, levels + first);
        }
        total += least;
        choice |= chosen << (first == 0 ? 0 : 2);
      }
      return total;
    };
    // The nearest f16 whose lowest bits are zero.
    const auto rounded = [](float scale) {
      const f16 bits = to_f16(scale);
      return static_cast<uint16_t>((bits.bits + 8u) & ~15u);
    };
    uint16_t best = 0;
    unsigned best_choice = 0;
    float least = 0;
    bool any = false;
    const auto consider = [&](float wanted) {
      const uint16_t bits = rounded(wanted);
      unsigned choice;
      const float error = choose(to_float(f16{bits}), choice);
      if (any && !(error < least)) return;
      any = true;
      best = bits;
      best_choice = choice;
      least = error;
      std::copy(levels, levels + kGroupCols, best_levels);
    };
    for (const float end : kEnds)
      for (int i = 0; i < kSpreads; ++i)
        consider(extreme / (end * (0.85f + 0.3f / (kSpreads - 1) * static_cast<float>(i))));
    for (int i = 0; i < 2; ++i) {
      const auto weighted = [&](int64_t c) { return S::mul(S::load(weights + c), S::load(best_levels + c)); };
      const float products = sum_32<S>([&](int64_t c) { return S::mul(weighted(c), S::load(x + c)); });
      const float squares = sum_32<S>([&](int64_t c) { return S::mul(weighted(c), S::load(best_levels + c)); });
      if (squares > 0) consider(products / squares);
    }
    const float scale = to_float(f16{static_cast<uint16_t>(best | best_choice)});
    const typename S::F inverse = S::set1(scale != 0 ? 1.0f / scale : 0.0f);
    for (int64_t c = 0; c < kGroupCols; c += S::kLanes) {
      const int b = static_cast<int>(c < kGroupCols / 2 ? best_choice & 3 : best_choice >> 2);
      S::store(levels + c, nearest_level<S>(slots, b, S::mul(S::load(x + c), inverse)));
      for (int64_t i = c; i < c + S::kLanes; ++i)
        block.code[g * kGroupCols + static_cast<size_t>(i)] = static_cast<uint8_t>(slots.index(b, levels[i]));
    }
    block.scale[g] = scale + zero_of<S>(x);
  }
}

}  // namespace
}  // namespace qwill::cpu
