// linear: y[m, n] (+)= sum_k x[m, k] w[n, k]
// x [M, K] packed operand, w [N, K] row-major as stored (f32, bf16 or f16, widened in registers), y f32
// Sums: one vector of lanes per output, k in order in steps of the vector, then one fixed tree. The register block
// (rows x outs) only chooses which outputs advance together, so bits do not depend on M, N or the thread.
// moves N*K weights once per call (a task's rows stay in L2 while the operand passes) + M*K operands; 2*M*N*K flops
// reference: ops/reference.cpp linear    test: tests/ops/test_linear.cpp
#pragma once

#include <cstring>

#include "cpu/kernels.h"
#include "cpu/kernels/vector_math.h"

namespace qwill::cpu {
namespace {  // each target compiles its own copy with its own flags; the linker may not merge them

// kOuts outputs, out_stride apart: that many streams of weights run side by side through the task's memory, which the
// hardware follows better than short rows one after another.
template <typename S, typename W, int kRows, int kOuts>
inline void linear_block(const W* w, int64_t out_stride, const float* x, int64_t k, float* y, int64_t ldy, bool add) {
  typename S::F sums[kRows][kOuts];
  for (int r = 0; r < kRows; ++r)
    for (int o = 0; o < kOuts; ++o) sums[r][o] = S::zero();
  const int64_t whole = k - k % S::kLanes;
  const auto step = [&](auto load, int64_t i) {
    typename S::F weights[kOuts];
#pragma GCC unroll 8
    for (int o = 0; o < kOuts; ++o) {
      const W* p = w + o * out_stride * k + i;
      if constexpr (kRows == 1) __builtin_prefetch(reinterpret_cast<const char*>(p) + kPrefetchBytes);
      weights[o] = load(p);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const typename S::F operand = load(x + r * k + i);
#pragma GCC unroll 8
      for (int o = 0; o < kOuts; ++o) sums[r][o] = S::fma(operand, weights[o], sums[r][o]);
    }
  };
  for (int64_t i = 0; i < whole; i += S::kLanes) step([](const auto* p) { return S::load(p); }, i);
  if (whole < k) step([&](const auto* p) { return S::load_first(p, k - whole); }, whole);
  for (int r = 0; r < kRows; ++r) {
    float total[kOuts];
    if constexpr (kOuts == 4)
      S::reduce_add_4(sums[r][0], sums[r][1], sums[r][2], sums[r][3], total);
    else
      for (int o = 0; o < kOuts; ++o) total[o] = S::reduce_add(sums[r][o]);
    for (int o = 0; o < kOuts; ++o) {
      float& out = y[r * ldy + o * out_stride];
      out = add ? out + total[o] : total[o];
    }
  }
}

// kOuts outputs for all rows.
template <typename S, typename W, int kOuts>
inline void linear_outs(const W* w, int64_t out_stride, const float* x, int64_t m, int64_t k, float* y, int64_t ldy,
                        bool add) {
  int64_t i = 0;
  for (; i + S::kLinearRows <= m; i += S::kLinearRows)
    linear_block<S, W, S::kLinearRows, kOuts>(w, out_stride, x + i * k, k, y + i * ldy, ldy, add);
  for (; i < m; ++i) linear_block<S, W, 1, kOuts>(w, out_stride, x + i * k, k, y + i * ldy, ldy, add);
}

template <typename S, typename W>
void linear(const LinearTask& t) {
  const W* w = static_cast<const W*>(t.w);
  const float* x = static_cast<const float*>(t.operand);
  // Rows in blocks whose operand stays in the second-level cache.
  const int64_t block = t.k > 0 && (256 << 10) / (4 * t.k) > S::kLinearRows ? (256 << 10) / (4 * t.k) : S::kLinearRows;
  const int64_t quarter = t.n / 4;
  for (int64_t i = 0; i < t.m; i += block) {
    const int64_t rows = t.m - i < block ? t.m - i : block;
    float* y = t.y + i * t.ldy;
    for (int64_t j = 0; j < quarter; ++j)
      linear_outs<S, W, 4>(w + j * t.k, quarter, x + i * t.k, rows, t.k, y + j, t.ldy, t.add);
    for (int64_t j = 4 * quarter; j < t.n; ++j)
      linear_outs<S, W, 1>(w + j * t.k, 1, x + i * t.k, rows, t.k, y + j, t.ldy, t.add);
  }
}

inline void pack_f32(const float* x, int64_t k, int64_t first, int64_t count, int64_t, void* operand) {
  std::memcpy(static_cast<float*>(operand) + first * k, x, static_cast<size_t>(count * k) * sizeof(float));
}

// Rounded to bf16, kept as f32.
template <typename S>
void pack_rounded(const float* x, int64_t k, int64_t first, int64_t count, int64_t, void* operand) {
  float* out = static_cast<float*>(operand) + first * k;
  for_lanes<S>(count * k, [&](int64_t i, auto load, auto store) { store(out + i, S::round_to_bf16(load(x + i))); });
}

template <typename S, typename W>
constexpr LinearKernel f32_linear() {
  return {pack_f32, linear<S, W>, {1, 4}, 1, 1};
}

template <typename S>
constexpr LinearKernel rounded_linear() {
  return {pack_rounded<S>, linear<S, bf16>, {1, 4}, 1, 1};
}

}  // namespace
}  // namespace qwill::cpu
