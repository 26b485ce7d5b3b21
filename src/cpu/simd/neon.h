// Four floats: AArch64 Advanced SIMD. Included by targets/neon.cpp only.
#pragma once

#include <arm_neon.h>

#include <cstdint>
#include <cstring>

#include "tensor/dtype.h"

namespace qwill::cpu {
namespace {  // each target compiles its own copy with its own flags; the linker may not merge them

struct Neon {
  static constexpr int64_t kLanes = 4;
  static constexpr int kLinearRows = 4, kLinearOuts = 4;  // register block: 16 sums, 4 weights, 1 operand
  static constexpr int kAttendItems = 6, kAttendVectors = 4;

  using F = float32x4_t;

  static F zero() { return vdupq_n_f32(0); }
  static F set1(float x) { return vdupq_n_f32(x); }
  static F load(const float* p) { return vld1q_f32(p); }
  static F load_first(const float* p, int64_t n) {
    float padded[4] = {};
    std::memcpy(padded, p, static_cast<size_t>(n) * 4);
    return vld1q_f32(padded);
  }
  static void store(float* p, F x) { vst1q_f32(p, x); }
  static void store_first(float* p, int64_t n, F x) {
    float all[4];
    vst1q_f32(all, x);
    std::memcpy(p, all, static_cast<size_t>(n) * 4);
  }

  // Four 16-bit elements from any alignment; the first n, zeros behind.
  static uint16x4_t load_16(const void* p, int64_t n = 4) {
    uint16_t padded[4] = {};
    std::memcpy(padded, p, static_cast<size_t>(n) * 2);
    return vld1_u16(padded);
  }
  static F widen(uint16x4_t x) { return vreinterpretq_f32_u32(vshll_n_u16(x, 16)); }
  static F load(const bf16* p) { return widen(load_16(p)); }
  static F load_first(const bf16* p, int64_t n) { return widen(load_16(p, n)); }
  static F load(const f16* p) { return vcvt_f32_f16(vreinterpret_f16_u16(load_16(p))); }
  static F load_first(const f16* p, int64_t n) { return vcvt_f32_f16(vreinterpret_f16_u16(load_16(p, n))); }

  static F load(const int8_t* p) {
    int8_t padded[8] = {};
    std::memcpy(padded, p, 4);
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vld1_s8(padded)))));
  }

  static F add(F a, F b) { return vaddq_f32(a, b); }
  static F sub(F a, F b) { return vsubq_f32(a, b); }
  static F mul(F a, F b) { return vmulq_f32(a, b); }
  static F div(F a, F b) { return vdivq_f32(a, b); }
  static F fma(F a, F b, F c) { return vfmaq_f32(c, a, b); }
  static F max(F a, F b) { return vmaxq_f32(a, b); }
  static F min(F a, F b) { return vminq_f32(a, b); }
  static F floor(F x) { return vrndmq_f32(x); }
  // Of a table of 32, by integers 0 … 31.
  static F look_up_32(const float* table, F index) {
    float all[4];
    vst1q_f32(all, index);
    for (float& value : all) value = value >= 0 && value < 32 ? table[static_cast<int>(value)] : 0;  // NaN: any
    return vld1q_f32(all);
  }
  // lower where a < b, else upper.
  static F select_below(F a, F b, F lower, F upper) { return vbslq_f32(vcltq_f32(a, b), lower, upper); }
  static F round(F x) { return vrndnq_f32(x); }
  // x * 2^n for integral n with a normal result.
  static F scale_exponent(F x, F n) {
    return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(x), vshlq_n_s32(vcvtq_s32_f32(n), 23)));
  }
  // x where a >= b, else 0.
  static F zero_below(F x, F a, F b) { return vbslq_f32(vcgeq_f32(a, b), x, zero()); }
  // The first n lanes of x (n may be <= 0 or >= 4), `other` in the rest.
  static F keep_first(F x, int64_t n, F other) {
    constexpr int32_t kIndices[4] = {0, 1, 2, 3};
    const int32_t count = n < 0 ? 0 : n > 4 ? 4 : static_cast<int32_t>(n);
    return vbslq_f32(vcltq_s32(vld1q_s32(kIndices), vdupq_n_s32(count)), x, other);
  }

  // One fixed tree: pairs, neighbours.
  static float reduce_add(F x) {
    const F pairs = vpaddq_f32(x, x);
    return vgetq_lane_f32(vpaddq_f32(pairs, pairs), 0);
  }
  // Four reduce_adds at once, the same bits.
  static void reduce_add_4(F a, F b, F c, F d, float out[4]) {
    vst1q_f32(out, vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d)));
  }
  static float reduce_max(F x) { return vmaxvq_f32(x); }

  // Round to nearest even; NaN stays NaN.
  static F round_to_bf16(F x) {
    const uint32x4_t bits = vreinterpretq_u32_f32(x);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint32x4_t rounded =
        vandq_u32(vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff))), vdupq_n_u32(0xffff0000u));
    return vbslq_f32(vceqq_f32(x, x), vreinterpretq_f32_u32(rounded), x);
  }
  static void store_16(void* p, uint16x4_t x) {
    uint16_t all[4];
    vst1_u16(all, x);
    std::memcpy(p, all, sizeof all);
  }
  static void store(bf16* p, F x) { store_16(p, vshrn_n_u32(vreinterpretq_u32_f32(round_to_bf16(x)), 16)); }
  static void store(f16* p, F x) { store_16(p, vreinterpret_u16_f16(vcvt_f16_f32(x))); }
  // To the nearest integer of eight bits.
  static void store(int8_t* p, F x) {
    const int16x4_t words = vqmovn_s32(vcvtnq_s32_f32(x));
    int8_t all[8];
    vst1_s8(all, vqmovn_s16(vcombine_s16(words, words)));
    std::memcpy(p, all, 4);
  }
};

}  // namespace
}  // namespace qwill::cpu
