#include "tensor/panels.h"

#include <algorithm>
#include <cstring>

#include "tensor/dtype.h"

namespace qwill {
namespace {

// Where a block keeps what.
constexpr int64_t kLookedCodes = 128;  // int8, int6 and four bits: after scale[2][32]
constexpr int64_t kQ4Scales = 128, kQ4Minima = kQ4Scales + 256, kQ4Codes = kQ4Minima + 256;
constexpr int64_t kQ6Scales = 64, kQ6Codes = kQ6Scales + 512;
constexpr int64_t kSixGroup = 6 * 128;

void put_f16(std::byte* to, float value) {
  const f16 bits = to_f16(value);
  std::memcpy(to, &bits, 2);
}
float get_f16(const std::byte* from) {
  f16 bits;
  std::memcpy(&bits, from, 2);
  return to_float(bits);
}

// The byte of a quad's column c in rows' order.
constexpr int64_t lane(int64_t row, int64_t c) { return row * 4 + c; }

// Four bits of each code of a group, those of two columns in one byte.
void put_halves(const uint8_t* code, int64_t row, std::byte* to) {
  for (int64_t i = 0; i < 4; ++i)
    for (int64_t c = 0; c < 4; ++c)
      to[i * 128 + lane(row, c)] = static_cast<std::byte>((code[i * 8 + c] & 15) | (code[i * 8 + c + 4] & 15) << 4);
}
// Those of column c.
int half_at(const std::byte* halves, int64_t row, int64_t c) {
  const auto both = std::to_integer<int>(halves[c / 8 * 128 + lane(row, c % 4)]);
  return c % 8 < 4 ? both & 15 : both >> 4;
}
// Six bits of each code of a group; halves are its bits from `half` on, the other two those from `rest` on.
void put_sixes(const uint8_t* code, int half, int rest, int64_t row, std::byte* to) {
  for (int64_t i = 0; i < 2; ++i, code += 16, to += kSixGroup / 2)
    for (int64_t c = 0; c < 4; ++c) {
      int four = 0;
      for (int64_t q = 0; q < 4; ++q) four |= (code[q * 4 + c] >> rest & 3) << 2 * q;
      const auto both = [&](const uint8_t* quads) {
        return static_cast<std::byte>((quads[c] >> half & 15) | (quads[c + 4] >> half & 15) << 4);
      };
      to[lane(row, c)] = both(code);
      to[128 + lane(row, c)] = static_cast<std::byte>(four);
      to[256 + lane(row, c)] = both(code + 8);
    }
}
// Those of column c of a block.
int six_at(const std::byte* sixes, int half, int rest, int64_t row, int64_t c) {
  const std::byte* p = sixes + c / 16 * (kSixGroup / 2) + lane(row, c % 4);
  const auto both = std::to_integer<int>(p[c % 16 / 8 * 256]), four = std::to_integer<int>(p[128]);
  return (c % 8 < 4 ? both & 15 : both >> 4) << half | (four >> c % 16 / 4 * 2 & 3) << rest;
}

}  // namespace

const Codebooks& codebooks(PanelFormat format) {
  using Levels = std::array<int8_t, 16>;
  constexpr auto books = [](const Levels& a, const Levels& b, const Levels& c, const Levels& d) {
    Codebooks all{};
    for (size_t i = 0; i < 64; ++i)
      all[i] = static_cast<uint8_t>((i < 16 ? a : i < 32 ? b : i < 48 ? c : d)[i % 16] + 128);
    return all;
  };
  static constexpr Levels kUniform = {-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7},
                          kIq4 = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};  // GGUF's
  // Fitted to Gaussian and heavier-tailed weights of which each sixteen choose the best of the four, under a scale that
  // they share with sixteen others (docs/performance-cpu.md).
  static constexpr Codebooks kInt4 = books({-127, -103, -79, -62, -48, -34, -21, -10, 1, 12, 25, 37, 51, 67, 86, 104},
                                           {-105, -73, -57, -43, -32, -21, -12, -3, 7, 18, 30, 43, 57, 75, 95, 118},
                                           {-89, -74, -60, -47, -35, -26, -16, -7, 2, 10, 19, 28, 38, 49, 61, 78},
                                           {-68, -55, -44, -34, -24, -16, -8, -1, 5, 13, 22, 32, 42, 53, 67, 96});
  static constexpr Codebooks kQ40 = books(kUniform, kUniform, kUniform, kUniform),
                             kIq4Nl = books(kIq4, kIq4, kIq4, kIq4);
  return format == PanelFormat::int4 ? kInt4 : format == PanelFormat::q4_0 ? kQ40 : kIq4Nl;
}

