// Integer dot products of panels by matrix tiles: TDPBSUD of AMX for 32 rows of activations and the 32 of a panel, a
// group of 32 columns at a time, since each group has its scales. Fewer rows, and formats whose groups have more than
// one scale, go by VPDPBUSD; sums are exact integers, so their bits are the same.
#pragma once

#include "cpu/simd/dot_vnni512.h"

namespace qwill::cpu {
namespace {  // each target compiles its own copy with its own flags; the linker may not merge them

struct DotAmx : DotVnni512 {
  static constexpr int64_t kTileRows = 32;
  static_assert(kUnexpandedRows < kTileRows, "tiles read bytes, as int8 and expanded panels have them");

  // Tiles 0-3: sums of 16 x 16; 4, 5: 16 rows of a group's activations; 6, 7: the codes of 16 rows of a panel.
  struct alignas(64) Config {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 32, 32, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 8, 8};
  };

  // The first rows of activations, as many as tiles take: their number.
  template <typename Block>
  static int64_t take_rows(const std::byte* panel, int64_t num_blocks, const Group* x, int64_t ldx, int64_t m, float* y,
                           int64_t ldy, bool add) {
    if constexpr (Block::kMinimum || Block::kParts != 1) return 0;
    if (m < kTileRows) return 0;
    const Config config;
    asm volatile("" : : "r"(&config) : "memory");  // GCC's intrinsic claims to read eight bytes of the 64
    _tile_loadconfig(&config);
    int64_t i = 0;
    for (; i + kTileRows <= m; i += kTileRows, x += kTileRows * ldx, y += kTileRows * ldy)
      take_block<Block>(panel, num_blocks, x, ldx, y, ldy, add);
    _tile_release();
    return i;
  }

 private:
  template <typename Block>
  static void take_block(const std::byte* panel, int64_t num_blocks, const Group* x, int64_t ldx, float* y, int64_t ldy,
                         bool add) {
    alignas(64) float sums[kTileRows][32] = {};
    alignas(64) int32_t dots[2][2][16][16];  // rows, outputs
    const auto stride = static_cast<int64_t>(ldx * static_cast<int64_t>(sizeof(Group)));
    for (int64_t b = 0; b < num_blocks; ++b, panel += Block::kBytes)
      for (int64_t g = 0; g < Block::kCols / 32; ++g, ++x) {
        const std::byte* codes = panel + Block::kCodes + g * 1024;
        _tile_loadd(6, codes, 128);
        _tile_loadd(7, codes + 64, 128);
        _tile_loadd(4, x->quads, stride);
        _tile_loadd(5, (x + 16 * ldx)->quads, stride);
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        _tile_dpbsud(0, 4, 6);
        _tile_dpbsud(1, 4, 7);
        _tile_dpbsud(2, 5, 6);
        _tile_dpbsud(3, 5, 7);
        _tile_stored(0, dots[0][0], 64);
        _tile_stored(1, dots[0][1], 64);
        _tile_stored(2, dots[1][0], 64);
        _tile_stored(3, dots[1][1], 64);
        const __m512 scales[2] = {Block::scale(panel, g, 0, 0), Block::scale(panel, g, 0, 1)};
        for (int64_t r = 0; r < kTileRows; ++r) {
          const Group& group = x[r * ldx];
          const __m512 own = _mm512_set1_ps(group.scale);
          const __m512i begin = _mm512_set1_epi32(group.start);
#pragma GCC unroll 2
          for (int v = 0; v < 2; ++v) {
            const __m512i dot = _mm512_add_epi32(_mm512_load_si512(dots[r / 16][v][r % 16]), begin);
            float* sum = sums[r] + 16 * v;
            _mm512_store_ps(
                sum, _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(dot), scales[v]), own, _mm512_load_ps(sum)));
          }
        }
      }
    for (int64_t r = 0; r < kTileRows; ++r)
      for (int v = 0; v < 2; ++v) {
        float* out = y + r * ldy + 16 * v;
        const __m512 sum = _mm512_load_ps(sums[r] + 16 * v);
        _mm512_storeu_ps(out, add ? _mm512_add_ps(_mm512_loadu_ps(out), sum) : sum);
      }
  }
};

}  // namespace
}  // namespace qwill::cpu
