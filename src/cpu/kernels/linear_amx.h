// linear with bf16 operands by AMX tiles (TDPBF16PS): C[16 outputs, 16 rows] += A[16 outputs, 32 k] B[32 k, 16 rows].
// The weights are the A operand straight from their row-major rows; the activations are packed as the B operand:
// per block of 16 rows (fewer in the last), [K / 2][rows][2] bf16. Each output element adds its pairs of products in
// the order of k to one f32 sum, rounding to nearest even and flushing denormals (Intel SDM, TDPBF16PS), whatever the
// tile's shape: the same bits for one row as for 8,192.
// needs N a multiple of 16 and K a multiple of 32
// moves 2*N*K bytes of weights once per call + operands; 2*M*N*K flops
// reference: ops/reference.cpp linear    test: tests/ops/test_linear.cpp
#pragma once

#include <immintrin.h>

#include "cpu/kernels.h"
#include "cpu/simd/avx512.h"

namespace qwill::cpu {
namespace {  // each target compiles its own copy with its own flags; the linker may not merge them

// Tiles 0-3: sums; 4, 5: weights; 6, 7: operands (7 always of 16 rows, 6 of the block's).
struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};

  // num_rows: activation rows in the operand tiles and the columns of the sums.
  explicit TileConfig(int64_t num_rows) {
    for (int t = 0; t < 8; ++t) {
      rows[t] = 16;
      row_bytes[t] = t == 4 || t == 5 ? 64 : static_cast<uint16_t>(4 * num_rows);
    }
  }
};

inline void configure_tiles(int64_t num_rows) {
  const TileConfig config(num_rows);
  asm volatile("" : : "r"(&config) : "memory");  // GCC's intrinsic claims to read eight bytes of the 64
  _tile_loadconfig(&config);
}

inline void transpose(__m512 (&r)[16]) {
  __m512 s[16];
  for (int i = 0; i < 16; i += 2) {
    s[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
    s[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(s[i]), _mm512_castps_pd(s[i + 2])));
    r[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(s[i]), _mm512_castps_pd(s[i + 2])));
    r[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(s[i + 1]), _mm512_castps_pd(s[i + 3])));
    r[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(s[i + 1]), _mm512_castps_pd(s[i + 3])));
  }
  for (int i = 0; i < 4; ++i) {
    s[i] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
    s[i + 4] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
    s[i + 8] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
    s[i + 12] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
  }
  for (int i = 0; i < 8; ++i) {
    r[i] = _mm512_shuffle_f32x4(s[i], s[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_f32x4(s[i], s[i + 8], 0xdd);
  }
}

// y[i * ldy + j] (+)= c[j][i]: a 16 x 16 block of sums, transposed; num_rows of its columns count.
inline void store_transposed(const float (&c)[16][16], int64_t num_rows, float* y, int64_t ldy, bool add) {
  if (num_rows == 1) {
    const __m512i column = _mm512_setr_epi32(0, 16, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240);
    const __m512 sums = _mm512_i32gather_ps(column, &c[0][0], 4);
    _mm512_storeu_ps(y, add ? _mm512_add_ps(_mm512_loadu_ps(y), sums) : sums);
    return;
  }
  __m512 r[16];
  for (int i = 0; i < 16; ++i) r[i] = _mm512_load_ps(c[i]);
  transpose(r);
  for (int64_t i = 0; i < num_rows; ++i)
    _mm512_storeu_ps(y + i * ldy, add ? _mm512_add_ps(_mm512_loadu_ps(y + i * ldy), r[i]) : r[i]);
}

// 32 (kPair) or 16 outputs times one block of num_rows <= 16 rows.
template <bool kPair>
inline void tile_block(const LinearTask& t, const bf16* w, const bf16* x, int64_t num_rows, float* y) {
  constexpr int64_t kOuts = kPair ? 32 : 16;
  const int64_t k = t.k;
  _tile_zero(0);
  if (kPair) _tile_zero(1);
  for (int64_t i = 0; i < k; i += 32) {
    _tile_loadd(6, x + i * num_rows, 4 * num_rows);
    _tile_loadd(4, w + i, 2 * k);
    _tile_dpbf16ps(0, 4, 6);
    if (kPair) {
      _tile_loadd(5, w + 16 * k + i, 2 * k);
      _tile_dpbf16ps(1, 5, 6);
    }
  }
  alignas(64) float c[2][16][16];
  _tile_stored(0, c[0], 64);
  if (kPair) _tile_stored(1, c[1], 64);
  for (int o = 0; o < kOuts / 16; ++o) store_transposed(c[o], num_rows, y + 16 * o, t.ldy, t.add);
}

// One row of activations waits for memory: output j of a tile is j * (n / 16), so that 16 streams run side by side
// through the task's weights.
inline void tile_row(const LinearTask& t, const bf16* w, const bf16* x, int64_t out_stride, float* y) {
  const int64_t k = t.k;
  _tile_zero(0);
  for (int64_t i = 0; i < k; i += 32) {
    for (int64_t o = 0; o < 16; ++o)
      __builtin_prefetch(reinterpret_cast<const char*>(w + o * out_stride * k + i) + kPrefetchBytes / 2);
    _tile_loadd(6, x + i, 4);
    _tile_loadd(4, w + i, 2 * k * out_stride);
    _tile_dpbf16ps(0, 4, 6);
  }
  alignas(64) float c[16][16];
  _tile_stored(0, c, 64);
  for (int64_t o = 0; o < 16; ++o) {
    float& out = y[o * out_stride];
    out = t.add ? out + c[o][0] : c[o][0];
  }
}

// 32 outputs times 32 rows.
inline void tile_block_2x2(const LinearTask& t, const bf16* w, const bf16* x, float* y) {
  const int64_t k = t.k;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t i = 0; i < k; i += 32) {
    _tile_loadd(4, w + i, 2 * k);
    _tile_loadd(6, x + i * 16, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, x + (k + i) * 16, 64);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, w + 16 * k + i, 2 * k);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  alignas(64) float c[4][16][16];
  _tile_stored(0, c[0], 64);
  _tile_stored(1, c[1], 64);
  _tile_stored(2, c[2], 64);
  _tile_stored(3, c[3], 64);
  for (int64_t b = 0; b < 4; ++b)  // outputs b / 2, rows b % 2
    store_transposed(c[b], 16, y + (b % 2) * 16 * t.ldy + (b / 2) * 16, t.ldy, t.add);
}

