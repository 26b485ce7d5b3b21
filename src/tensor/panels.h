// Panels: how the CPU keeps matrices of few bits, in memory and in the files that `qwill quantize` writes.
//
// A panel is 32 rows. Along its columns lie blocks, each with all that these columns need: scales, then codes. A code
// is a byte once it is expanded; a group of 32 columns of a row (q6_k: of 16) shares a scale:
//     w = scale * (code - 128)     where q4_k: w = scale * code - minimum
// Codes of four columns of a row are neighbours (a quad), those of the 32 rows follow each other, then come the next
// four columns: one 32-bit lane of a vector is one row, and every product of four columns is one integer dot product
// whose other side is the same for all lanes (VPDPBUSD, SDOT, TDPBSUD). A panel is read from end to end, once.
//
// int8 (8.5 bits a weight), 64 columns: f16 scale[2][32]; code[16 quads][32][4].
// int6 (6.5), 64 columns: f16 scale[2][32]; then six bits of each column, of which the code is four times.
// four bits (4.5), 64 columns: f16 scale[2][32]; then of each group [4][32][4] bytes, of which byte i holds in its low
//   half the index of quad 2i's code and in its high half that of quad 2i + 1's. What an index stands for says one
//   of four codebooks of sixteen codes: the lowest two bits of the scale choose that of the group's columns 0 … 15, the
//   next two that of columns 16 … 31. They are part of the scale's value as well.
// q4_k (4.625), 256 columns: f16 d[32]; f16 dmin[32]; u8 scale[8][32]; u8 minimum[8][32]; halves as above, the code is
//   the index. scale = d * scale, minimum = dmin * minimum.
// q6_k (6.5625), 256 columns: f16 d[32]; i8 scale[16][32]; then six bits of each column. The code is these + 96.
//   scale = d * scale.
// Six bits: of each sixteen columns (four quads) three times [32][4] bytes, in the order in which they are met:
//   halves of quads 0 and 1 as above, the rest of all four (two bits each from the low end up), halves of quads 2
//   and 3. Halves are the upper four bits in int6, the lower four in q6_k.
// Rows and columns that a matrix lacks are codes of scale 0.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "tensor/block_format.h"

namespace qwill {

constexpr int64_t kPanelRows = 32;
constexpr int64_t kGroupCols = 32;

enum class PanelFormat : uint8_t { int8, int6, int4, q4_0, iq4_nl, q4_k, q6_k };
constexpr int kNumPanelFormats = 7;

// The panels that a file holds as they are; nothing for all other blocks.
constexpr std::optional<PanelFormat> stored_panels(BlockFormat format) {
  switch (format) {
    case BlockFormat::panels_int8: return PanelFormat::int8;
    case BlockFormat::panels_int6: return PanelFormat::int6;
    case BlockFormat::panels_int4: return PanelFormat::int4;
    default: return {};
  }
}

// Four of sixteen codes, one after another, of formats whose codes are looked up. In files' formats, whose scales have
// no bits to spare, all four are the same.
using Codebooks = std::array<uint8_t, 64>;
const Codebooks& codebooks(PanelFormat format);

struct PanelShape {
  int64_t cols;   // of a block
  int64_t bytes;  // of a block
};
constexpr PanelShape panel_shape(PanelFormat format) {
  switch (format) {
    case PanelFormat::int8: return {64, 128 + 2048};
    case PanelFormat::int6: return {64, 128 + 1024 + 512};
    case PanelFormat::int4:
    case PanelFormat::q4_0:
    case PanelFormat::iq4_nl: return {64, 128 + 1024};
    case PanelFormat::q4_k: return {256, 128 + 512 + 4096};
    case PanelFormat::q6_k: return {256, 64 + 512 + 4096 + 2048};
  }
  return {};
}
constexpr int64_t panel_blocks(PanelFormat format, int64_t cols) {
  return (cols + panel_shape(format).cols - 1) / panel_shape(format).cols;
}
constexpr int64_t panel_bytes(PanelFormat format, int64_t cols) {
  return panel_blocks(format, cols) * panel_shape(format).bytes;
}
constexpr int64_t panels_bytes(PanelFormat format, int64_t rows, int64_t cols) {
  return (rows + kPanelRows - 1) / kPanelRows * panel_bytes(format, cols);
}

// What panels keep of one row's block, before it is woven into the others. Scales of absent columns are 0.
struct PlainBlock {
  float d = 0, dmin = 0;            // q4_k, q6_k
  std::array<float, 16> scale{};    // int8, int6, four bits: two, values of f16; else the small integers
  std::array<float, 8> minimum{};   // q4_k: the small integers
  std::array<uint8_t, 256> code{};  // int8: the code; four bits, q4_k: the index; int6, q6_k: the six bits
};
// Row `row` (0 … 31) of a block that begins at `to`.
void put_row(PanelFormat format, const PlainBlock& block, int64_t row, std::byte* to);

// One row of a matrix of so many columns whose panels begin at `panels`.
void decode_panel_row(PanelFormat format, const std::byte* panels, int64_t row, int64_t cols, float* out);

}  // namespace qwill
