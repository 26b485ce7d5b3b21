// linear with weights in panels (tensor/panels.h) and activations of eight bits:
//   y[m, n] (+)= sum over groups g of 32 columns, ascending, of scale_w[n, g] scale_x[m, g] (sum_k code_w code_x)
// x [M, K] packed groups (Group of the dot policy), y f32. The inner sums are exact integers, the outer ones fused
// multiply-adds in one order, so bits depend on nothing else: not on M, N, the thread or the instruction set.
// One row of activations, or a few, meet a panel as it streams past; for more its codes are expanded first, once, into
// the second-level cache.
// moves a panel's bytes once per call + 44 bytes per group of activations; 2*M*N*K integer operations
// reference: tests/ops/bounds.cpp linear    test: tests/ops/test_linear.cpp
#pragma once

#include <cstring>

#include "cpu/kernels.h"
#include "cpu/kernels/panel_blocks.h"
#include "cpu/kernels/vector_math.h"
#include "tensor/panels.h"

namespace qwill::cpu {
namespace {  // each target compiles its own copy with its own flags; the linker may not merge them

template <typename D, PanelFormat kFormat, bool kAhead>
void expand_panel(const std::byte* panel, int64_t num_blocks, const typename D::Books& books, std::byte* out) {
  using From = PanelBlock<D, kFormat, kAhead>;
  using To = ExpandedBlock<D, kFormat>;
  constexpr int64_t kVectors = kPanelRows / D::S::kLanes;
  for (int64_t b = 0; b < num_blocks; ++b, panel += From::kBytes)
    for (int64_t g = 0; g < From::kCols / kGroupCols; ++g, out += To::kBytes)
      for (int64_t v = 0; v < kVectors; ++v) {
        float* scales = reinterpret_cast<float*>(out) + v * D::S::kLanes;
        for (int part = 0; part < From::kParts; ++part) D::S::store(scales + part * 32, From::scale(panel, g, part, v));
        if constexpr (From::kMinimum)
          D::S::store(reinterpret_cast<float*>(out + To::kMinima) + v * D::S::kLanes, From::minimum(panel, g, v));
        for (int64_t j = 0; j < 4; ++j) {
          typename D::I first, second;
          From::codes(panel, g, j, v, books, first, second);
          std::byte* codes = out + To::kCodes + j * 256 + v * 4 * D::S::kLanes;
          D::store(codes, first);
          D::store(codes + 128, second);
        }
      }
}

// What the integer sum of a part begins with, so that it becomes that of (code - 128) x, or of code x where there is a
// minimum. Policies whose products take signed bytes subtract the 128 from every code themselves.
template <typename D, typename Block>
inline int32_t start_of(const typename D::Group& group, int part) {
  if constexpr (Block::kMinimum) return D::kSubtracts128 ? -group.start : 0;
  if constexpr (D::kSubtracts128) return 0;
  if constexpr (Block::kParts == 1) return group.start;
  return part == 0 ? group.half_start : group.start - group.half_start;
}

// kRows rows of activations times kVectors vectors of a panel's rows, from vector v0 on: out[row][vector].
template <typename D, typename Block, int kRows, int kVectors>
inline void panel_block(const std::byte* panel, int64_t num_blocks, int64_t v0, const typename D::Group* x, int64_t ldx,
                        const typename D::Books& books, typename D::S::F (&sums)[kRows][kVectors]) {
  using S = typename D::S;
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) sums[r][v] = S::zero();
  for (int64_t b = 0; b < num_blocks; ++b, panel += Block::kBytes) {
    // Cores look ahead in what is read from its beginning to its end; scales of later groups would interrupt that.
    if constexpr (kRows == 1)
      for (int64_t line = 128; line < Block::kCodes; line += 64) __builtin_prefetch(panel + line);
    for (int64_t g = 0; g < Block::kCols / kGroupCols; ++g, ++x) {
#pragma GCC unroll 2
      for (int part = 0; part < Block::kParts; ++part) {
        typename D::I dots[kRows][kVectors];
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
          for (int v = 0; v < kVectors; ++v) dots[r][v] = D::start(start_of<D, Block>(x[r * ldx], part));
        constexpr int64_t kSteps = 4 / Block::kParts;
#pragma GCC unroll 4
        for (int64_t step = 0; step < kSteps; ++step) {
          const int64_t j = part * kSteps + step;
          typename D::I first[kVectors], second[kVectors];
#pragma GCC unroll 8
          for (int v = 0; v < kVectors; ++v) Block::codes(panel, g, j, v0 + v, books, first[v], second[v]);
#pragma GCC unroll 8
          for (int r = 0; r < kRows; ++r) {
            const typename D::Quad a = D::quad(x[r * ldx], 2 * j), c = D::quad(x[r * ldx], 2 * j + 1);
#pragma GCC unroll 8
            for (int v = 0; v < kVectors; ++v) dots[r][v] = D::dot(D::dot(dots[r][v], first[v], a), second[v], c);
          }
        }
        typename S::F scale[kVectors];
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) scale[v] = Block::scale(panel, g, part, v0 + v);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          const typename S::F own = S::set1(x[r * ldx].scale);
#pragma GCC unroll 8
          for (int v = 0; v < kVectors; ++v)
            sums[r][v] = S::fma(S::mul(D::to_float(dots[r][v]), scale[v]), own, sums[r][v]);
        }
      }
      if constexpr (Block::kMinimum) {
        typename S::F minimum[kVectors];
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) minimum[v] = Block::minimum(panel, g, v0 + v);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          // -minimum * scale * sum, of which the group has -128 sum
          const typename S::F total = S::set1(x[r * ldx].scale * (static_cast<float>(x[r * ldx].start) * 0x1p-7f));
#pragma GCC unroll 8
          for (int v = 0; v < kVectors; ++v) sums[r][v] = S::fma(minimum[v], total, sums[r][v]);
        }
      }
    }
  }
}

