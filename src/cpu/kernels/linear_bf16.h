// linear with bf16 operands by VDPBF16PS: each of 16 lanes adds the products of its pair (2i, 2i + 1) to its sum, the
// pair's higher element first, rounding to nearest even and flushing denormals (Intel SDM, VDPBF16PS).
// x [M, K] bf16 rows, w [N, K] bf16 row-major. Sums: one vector per output, k in order in steps of 32, one fixed tree.
// moves 2*N*K bytes of weights + 2*M*K of operands; 2*M*N*K flops
// reference: ops/reference.cpp linear    test: tests/ops/test_linear.cpp
#pragma once

#include <immintrin.h>

#include "cpu/kernels.h"
#include "cpu/simd/avx512.h"

namespace qwill::cpu {
namespace {  // each target compiles its own copy with its own flags; the linker may not merge them

inline __m512bh load_pairs(const bf16* p) { return reinterpret_cast<__m512bh>(_mm512_loadu_si512(p)); }
inline __m512bh load_pairs_first(const bf16* p, int64_t n) {
  return reinterpret_cast<__m512bh>(_mm512_maskz_loadu_epi16(static_cast<__mmask32>((1ull << n) - 1), p));
}

// kOuts outputs, out_stride apart (see linear.h).
template <int kRows, int kOuts>
inline void dot_block(const bf16* w, int64_t out_stride, const bf16* x, int64_t k, float* y, int64_t ldy, bool add) {
  __m512 sums[kRows][kOuts];
  for (int r = 0; r < kRows; ++r)
    for (int o = 0; o < kOuts; ++o) sums[r][o] = _mm512_setzero_ps();
  const int64_t whole = k - k % 32;
  const auto step = [&](auto load, int64_t i) {
    __m512bh weights[kOuts];
#pragma GCC unroll 8
    for (int o = 0; o < kOuts; ++o) {
      const bf16* p = w + o * out_stride * k + i;
      if constexpr (kRows == 1) __builtin_prefetch(reinterpret_cast<const char*>(p) + kPrefetchBytes);
      weights[o] = load(p);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const __m512bh operand = load(x + r * k + i);
#pragma GCC unroll 8
      for (int o = 0; o < kOuts; ++o) sums[r][o] = _mm512_dpbf16_ps(sums[r][o], operand, weights[o]);
    }
  };
  for (int64_t i = 0; i < whole; i += 32) step([](const bf16* p) { return load_pairs(p); }, i);
  if (whole < k) step([&](const bf16* p) { return load_pairs_first(p, k - whole); }, whole);
  for (int r = 0; r < kRows; ++r) {
    float total[kOuts];
    if constexpr (kOuts == 4)
      Avx512::reduce_add_4(sums[r][0], sums[r][1], sums[r][2], sums[r][3], total);
    else
      for (int o = 0; o < kOuts; ++o) total[o] = Avx512::reduce_add(sums[r][o]);
    for (int o = 0; o < kOuts; ++o) {
      float& out = y[r * ldy + o * out_stride];
      out = add ? out + total[o] : total[o];
    }
  }
}

template <int kOuts>
inline void dot_outs(const bf16* w, int64_t out_stride, const bf16* x, int64_t m, int64_t k, float* y, int64_t ldy,
                     bool add) {
  int64_t i = 0;
  for (; i + 6 <= m; i += 6) dot_block<6, kOuts>(w, out_stride, x + i * k, k, y + i * ldy, ldy, add);
  for (; i < m; ++i) dot_block<1, kOuts>(w, out_stride, x + i * k, k, y + i * ldy, ldy, add);
}

inline void linear_bf16(const LinearTask& t) {
  const bf16* w = static_cast<const bf16*>(t.w);
  const bf16* x = static_cast<const bf16*>(t.operand);
  // Rows in blocks whose operand stays in the second-level cache.
  const int64_t block = t.k > 0 && (256 << 10) / (2 * t.k) > 6 ? (256 << 10) / (2 * t.k) : 6;
  const int64_t quarter = t.n / 4;
  for (int64_t i = 0; i < t.m; i += block) {
    const int64_t rows = t.m - i < block ? t.m - i : block;
    float* y = t.y + i * t.ldy;
    for (int64_t j = 0; j < quarter; ++j)
      dot_outs<4>(w + j * t.k, quarter, x + i * t.k, rows, t.k, y + j, t.ldy, t.add);
    for (int64_t j = 4 * quarter; j < t.n; ++j)
      dot_outs<1>(w + j * t.k, 1, x + i * t.k, rows, t.k, y + j, t.ldy, t.add);
  }
}

inline void pack_bf16(const float* x, int64_t k, int64_t first, int64_t count, int64_t, void* operand) {
  bf16* out = static_cast<bf16*>(operand) + first * k;
  const int64_t n = count * k;
  int64_t i = 0;
  for (; i + 16 <= n; i += 16)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), Avx512::to_bf16_bits(Avx512::load(x + i)));
  if (i < n)
    _mm256_mask_storeu_epi16(out + i, Avx512::first(n - i), Avx512::to_bf16_bits(Avx512::load_first(x + i, n - i)));
}

inline constexpr LinearKernel kBf16Linear = {pack_bf16, linear_bf16, {1, 2}, 1, 1};

}  // namespace
}  // namespace qwill::cpu
