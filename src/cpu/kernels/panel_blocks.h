// How the blocks of each format of panels (tensor/panels.h) are read, as they are stored and expanded.
// test: tests/ops/test_panels.cpp
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/panels.h"

namespace qwill::cpu {
namespace {  // each target compiles its own copy with its own flags; the linker may not merge them

// A format tells how to read a block: kCols columns in kBytes. codes() gives quads 2j and 2j + 1 of group g for the
// rows of vector v; scale() the scales of part h of group g: kParts parts of it have scales of their own.
// D: a dot policy of simd/. kAhead: see LinearTask::fetch_ahead.
template <typename D, PanelFormat kFormat, bool kAhead = false>
struct PanelBlock {
  using F = typename D::S::F;
  using I = typename D::I;
  using Books = typename D::Books;
  static constexpr int64_t kCols = panel_shape(kFormat).cols, kBytes = panel_shape(kFormat).bytes;
  static constexpr bool kInt8 = kFormat == PanelFormat::int8, kInt6 = kFormat == PanelFormat::int6,
                        kQ4K = kFormat == PanelFormat::q4_k, kQ6K = kFormat == PanelFormat::q6_k,
                        kLooked = !kInt8 && !kInt6 && !kQ4K && !kQ6K;
  static constexpr int kParts = kQ6K ? 2 : 1;
  static constexpr bool kMinimum = kQ4K;
  static constexpr int64_t kVectorRows = D::S::kLanes, kAheadBytes = 4096;
  static constexpr int64_t kCodes = kQ4K ? 128 + 512 : kQ6K ? 64 + 512 : 128;
  static constexpr bool kSix = kInt6 || kQ6K;

  static void codes(const std::byte* block, int64_t g, int64_t j, int64_t v, const Books& books, I& first, I& second) {
    if constexpr (kInt8) {
      const std::byte* p = block + kCodes + (g * 8 + 2 * j) * 128 + v * 4 * kVectorRows;
      first = D::load(p);
      second = D::load(p + 128);
    } else {
      const std::byte* p =
          block + kCodes + v * 4 * kVectorRows + (kSix ? (g * 2 + j / 2) * 384 + j % 2 * 256 : (g * 4 + j) * 128);
      if constexpr (kAhead)
        if (v * 4 * kVectorRows % 64 == 0) __builtin_prefetch(p + kAheadBytes);
      const I both = D::load(p);
      I rest;
      if constexpr (kSix) rest = D::load(p + (j % 2 == 0 ? 128 : -128));
      if constexpr (kInt6) {
        first = D::join_six(D::template shift<-4>(both),
                            j % 2 == 0 ? D::template shift<-2>(rest) : D::template shift<2>(rest));
        second = D::join_six(both, j % 2 == 0 ? rest : D::template shift<4>(rest));
      } else if constexpr (kLooked) {
        const auto choice = D::choice(block + g * 64 + v * 2 * kVectorRows, static_cast<int>(j / 2));
        first = D::look_up(books, choice, both);
        second = D::look_up(books, choice, D::high_halves(both));
      } else {
        first = D::low_half(both);
        second = D::low_half(D::high_halves(both));
      }
      if constexpr (kQ6K) {
        const I bits = j % 2 == 0 ? rest : D::high_halves(rest);
        first = D::offset_96(D::or_shifted_4(first, D::template two_bits<0>(bits)));
        second = D::offset_96(D::or_shifted_4(second, D::template two_bits<2>(bits)));
      }
    }
  }
  static F scale(const std::byte* block, int64_t g, int part, int64_t v) {
    const auto* f16s = reinterpret_cast<const f16*>(block);
    const int64_t lane = v * kVectorRows;
    if constexpr (kQ4K)
      return D::S::mul(D::S::load(f16s + lane), D::load_u8(block + 128 + g * 32 + lane));
    else if constexpr (kQ6K)
      return D::S::mul(D::S::load(f16s + lane), D::load_i8(block + 64 + (2 * g + part) * 32 + lane));
    else
      return D::S::load(f16s + g * 32 + lane);
  }
  static F minimum(const std::byte* block, int64_t g, int64_t v) {
    const int64_t lane = v * kVectorRows;
    return D::S::mul(D::S::load(reinterpret_cast<const f16*>(block) + 32 + lane),
                     D::load_u8(block + 128 + 256 + g * 32 + lane));
  }
};

// The same with everything expanded: f32 scale[parts][32]; f32 minimum[32]; code[8 quads][32][4], a group a block.
template <typename D, PanelFormat kFormat>
struct ExpandedBlock {
  using F = typename D::S::F;
  using I = typename D::I;
  using Books = typename D::Books;
  static constexpr int kParts = PanelBlock<D, kFormat>::kParts;
  static constexpr bool kMinimum = PanelBlock<D, kFormat>::kMinimum;
  static constexpr int64_t kVectorRows = D::S::kLanes, kMinima = kParts * 128, kCodes = kMinima + (kMinimum ? 128 : 0),
                           kCols = kGroupCols, kBytes = kCodes + 1024;

  static void codes(const std::byte* block, int64_t, int64_t j, int64_t v, const Books&, I& first, I& second) {
    const std::byte* p = block + kCodes + j * 256 + v * 4 * kVectorRows;
    first = D::load(p);
    second = D::load(p + 128);
  }
  static F scale(const std::byte* block, int64_t, int part, int64_t v) {
    return D::S::load(reinterpret_cast<const float*>(block) + part * 32 + v * kVectorRows);
  }
  static F minimum(const std::byte* block, int64_t, int64_t v) {
    return D::S::load(reinterpret_cast<const float*>(block + kMinima) + v * kVectorRows);
  }
};

}  // namespace
}  // namespace qwill::cpu