template <typename D, typename Block, int kRows, int kVectors>
inline void panel_rows(const std::byte* panel, int64_t num_blocks, const typename D::Group* x, int64_t ldx,
                       const typename D::Books& books, float* y, int64_t ldy, int64_t n, bool add) {
  using S = typename D::S;
  for (int64_t v0 = 0; v0 * S::kLanes < n; v0 += kVectors) {
    typename S::F sums[kRows][kVectors];
    panel_block<D, Block, kRows, kVectors>(panel, num_blocks, v0, x, ldx, books, sums);
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < kVectors; ++v) {
        float* out = y + r * ldy + (v0 + v) * S::kLanes;
        const int64_t rest = n - (v0 + v) * S::kLanes;
        if (rest >= S::kLanes)
          S::store(out, add ? S::add(S::load(out), sums[r][v]) : sums[r][v]);
        else if (rest > 0)
          S::store_first(out, rest, add ? S::add(S::load_first(out, rest), sums[r][v]) : sums[r][v]);
      }
  }
}

// All rows of activations times one panel of n rows.
template <typename D, typename Block>
inline void panel_all_rows(const std::byte* panel, int64_t num_blocks, const LinearTask& t, int64_t ldx,
                           const typename D::Books& books, float* y, int64_t n) {
  const auto* x = static_cast<const typename D::Group*>(t.operand);
  int64_t i = 0;
  if constexpr (requires { D::kTileRows; })
    if (n == kPanelRows) i = D::template take_rows<Block>(panel, num_blocks, x, ldx, t.m, y, t.ldy, t.add);
  const auto take = [&]<int kRows>() {
    for (; i + kRows <= t.m; i += kRows)
      panel_rows<D, Block, kRows, D::kVectors>(panel, num_blocks, x + i * ldx, ldx, books, y + i * t.ldy, t.ldy, n,
                                               t.add);
  };
  take.template operator()<D::kRows>();
  if constexpr (D::kRows > 2) take.template operator()<2>();
  take.template operator()<1>();
}

