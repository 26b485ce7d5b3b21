// Eight floats: AVX2 with FMA and F16C. Included by targets/avx2.cpp only.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "tensor/dtype.h"

namespace qwill::cpu {
namespace {  // each target compiles its own copy with its own flags; the linker may not merge them

struct Avx2 {
  static constexpr int64_t kLanes = 8;
  static constexpr int kLinearRows = 2, kLinearOuts = 4;  // register block: 8 sums, 4 weights, 1 operand
  static constexpr int kAttendItems = 4, kAttendVectors = 2;

  using F = __m256;

  static __m256i mask_first(int64_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }

  static F zero() { return _mm256_setzero_ps(); }
  static F set1(float x) { return _mm256_set1_ps(x); }
  static F load(const float* p) { return _mm256_loadu_ps(p); }
  static F load_first(const float* p, int64_t n) { return _mm256_maskload_ps(p, mask_first(n)); }
  static void store(float* p, F x) { _mm256_storeu_ps(p, x); }
  static void store_first(float* p, int64_t n, F x) { _mm256_maskstore_ps(p, mask_first(n), x); }

  static F widen(__m128i x) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16)); }
  // The first n 16-bit elements, zeros behind.
  static __m128i load_first_16(const void* p, int64_t n) {
    uint16_t padded[8] = {};
    std::memcpy(padded, p, static_cast<size_t>(n) * 2);
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(padded));
  }
  static F load(const bf16* p) { return widen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
  static F load_first(const bf16* p, int64_t n) { return widen(load_first_16(p, n)); }
  static F load(const f16* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
  static F load_first(const f16* p, int64_t n) { return _mm256_cvtph_ps(load_first_16(p, n)); }

  static F load(const int8_t* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }

  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F div(F a, F b) { return _mm256_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F max(F a, F b) { return _mm256_max_ps(a, b); }
  static F min(F a, F b) { return _mm256_min_ps(a, b); }
  static F floor(F x) { return _mm256_floor_ps(x); }
  // Of a table of 32, by integers 0 … 31.
  static F look_up_32(const float* table, F index) { return _mm256_i32gather_ps(table, _mm256_cvtps_epi32(index), 4); }
  // lower where a < b, else upper.
  static F select_below(F a, F b, F lower, F upper) {
    return _mm256_blendv_ps(upper, lower, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
  }
  static F round(F x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  // x * 2^n for integral n with a normal result.
  static F scale_exponent(F x, F n) {
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23)));
  }
  // 0 where a < b, else x.
  static F zero_below(F x, F a, F b) { return _mm256_and_ps(x, _mm256_cmp_ps(a, b, _CMP_NLT_UQ)); }
  // The first n lanes of x (n may be <= 0 or >= 8), `other` in the rest.
  static F keep_first(F x, int64_t n, F other) {
    return _mm256_blendv_ps(other, x, _mm256_castsi256_ps(mask_first(n < 0 ? 0 : n > 8 ? 8 : n)));
  }

  // One fixed tree: halves, pairs, neighbours.
  static __m128 sum_to_4(F x) { return _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1)); }
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
  static float reduce_max(F x) {
    __m128 q = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    q = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(q, _mm_movehdup_ps(q)));
  }

  // Round to nearest even; NaN stays NaN.
  static F round_to_bf16(F x) {
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_and_si256(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))),
                                             _mm256_set1_epi32(static_cast<int>(0xffff0000u)));
    return _mm256_blendv_ps(_mm256_castsi256_ps(rounded), x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  }
  static void store(bf16* p, F x) {
    const __m256i high = _mm256_srli_epi32(_mm256_castps_si256(round_to_bf16(x)), 16);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                     _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1)));
  }
  static void store(f16* p, F x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
  }
  // To the nearest integer of eight bits.
  static void store(int8_t* p, F x) {
    const __m256i i = _mm256_cvtps_epi32(x);
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(i), _mm256_extracti128_si256(i, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
  }
};

}  // namespace
}  // namespace qwill::cpu