// All outputs of the task times a run of full blocks of 16 rows.
inline void tile_rows(const LinearTask& t, int64_t first, int64_t count) {
  const bf16* w = static_cast<const bf16*>(t.w);
  const bf16* x = static_cast<const bf16*>(t.operand);
  for (int64_t j = 0; j < t.n; j += 32) {
    const bool pair = j + 32 <= t.n;
    int64_t i = first;
    if (pair)
      for (; i + 32 <= first + count; i += 32) tile_block_2x2(t, w + j * t.k, x + i * t.k, t.y + i * t.ldy + j);
    for (; i < first + count; i += 16) {
      float* y = t.y + i * t.ldy + j;
      if (pair)
        tile_block<true>(t, w + j * t.k, x + i * t.k, 16, y);
      else
        tile_block<false>(t, w + j * t.k, x + i * t.k, 16, y);
    }
  }
}

inline void linear_amx(const LinearTask& t) {
  const bf16* w = static_cast<const bf16*>(t.w);
  const bf16* x = static_cast<const bf16*>(t.operand);
  const int64_t whole = t.m - t.m % 16, rest = t.m - whole;
  if (whole > 0) {
    configure_tiles(16);
    // Rows in runs whose operand stays in the second-level cache beside the task's weights.
    const int64_t fitting = (768 << 10) / (2 * t.k) / 32 * 32, run = fitting > 32 ? fitting : 32;
    for (int64_t i = 0; i < whole; i += run) tile_rows(t, i, whole - i < run ? whole - i : run);
  }
  if (t.m == 1) {
    configure_tiles(1);
    for (int64_t j = 0; j < t.n / 16; ++j) tile_row(t, w + j * t.k, x, t.n / 16, t.y + j);
  } else if (rest > 0) {
    configure_tiles(rest);
    for (int64_t j = 0; j < t.n; j += 32) {
      float* y = t.y + whole * t.ldy + j;
      if (j + 32 <= t.n)
        tile_block<true>(t, w + j * t.k, x + whole * t.k, rest, y);
      else
        tile_block<false>(t, w + j * t.k, x + whole * t.k, rest, y);
    }
  }
  _tile_release();
}

inline void pack_tiles(const float* x, int64_t k, int64_t first, int64_t count, int64_t m, void* operand) {
  for (int64_t block = first; block < first + count; block += 16) {
    const int64_t rows = m - block < 16 ? m - block : 16;
    bf16* out = static_cast<bf16*>(operand) + block * k;
    for (int64_t i = 0; i < k; i += 32) {
      __m512 pairs[16];  // per row, 16 pairs of k
      for (int64_t r = 0; r < 16; ++r) {
        pairs[r] = _mm512_setzero_ps();
        if (r >= rows) continue;
        const float* row = x + (block - first + r) * k + i;
        const __m256i low = Avx512::to_bf16_bits(Avx512::load(row)),
                      high = Avx512::to_bf16_bits(Avx512::load(row + 16));
        pairs[r] = _mm512_castsi512_ps(_mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1));
      }
      transpose(pairs);
      for (int64_t p = 0; p < 16; ++p)
        _mm512_mask_storeu_ps(reinterpret_cast<float*>(out + (i + 2 * p) * rows), Avx512::first(rows), pairs[p]);
    }
  }
}

inline constexpr LinearKernel kTileLinear = {pack_tiles, linear_amx, {1, 2}, 16, 32};

}  // namespace
}  // namespace qwill::cpu
