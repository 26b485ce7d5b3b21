// Matrices stored in blocks of few bits with scales, each named as its file format names it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace qwill {

// Of GGUF files, but panels_*: tensor/panels.h. none: plain numbers of some DType.
enum class BlockFormat : uint8_t {
  none,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q8_0,
  q2_k,
  q3_k,
  q4_k,
  q5_k,
  q6_k,
  iq4_nl,
  iq4_xs,
  panels_int8,
  panels_int6,
  panels_int4,
};

// Of one row; of panels, whose rows are woven into each other, none.
struct BlockShape {
  int64_t cols;   // of one row
  int64_t bytes;  // that they take
};

constexpr BlockShape block_shape(BlockFormat format) {
  switch (format) {
    case BlockFormat::none:
    case BlockFormat::panels_int8:
    case BlockFormat::panels_int6:
    case BlockFormat::panels_int4: break;
    case BlockFormat::q4_0: return {32, 18};
    case BlockFormat::q4_1: return {32, 20};
    case BlockFormat::q5_0: return {32, 22};
    case BlockFormat::q5_1: return {32, 24};
    case BlockFormat::q8_0: return {32, 34};
    case BlockFormat::q2_k: return {256, 84};
    case BlockFormat::q3_k: return {256, 110};
    case BlockFormat::q4_k: return {256, 144};
    case BlockFormat::q5_k: return {256, 176};
    case BlockFormat::q6_k: return {256, 210};
    case BlockFormat::iq4_nl: return {32, 18};
    case BlockFormat::iq4_xs: return {256, 136};
  }
  return {1, 0};
}

// "Q4_K"
std::string_view block_format_name(BlockFormat format);

// cols values of one row, which begins at `row`: a multiple of the block's.
void decode_blocks(BlockFormat format, const std::byte* row, int64_t cols, float* out);

}  // namespace qwill
