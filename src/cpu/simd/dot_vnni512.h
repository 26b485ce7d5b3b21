// Integer dot products of panels by VPDPBUSD over 512 bits: AVX-512 VNNI, VBMI not needed. How policies look: a Group
// of 32 activations, vectors I of codes (a lane of 32 bits: four columns of one row), Quads that all lanes meet.
#pragma once

#include <cstddef>

#include "cpu/simd/avx512.h"

namespace qwill::cpu {
namespace {  // each target compiles its own copy with its own flags; the linker may not merge them

struct DotVnni512 {
  using S = Avx512;
  using I = __m512i;
  using Quad = __m512i;
  static constexpr int kRows = 6, kVectors = 2;  // register block: 12 integer sums, 12 sums, 4 codes, a quad
  static constexpr bool kSubtracts128 = false;

  struct Group {
    int32_t quads[8];
    float scale;
    int32_t start, half_start;
  };
  static void put(const int8_t* codes, Group& group) { __builtin_memcpy(group.quads, codes, 32); }
  static Quad quad(const Group& group, int64_t i) { return _mm512_set1_epi32(group.quads[i]); }

  static I load(const std::byte* p) { return _mm512_loadu_si512(p); }
  static void store(std::byte* p, I x) { _mm512_storeu_si512(p, x); }
  static I start(int32_t value) { return _mm512_set1_epi32(value); }
  static I dot(I sum, I codes, Quad quad) { return _mm512_dpbusd_epi32(sum, codes, quad); }
  static S::F to_float(I x) { return _mm512_cvtepi32_ps(x); }

  static I low_half(I x) { return _mm512_and_si512(x, _mm512_set1_epi8(15)); }
  static I high_half(I x) { return low_half(_mm512_srli_epi16(x, 4)); }
  static I load_book(const uint8_t* codes) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)));
  }
  static I look_up(I book, I index) { return _mm512_shuffle_epi8(book, index); }
  // Bits kFirst, kFirst + 1 of each byte.
  template <int kFirst>
  static I two_bits(I x) {
    return _mm512_and_si512(_mm512_srli_epi16(x, kFirst), _mm512_set1_epi8(3));
  }
  static I or_shifted_4(I low, I upper) { return _mm512_or_si512(low, _mm512_slli_epi16(upper, 4)); }
  static I offset_96(I x) { return _mm512_add_epi8(x, _mm512_set1_epi8(96)); }
  static S::F load_u8(const std::byte* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  static S::F load_i8(const std::byte* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
};

}  // namespace
}  // namespace qwill::cpu