void put_row(PanelFormat format, const PlainBlock& block, int64_t row, std::byte* to) {
  switch (format) {
    case PanelFormat::int8:
      for (int64_t g = 0; g < 2; ++g) put_f16(to + (g * 32 + row) * 2, block.scale[static_cast<size_t>(g)]);
      for (int64_t quad = 0; quad < 16; ++quad)
        std::memcpy(to + kLookedCodes + quad * 128 + lane(row, 0), &block.code[static_cast<size_t>(quad * 4)], 4);
      return;
    case PanelFormat::int6:
      for (int64_t g = 0; g < 2; ++g) {
        put_f16(to + (g * 32 + row) * 2, block.scale[static_cast<size_t>(g)]);
        put_sixes(&block.code[static_cast<size_t>(g * 32)], 2, 0, row, to + kLookedCodes + g * kSixGroup);
      }
      return;
    case PanelFormat::int4:
    case PanelFormat::q4_0:
    case PanelFormat::iq4_nl:
      for (int64_t g = 0; g < 2; ++g) put_f16(to + (g * 32 + row) * 2, block.scale[static_cast<size_t>(g)]);
      for (int64_t g = 0; g < 2; ++g)
        put_halves(&block.code[static_cast<size_t>(g * 32)], row, to + kLookedCodes + g * 512);
      return;
    case PanelFormat::q4_k:
      put_f16(to + row * 2, block.d);
      put_f16(to + 64 + row * 2, block.dmin);
      for (int64_t g = 0; g < 8; ++g) {
        to[kQ4Scales + g * 32 + row] = static_cast<std::byte>(block.scale[static_cast<size_t>(g)]);
        to[kQ4Minima + g * 32 + row] = static_cast<std::byte>(block.minimum[static_cast<size_t>(g)]);
      }
      for (int64_t g = 0; g < 8; ++g)
        put_halves(&block.code[static_cast<size_t>(g * 32)], row, to + kQ4Codes + g * 512);
      return;
    case PanelFormat::q6_k:
      put_f16(to + row * 2, block.d);
      for (int64_t g = 0; g < 16; ++g)
        to[kQ6Scales + g * 32 + row] = static_cast<std::byte>(static_cast<int8_t>(block.scale[static_cast<size_t>(g)]));
      for (int64_t g = 0; g < 8; ++g)
        put_sixes(&block.code[static_cast<size_t>(g * 32)], 0, 4, row, to + kQ6Codes + g * kSixGroup);
      return;
  }
}

void decode_panel_row(PanelFormat format, const std::byte* panels, int64_t row, int64_t cols, float* out) {
  const PanelShape shape = panel_shape(format);
  const std::byte* block = panels + row / kPanelRows * panel_bytes(format, cols);
  row %= kPanelRows;
  const Codebooks& books = codebooks(format);
  for (int64_t first = 0; first < cols; first += shape.cols, block += shape.bytes) {
    const int64_t count = std::min(shape.cols, cols - first);
    for (int64_t c = 0; c < count; ++c) {
      float& value = out[first + c];
      switch (format) {
        case PanelFormat::int8: {
          const auto code = std::to_integer<int>(block[kLookedCodes + c / 4 * 128 + lane(row, c % 4)]);
          value = get_f16(block + (c / 32 * 32 + row) * 2) * static_cast<float>(code - 128);
          break;
        }
        case PanelFormat::int6: {
          const int code = 4 * six_at(block + kLookedCodes, 2, 0, row, c);
          value = get_f16(block + (c / 32 * 32 + row) * 2) * static_cast<float>(code - 128);
          break;
        }
        case PanelFormat::int4:
        case PanelFormat::q4_0:
        case PanelFormat::iq4_nl: {
          const std::byte* scale = block + (c / 32 * 32 + row) * 2;
          const int choice = std::to_integer<int>(scale[0]) >> (c % 32 / 16 * 2) & 3;
          const auto index = static_cast<size_t>(choice * 16 + half_at(block + kLookedCodes, row, c));
          value = get_f16(scale) * static_cast<float>(books[index] - 128);
          break;
        }
        case PanelFormat::q4_k: {
          const auto scale = std::to_integer<int>(block[kQ4Scales + c / 32 * 32 + row]),
                     minimum = std::to_integer<int>(block[kQ4Minima + c / 32 * 32 + row]);
          value = get_f16(block + row * 2) * static_cast<float>(scale) *
                      static_cast<float>(half_at(block + kQ4Codes, row, c)) -
                  get_f16(block + 64 + row * 2) * static_cast<float>(minimum);
          break;
        }
        case PanelFormat::q6_k: {
          const auto scale = static_cast<int8_t>(block[kQ6Scales + c / 16 * 32 + row]);
          const int code = six_at(block + kQ6Codes, 0, 4, row, c);
          value = get_f16(block + row * 2) * static_cast<float>(scale) * static_cast<float>(code - 32);
          break;
        }
      }
    }
  }
}

}  // namespace qwill
