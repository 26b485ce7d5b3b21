// Integer dot products of panels over 128 bits: SDOT where the target has it, else widening multiplications.
#pragma once

#include <cstddef>

#include "cpu/simd/neon.h"
#include "cpu/simd/quad_group.h"

namespace qwill::cpu {
namespace {  // each target compiles its own copy with its own flags; the linker may not merge them

struct DotNeon {
  using S = Neon;
  using I = int32x4_t;
  using Quad = int8x16_t;
  static constexpr int kRows = 2, kVectors = 4;  // register block: 8 integer sums, 8 sums, 8 codes, 2 quads
  static constexpr int64_t kUnexpandedRows = 1;
  static constexpr bool kSubtracts128 = true;  // signed bytes meet signed bytes

  using Group = QuadGroup;
  static Quad quad(const Group& group, int64_t i) { return vreinterpretq_s8_s32(vdupq_n_s32(group.quads[i])); }

  static uint8x16_t bytes(I x) { return vreinterpretq_u8_s32(x); }
  static I words(uint8x16_t x) { return vreinterpretq_s32_u8(x); }
  static I load(const std::byte* p) { return words(vld1q_u8(reinterpret_cast<const uint8_t*>(p))); }
  static void store(std::byte* p, I x) { vst1q_u8(reinterpret_cast<uint8_t*>(p), bytes(x)); }
  static I start(int32_t value) { return vdupq_n_s32(value); }
  static I dot(I sum, I codes, Quad quad) {
    const int8x16_t own = vreinterpretq_s8_u8(veorq_u8(bytes(codes), vdupq_n_u8(128)));
#if defined(__ARM_FEATURE_DOTPROD)
    return vdotq_s32(sum, own, quad);
#else
    const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(own), vget_low_s8(quad))),
                    high = vpaddlq_s16(vmull_s8(vget_high_s8(own), vget_high_s8(quad)));
    return vaddq_s32(sum, vpaddq_s32(low, high));
#endif
  }
  static S::F to_float(I x) { return vcvtq_f32_s32(x); }

  static I low_half(I x) { return words(vandq_u8(bytes(x), vdupq_n_u8(15))); }
  // The high halves of bytes in their low halves; the others are anything.
  static I high_halves(I x) { return words(vshrq_n_u8(bytes(x), 4)); }
  // Sixty-four codes; which sixteen of them a row's half group takes say two bits of its scale, which of these the low
  // half of a byte.
  using Books = uint8x16x4_t;
  using Choice = uint8x16_t;  // in bits 4 and 5 of every byte
  static Books load_books(const uint8_t* codes) { return vld1q_u8_x4(codes); }
  static Choice choice(const std::byte* scales, int half) {
    const uint32x4_t bits = vandq_u32(vshlq_u32(vmovl_u16(S::load_16(scales)), vdupq_n_s32(-2 * half)), vdupq_n_u32(3));
    return vreinterpretq_u8_u32(vmulq_n_u32(bits, 0x10101010u));
  }
  static I look_up(const Books& books, const Choice& choice, I x) {
    return words(vqtbl4q_u8(books, vorrq_u8(bytes(low_half(x)), choice)));
  }
  template <int kFirst>
  static I two_bits(I x) {
    uint8x16_t bits = bytes(x);
    if constexpr (kFirst > 0) bits = vshrq_n_u8(bits, kFirst);
    return words(vandq_u8(bits, vdupq_n_u8(3)));
  }
  // Bits of bytes moved so far to the right (to the left where it is negative); which come from neighbours is open.
  template <int kRight>
  static I shift(I x) {
    if constexpr (kRight < 0)
      return words(vshlq_n_u8(bytes(x), -kRight));
    else
      return words(vshrq_n_u8(bytes(x), kRight));
  }
  // Six bits, of which the first has the upper four in its upper half and the second the lower two in bits 2 and 3, as
  // a code.
  static I join_six(I upper, I lower) {
    return words(vorrq_u8(vandq_u8(bytes(upper), vdupq_n_u8(0xf0)), vandq_u8(bytes(lower), vdupq_n_u8(0x0c))));
  }
  static I or_shifted_4(I low, I upper) { return words(vorrq_u8(bytes(low), vshlq_n_u8(bytes(upper), 4))); }
  static I offset_96(I x) { return words(vaddq_u8(bytes(x), vdupq_n_u8(96))); }
  static S::F load_u8(const std::byte* p) {
    uint8_t four[8] = {};
    __builtin_memcpy(four, p, 4);
    return vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(vld1_u8(four)))));
  }
  static S::F load_i8(const std::byte* p) {
    int8_t four[8] = {};
    __builtin_memcpy(four, p, 4);
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vld1_s8(four)))));
  }
};

}  // namespace
}  // namespace qwill::cpu
