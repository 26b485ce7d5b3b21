// What the values of a block stand for, in plain code: the same floats as the reference (gguf-py, quants.py), with
// products and sums rounded in its order.
#include <cstring>

#include "base/error.h"
#include "tensor/block_format.h"
#include "tensor/dtype.h"

namespace qwill {
namespace {

const uint8_t* bytes_of(const std::byte* block) { return reinterpret_cast<const uint8_t*>(block); }

float half(const uint8_t* from) {
  uint16_t bits;
  std::memcpy(&bits, from, sizeof bits);
  return to_float(f16{bits});
}

uint32_t word(const uint8_t* from) {
  uint32_t bits;
  std::memcpy(&bits, from, sizeof bits);
  return bits;
}

// Value i of 32 that 16 bytes hold: the low halves first, then the high ones.
int nibble(const uint8_t* bytes, int i) { return i < 16 ? bytes[i] & 15 : bytes[i - 16] >> 4; }

// scale, [minimum,] 32 × 4 bits
void decode_q4_0(const uint8_t* b, float* out) {
  const float d = half(b);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(nibble(b + 2, i) - 8);
}

void decode_q4_1(const uint8_t* b, float* out) {
  const float d = half(b), m = half(b + 2);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(nibble(b + 4, i)) + m;
}

// scale, [minimum,] 32 fifth bits, 32 × 4 bits
int five_bits(const uint8_t* fifth, int i) {
  return nibble(fifth + 4, i) | static_cast<int>(word(fifth) >> i & 1) << 4;
}

void decode_q5_0(const uint8_t* b, float* out) {
  const float d = half(b);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(five_bits(b + 2, i) - 16);
}

void decode_q5_1(const uint8_t* b, float* out) {
  const float d = half(b), m = half(b + 2);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(five_bits(b + 4, i)) + m;
}

// scale, 32 × 8 bits
void decode_q8_0(const uint8_t* b, float* out) {
  const float d = half(b);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(static_cast<int8_t>(b[2 + i]));
}

// 16 × (4 bits of scale, 4 of minimum), 256 × 2 bits, scale of the scales, scale of the minima. Two bits of 128 values
// lie in 32 bytes: the lowest are the first 32 values.
void decode_q2_k(const uint8_t* b, float* out) {
  const float d = half(b + 80), dmin = half(b + 82);
  for (int group = 0; group < 16; ++group, out += 16) {
    const float scale = d * static_cast<float>(b[group] & 15), minimum = dmin * static_cast<float>(b[group] >> 4);
    const uint8_t* const two = b + 16 + group / 8 * 32 + group % 2 * 16;
    const int shift = group % 8 / 2 * 2;
    for (int i = 0; i < 16; ++i) out[i] = scale * static_cast<float>(two[i] >> shift & 3) - minimum;
  }
}

// 256 third bits (32 bytes: bit n holds values 32 n …), 256 × 2 bits as above, 16 × 6 bits of scale, scale of the
// scales
void decode_q3_k(const uint8_t* b, float* out) {
  const uint8_t* const scales = b + 96;
  const float d = half(b + 108);
  for (int group = 0; group < 16; ++group, out += 16) {
    const int low = group < 8 ? scales[group] & 15 : scales[group - 8] >> 4;
    const int high = scales[8 + group % 4] >> (group / 4 * 2) & 3;
    const float scale = d * static_cast<float>((low | high << 4) - 32);
    const uint8_t* const two = b + 32 + group / 8 * 32 + group % 2 * 16;
    const uint8_t* const third = b + group % 2 * 16;
    const int shift = group % 8 / 2 * 2;
    for (int i = 0; i < 16; ++i) {
      const int present = third[i] >> (group / 2) & 1;
      out[i] = scale * static_cast<float>((two[i] >> shift & 3) + present * 4 - 4);
    }
  }
}

// Of eight groups of 32 the scales and minima, six bits each in 12 bytes.
struct ScaleMin {
  float scale, minimum;
};
ScaleMin scale_min(const uint8_t* b, int group) {
  if (group < 4) return {static_cast<float>(b[group] & 63), static_cast<float>(b[4 + group] & 63)};
  const uint8_t low = b[4 + group];
  return {static_cast<float>((low & 15) | (b[group - 4] >> 6) << 4),
          static_cast<float>(low >> 4 | (b[group] >> 6) << 4)};
}

// scale of the scales, scale of the minima, scales and minima, 256 × 4 bits: 64 values lie in 32 bytes, the first 32 in
// the low halves
void decode_q4_k(const uint8_t* b, float* out) {
  const float d = half(b), dmin = half(b + 2);
  for (int group = 0; group < 8; ++group, out += 32) {
    const auto [scale, minimum] = scale_min(b + 4, group);
    const float step = d * scale, base = dmin * minimum;
    const uint8_t* const four = b + 16 + group / 2 * 32;
    const int shift = group % 2 * 4;
    for (int i = 0; i < 32; ++i) out[i] = step * static_cast<float>(four[i] >> shift & 15) - base;
  }
}

// The same with 256 fifth bits (32 bytes: bit n holds values 32 n …) before the four bits.
void decode_q5_k(const uint8_t* b, float* out) {
  const float d = half(b), dmin = half(b + 2);
  for (int group = 0; group < 8; ++group, out += 32) {
    const auto [scale, minimum] = scale_min(b + 4, group);
    const float step = d * scale, base = dmin * minimum;
    const uint8_t *const four = b + 48 + group / 2 * 32, *const fifth = b + 16;
    const int shift = group % 2 * 4;
    for (int i = 0; i < 32; ++i) {
      const int level = (four[i] >> shift & 15) | (fifth[i] >> group & 1) << 4;
      out[i] = step * static_cast<float>(level) - base;
    }
  }
}

// 256 × 4 low bits (128 values in 64 bytes, the first 64 in the low halves), 256 × 2 high bits, 16 × 8 bits of scale,
// scale of the scales
void decode_q6_k(const uint8_t* b, float* out) {
  const float d = half(b + 208);
  for (int group = 0; group < 16; ++group, out += 16) {
    const float scale = d * static_cast<float>(static_cast<int8_t>(b[192 + group]));
    const uint8_t* const four = b + group / 8 * 64 + group % 4 * 16;
    const uint8_t* const two = b + 128 + group / 8 * 32 + group % 2 * 16;
    const int low_shift = group % 8 / 4 * 4, high_shift = group % 8 / 2 * 2;
    for (int i = 0; i < 16; ++i) {
      const int level = (four[i] >> low_shift & 15) | (two[i] >> high_shift & 3) << 4;
      out[i] = scale * static_cast<float>(level - 32);
    }
  }
}

constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

// scale, 32 × 4 bits that choose a value
void decode_iq4_nl(const uint8_t* b, float* out) {
  const float d = half(b);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(kIq4Values[nibble(b + 2, i)]);
}

// scale of the scales, 8 × 2 high bits and 8 × 4 low bits of scale, 8 × (32 × 4 bits that choose a value)
void decode_iq4_xs(const uint8_t* b, float* out) {
  const float d = half(b);
  for (int group = 0; group < 8; ++group) {
    const int high = b[2 + group / 4] >> (group % 4 * 2) & 3, low = b[4 + group / 2] >> (group % 2 * 4) & 15;
    const float scale = d * static_cast<float>((low | high << 4) - 32);
    for (int i = 0; i < 32; ++i)
      out[group * 32 + i] = scale * static_cast<float>(kIq4Values[nibble(b + 8 + group * 16, i)]);
  }
}

using Decode = void (*)(const uint8_t* block, float* out);

Decode decoder_of(BlockFormat format) {
  switch (format) {
    case BlockFormat::none:
    case BlockFormat::panels_int8:
    case BlockFormat::panels_int6:
    case BlockFormat::panels_int4: break;
    case BlockFormat::q4_0: return decode_q4_0;
    case BlockFormat::q4_1: return decode_q4_1;
    case BlockFormat::q5_0: return decode_q5_0;
    case BlockFormat::q5_1: return decode_q5_1;
    case BlockFormat::q8_0: return decode_q8_0;
    case BlockFormat::q2_k: return decode_q2_k;
    case BlockFormat::q3_k: return decode_q3_k;
    case BlockFormat::q4_k: return decode_q4_k;
    case BlockFormat::q5_k: return decode_q5_k;
    case BlockFormat::q6_k: return decode_q6_k;
    case BlockFormat::iq4_nl: return decode_iq4_nl;
    case BlockFormat::iq4_xs: return decode_iq4_xs;
  }
  return nullptr;
}

}  // namespace

void decode_blocks(BlockFormat format, const std::byte* row, int64_t cols, float* out) {
  const Decode decode = decoder_of(format);
  CHECK(decode, "the format is one of blocks");
  const BlockShape shape = block_shape(format);
  for (int64_t col = 0; col < cols; col += shape.cols, row += shape.bytes) decode(bytes_of(row), out + col);
}

}  // namespace qwill
