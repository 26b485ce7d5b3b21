// Sixteen floats: AVX-512 F, BW, DQ, VL. Included by targets/avx512*.cpp and amx.cpp only.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "tensor/dtype.h"

namespace qwill::cpu {
namespace {  // each target compiles its own copy with its own flags; the linker may not merge them

struct Avx512 {
  static constexpr int64_t kLanes = 16;
  static constexpr int kLinearRows = 6, kLinearOuts = 4;  // register block: 24 sums, 4 weights, 1 operand
  static constexpr int kAttendItems = 6, kAttendVectors = 4;

  using F = __m512;
  using Mask = __mmask16;

  static Mask first(int64_t n) { return static_cast<Mask>((1u << n) - 1u); }

  static F zero() { return _mm512_setzero_ps(); }
  static F set1(float x) { return _mm512_set1_ps(x); }
  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static F load_first(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(first(n), p); }
  static void store(float* p, F x) { _mm512_storeu_ps(p, x); }
  static void store_first(float* p, int64_t n, F x) { _mm512_mask_storeu_ps(p, first(n), x); }

  static F widen(__m256i x) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16)); }
  static F load(const bf16* p) { return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
  static F load_first(const bf16* p, int64_t n) { return widen(_mm256_maskz_loadu_epi16(first(n), p)); }
  static F load(const f16* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
  static F load_first(const f16* p, int64_t n) { return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first(n), p)); }

  static F load(const int8_t* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }

  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F div(F a, F b) { return _mm512_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F max(F a, F b) { return _mm512_max_ps(a, b); }
  static F min(F a, F b) { return _mm512_min_ps(a, b); }
  static F floor(F x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
  // Of a table of 32, by integers 0 … 31.
  static F look_up_32(const float* table, F index) {
    return _mm512_permutex2var_ps(load(table), _mm512_cvtps_epi32(index), load(table + 16));
  }
  // lower where a < b, else upper.
  static F select_below(F a, F b, F lower, F upper) {
    return _mm512_mask_mov_ps(upper, _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), lower);
  }
  static F round(F x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  // x * 2^n for integral n with a normal result.
  static F scale_exponent(F x, F n) {
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(x), _mm512_slli_epi32(_mm512_cvtps_epi32(n), 23)));
  }
  // 0 where a < b, else x.
  static F zero_below(F x, F a, F b) { return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ), x); }
  // The first n lanes of x (n may be <= 0 or >= 16), `other` in the rest.
  static F keep_first(F x, int64_t n, F other) {
    const Mask mask = n <= 0 ? 0 : n >= 16 ? 0xffff : first(n);
    return _mm512_mask_mov_ps(other, mask, x);
  }

  // One fixed tree: halves, quarters, pairs, neighbours.
  static __m128 sum_to_4(F x) {
    const __m256 h = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    return _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  }
  static float reduce_add(F x) {
    __m128 q = sum_to_4(x);
    q = _mm_hadd_ps(q, q);
    q = _mm_hadd_ps(q, q);
    return _mm_cvtss_f32(q);
  }
  // Four reduce_adds at once, the same bits.
  static void reduce_add_4(F a, F b, F c, F d, float out[4]) {
    const __m128 ab = _mm_hadd_ps(sum_to_4(a), sum_to_4(b)), cd = _mm_hadd_ps(sum_to_4(c), sum_to_4(d));
    _mm_storeu_ps(out, _mm_hadd_ps(ab, cd));
  }
  static float reduce_max(F x) { return _mm512_reduce_max_ps(x); }

  // Round to nearest even; NaN stays NaN.
  static __m256i to_bf16_bits(F x) {
    const __m512i bits = _mm512_castps_si512(x);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
    const Mask nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    rounded = _mm512_mask_mov_epi32(rounded, nan, _mm512_set1_epi32(0x7fc0));
    return _mm512_cvtepi32_epi16(rounded);
  }
  static F round_to_bf16(F x) { return widen(to_bf16_bits(x)); }
  static void store(bf16* p, F x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), to_bf16_bits(x)); }
  static void store(f16* p, F x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
  }
  // To the nearest integer of eight bits.
  static void store(int8_t* p, F x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(x)));
  }
};

}  // namespace
}  // namespace qwill::cpu
