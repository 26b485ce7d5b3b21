// Element types of tensors in files and in memory.
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>

namespace qwill {

enum class DType : uint8_t { f32, bf16, f16, f8_e4m3, i8, u8, i16, i32, i64, f64, boolean };

constexpr int64_t dtype_bytes(DType dtype) {
  switch (dtype) {
    case DType::f8_e4m3:
    case DType::i8:
    case DType::u8:
    case DType::boolean: return 1;
    case DType::bf16:
    case DType::f16:
    case DType::i16: return 2;
    case DType::f32:
    case DType::i32: return 4;
    case DType::i64:
    case DType::f64: return 8;
  }
  return 0;
}

constexpr std::string_view dtype_name(DType dtype) {
  switch (dtype) {
    case DType::f32: return "f32";
    case DType::bf16: return "bf16";
    case DType::f16: return "f16";
    case DType::f8_e4m3: return "f8_e4m3";
    case DType::i8: return "i8";
    case DType::u8: return "u8";
    case DType::i16: return "i16";
    case DType::i32: return "i32";
    case DType::i64: return "i64";
    case DType::f64: return "f64";
    case DType::boolean: return "bool";
  }
  return "";
}

// bfloat16 and IEEE half precision, held as their bits.
struct bf16 {
  uint16_t bits;
};
struct f16 {
  uint16_t bits;
};

constexpr float to_float(float value) { return value; }
constexpr float to_float(bf16 value) { return std::bit_cast<float>(static_cast<uint32_t>(value.bits) << 16); }
float to_float(f16 value);
// Round to nearest, ties to even; beyond the largest: infinity; NaN stays NaN.
f16 to_f16(float value);

// Round to nearest, ties to even; NaN stays NaN.
constexpr bf16 to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((bits >> 16) | 0x40u)};
  return {static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

}  // namespace qwill