template <typename D, PanelFormat kFormat>
void linear_panels(const LinearTask& t) {
  using Block = PanelBlock<D, kFormat>;
  typename D::Books books = {};
  if constexpr (Block::kLooked) books = D::load_books(t.books);
  const int64_t num_blocks = panel_blocks(kFormat, t.k), ldx = operand_groups(t.k);
  const auto* panel = static_cast<const std::byte*>(t.w);
  for (int64_t j = 0; j < t.n; j += kPanelRows, panel += num_blocks * Block::kBytes) {
    const int64_t n = t.n - j < kPanelRows ? t.n - j : kPanelRows;
    if (t.m == 1) {
      const auto take = [&]<typename From>() {
        panel_rows<D, From, 1, kPanelRows / D::S::kLanes>(
            panel, num_blocks, static_cast<const typename D::Group*>(t.operand), ldx, books, t.y + j, t.ldy, n, t.add);
      };
      if (t.fetch_ahead && kFormat != PanelFormat::int8)
        take.template operator()<PanelBlock<D, kFormat, kFormat != PanelFormat::int8>>();
      else
        take.template operator()<Block>();
    } else if (kFormat == PanelFormat::int8 || (t.m <= D::kUnexpandedRows && !t.fetch_ahead)) {
      panel_all_rows<D, Block>(panel, num_blocks, t, ldx, books, t.y + j, n);
    } else {
      auto* expanded = static_cast<std::byte*>(t.scratch);
      (t.fetch_ahead ? expand_panel<D, kFormat, true> : expand_panel<D, kFormat, false>)(panel, num_blocks, books,
                                                                                         expanded);
      panel_all_rows<D, ExpandedBlock<D, kFormat>>(expanded, num_blocks * Block::kCols / kGroupCols, t, ldx, books,
                                                   t.y + j, n);
    }
  }
}

// Each group of 32 columns with its scale = max |x| / 127 and -128 times the sum of its codes, and of half of them.
// Columns beyond the end count as zeros. A group with an infinity or a NaN has a scale that is none.
template <typename D>
void pack_groups(const float* x, int64_t k, int64_t first, int64_t count, int64_t, void* operand) {
  using S = typename D::S;
  const int64_t groups = operand_groups(k);
  auto* out = static_cast<typename D::Group*>(operand) + first * groups;
  for (int64_t i = 0; i < count; ++i, x += k)
    for (int64_t g = 0; g < groups; ++g, ++out) {
      alignas(64) float values[kGroupCols];
      const float* from = x + g * kGroupCols;
      if (const int64_t rest = k - g * kGroupCols; rest < kGroupCols) {
        for (int64_t c = 0; c < kGroupCols; ++c) values[c] = c < rest ? from[c] : 0.0f;
        from = values;
      }
      const float largest = largest_magnitude<S>(from, kGroupCols);
      const typename S::F inverse = S::set1(largest > 1e-30f ? 127.0f / largest : 0.0f);
      int8_t* codes = out->codes();
      float sums[2];  // of integers: exact in any order; not a number if one of the group is an infinity or none
      for (int64_t half = 0; half < 2; ++half) {
        typename S::F sum = S::zero();
        for (int64_t c = half * kGroupCols / 2; c < (half + 1) * kGroupCols / 2; c += S::kLanes) {
          const typename S::F code = S::round(S::mul(S::load(from + c), inverse));
          S::store(codes + c, code);
          sum = S::add(sum, code);
        }
        sums[half] = S::reduce_add(sum);
      }
      out->arrange();
      const float none = 0.0f * (sums[0] + sums[1]);
      out->scale = largest * (1.0f / 127) + none;
      if (none != none) sums[0] = sums[1] = 0;
      out->start = -128 * static_cast<int32_t>(sums[0] + sums[1]);
      out->half_start = -128 * static_cast<int32_t>(sums[0]);
    }
}

template <typename D, PanelFormat kFormat>
constexpr LinearKernel panel_linear() {
  const int64_t expanded = kFormat == PanelFormat::int8 ? 0 : ExpandedBlock<D, kFormat>::kBytes;
  return {pack_groups<D>, linear_panels<D, kFormat>, {64, 2 * sizeof(typename D::Group)}, 1, 1, expanded};
}

// By PanelFormat.
template <typename D>
constexpr std::array<LinearKernel, kNumPanelFormats> panel_linears() {
  std::array<LinearKernel, kNumPanelFormats> all;
  const auto at = [&](PanelFormat format) -> LinearKernel& { return all[static_cast<size_t>(format)]; };
  at(PanelFormat::int8) = panel_linear<D, PanelFormat::int8>();
  at(PanelFormat::int6) = panel_linear<D, PanelFormat::int6>();
  at(PanelFormat::int4) = at(PanelFormat::q4_0) = at(PanelFormat::iq4_nl) = panel_linear<D, PanelFormat::int4>();
  at(PanelFormat::q4_k) = panel_linear<D, PanelFormat::q4_k>();
  at(PanelFormat::q6_k) = panel_linear<D, PanelFormat::q6_k>();
  return all;
}

}  // namespace
}  // namespace qwill::cpu
