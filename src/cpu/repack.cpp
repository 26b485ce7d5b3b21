#include "cpu/repack.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/error.h"

namespace qwill::cpu {
namespace {

float get_f16(const std::byte* p) {
  f16 value;
  std::memcpy(&value, p, 2);
  return to_float(value);
}

// Blocks of 32 columns: f16 d, then for `half` bytes indices of two columns, 16 apart.
void take_halves(const std::byte* qs, int64_t first, PlainBlock& block) {
  for (int64_t i = 0; i < 16; ++i) {
    const auto both = std::to_integer<uint8_t>(qs[i]);
    block.code[static_cast<size_t>(first + i)] = both & 15;
    block.code[static_cast<size_t>(first + 16 + i)] = both >> 4;
  }
}

// The six-bit scale and minimum of group g of a Q4_K block.
void take_k_scale(const std::byte* scales, size_t g, PlainBlock& block) {
  const auto at = [&](size_t i) { return std::to_integer<unsigned>(scales[i]); };
  const unsigned scale = g < 4 ? at(g) & 63 : (at(g + 4) & 15) | (at(g - 4) >> 6) << 4;
  const unsigned minimum = g < 4 ? at(g + 4) & 63 : at(g + 4) >> 4 | (at(g) >> 6) << 4;
  block.scale[g] = static_cast<float>(scale);
  block.minimum[g] = static_cast<float>(minimum);
}

// The blocks of a file that make one block of panels that holds exactly the same numbers (of IQ4_XS: with the scale
// rounded to f16).
void take_blocks(BlockFormat format, const std::byte* from, int64_t num_blocks, PlainBlock& block) {
  const BlockShape shape = block_shape(format);
  for (int64_t b = 0; b < num_blocks; ++b, from += shape.bytes) {
    const int64_t first = b * shape.cols;
    const auto code = [&](int64_t i) -> uint8_t& { return block.code[static_cast<size_t>(first + i)]; };
    switch (format) {
      case BlockFormat::q8_0:
        block.scale[static_cast<size_t>(b)] = get_f16(from);
        for (int64_t i = 0; i < 32; ++i) code(i) = static_cast<uint8_t>(static_cast<int8_t>(from[2 + i]) + 128);
        break;
      case BlockFormat::q5_0: {
        block.scale[static_cast<size_t>(b)] = get_f16(from);
        take_halves(from + 6, first, block);
        uint32_t fifth;
        std::memcpy(&fifth, from + 2, 4);
        for (int64_t i = 0; i < 32; ++i)
          code(i) = static_cast<uint8_t>((code(i) | ((fifth >> i) & 1u) << 4) - 16u + 128u);
        break;
      }
      case BlockFormat::q4_0:
      case BlockFormat::iq4_nl:
        block.scale[static_cast<size_t>(b)] = get_f16(from);
        take_halves(from + 2, first, block);
        break;
      case BlockFormat::q4_k:
        block.d = get_f16(from);
        block.dmin = get_f16(from + 2);
        for (size_t g = 0; g < 8; ++g) take_k_scale(from + 4, g, block);
        for (int64_t i = 0; i < 128; ++i) {
          const auto both = std::to_integer<uint8_t>(from[16 + i]);
          code(i / 32 * 64 + i % 32) = both & 15;
          code(i / 32 * 64 + 32 + i % 32) = both >> 4;
        }
        break;
      case BlockFormat::q6_k:
        block.d = get_f16(from + 208);
        for (int64_t g = 0; g < 16; ++g)
          block.scale[static_cast<size_t>(g)] = static_cast<float>(static_cast<int8_t>(from[192 + g]));
        for (int64_t i = 0; i < 256; ++i) {
          const int64_t half = i / 128, part = i % 128 / 32, l = i % 32;
          const auto low = std::to_integer<unsigned>(from[half * 64 + part % 2 * 32 + l]);
          const auto high = std::to_integer<unsigned>(from[128 + half * 32 + l]);
          code(i) = static_cast<uint8_t>((part < 2 ? low & 15 : low >> 4) | (high >> 2 * part & 3) << 4);
        }
        break;
      default: CHECK(false, "blocks that panels hold exactly");
    }
  }
}

// IQ4_XS: 256 columns in groups of 32 whose scales are d times small integers; half a block's groups in each panel
// block would not do, so two groups at a time.
void take_iq4_xs(const std::byte* from, int64_t first_group, PlainBlock& block) {
  uint16_t high;
  std::memcpy(&high, from + 2, 2);
  for (int64_t i = 0; i < 2; ++i) {
    const int64_t g = first_group + i;
    const unsigned low = std::to_integer<unsigned>(from[4 + g / 2]) >> 4 * (g % 2) & 15;
    const int scale = static_cast<int>(low | (static_cast<unsigned>(high) >> 2 * g & 3) << 4) - 32;
    block.scale[static_cast<size_t>(i)] = get_f16(from) * static_cast<float>(scale);
    take_halves(from + 8 + 16 * g, 32 * i, block);
  }
}

}  // namespace

PanelFormat panels_for(const WeightSource& source, Compute compute) {
  if (const auto panels = stored_panels(source.format)) return *panels;
  switch (source.format) {
    case BlockFormat::q4_0: return PanelFormat::q4_0;
    case BlockFormat::iq4_nl:
    case BlockFormat::iq4_xs: return PanelFormat::iq4_nl;
    case BlockFormat::q4_k: return PanelFormat::q4_k;
    case BlockFormat::q6_k:
      if (compute == Compute::int8 || source.sensitive) return PanelFormat::q6_k;
      break;
    default: break;
  }
  return compute == Compute::int8 ? PanelFormat::int8 : source.sensitive ? PanelFormat::int6 : PanelFormat::int4;
}

void read_stored_row(const WeightSource& source, int64_t row, float* out) {
  const auto* data = static_cast<const std::byte*>(source.data);
  if (source.format != BlockFormat::none) {
    if (const auto panels = stored_panels(source.format)) return decode_panel_row(*panels, data, row, source.cols, out);
    const BlockShape shape = block_shape(source.format);
    return decode_blocks(source.format, data + row * (source.cols / shape.cols) * shape.bytes, source.cols, out);
  }
  const std::byte* from = data + row * source.cols * dtype_bytes(source.dtype);
  if (source.dtype == DType::f32) {
    std::memcpy(out, from, static_cast<size_t>(source.cols) * 4);
    return;
  }
  for (int64_t i = 0; i < source.cols; ++i) {
    uint16_t bits;
    std::memcpy(&bits, from + 2 * i, 2);
    out[i] = source.dtype == DType::bf16 ? to_float(bf16{bits}) : to_float(f16{bits});
  }
}

void repack_panel(const Kernels& kernels, const WeightSource& source, PanelFormat format, int64_t panel,
                  std::byte* to) {
  const PanelShape shape = panel_shape(format);
  const int64_t num_blocks = panel_blocks(format, source.cols);
  const BlockShape stored = block_shape(source.format);
  const auto* data = static_cast<const std::byte*>(source.data);
  const auto quantize = format == PanelFormat::int8   ? kernels.quantize_int8
                        : format == PanelFormat::int6 ? kernels.quantize_int6
                        : format == PanelFormat::int4 ? kernels.quantize_int4
                                                      : nullptr;
  const bool exact = !quantize || (format == PanelFormat::int8 &&
                                   (source.format == BlockFormat::q8_0 || source.format == BlockFormat::q5_0));
  std::vector<float> values(exact ? 0 : static_cast<size_t>(num_blocks * shape.cols));
  for (int64_t r = 0; r < std::min(kPanelRows, source.rows - panel * kPanelRows); ++r) {
    const int64_t row = panel * kPanelRows + r;
    if (!exact) read_stored_row(source, row, values.data());
    const std::byte* from = data + row * (source.cols / stored.cols) * stored.bytes;
    for (int64_t b = 0; b < num_blocks; ++b) {
      PlainBlock block;
      if (!exact)
        quantize(&values[static_cast<size_t>(b * shape.cols)], block);
      else if (source.format == BlockFormat::iq4_xs)
        take_iq4_xs(from + b / 4 * stored.bytes, b % 4 * 2, block);
      else
        take_blocks(source.format, from + b * (shape.cols / stored.cols) * stored.bytes,
                    std::min(shape.cols, source.cols - b * shape.cols) / stored.cols, block);
      put_row(format, block, r, to + b * shape.bytes);
    }
  }
}

}  // namespace qwill::cpu
