// Integer dot products of panels by VPDPBUSD over 512 bits: AVX-512 VNNI, VBMI not needed. How policies look: a Group
// of 32 activations, vectors I of codes (a lane of 32 bits: four columns of one row), Quads that all lanes meet.
#pragma once

#include <cstddef>

#include "cpu/simd/avx512.h"
#include "cpu/simd/quad_group.h"

namespace qwill::cpu {
namespace {  // each target compiles its own copy with its own flags; the linker may not merge them

struct DotVnni512 {
  using S = Avx512;
  using I = __m512i;
  using Quad = __m512i;
  static constexpr int kRows = 6, kVectors = 2;   // register block: 12 integer sums, 12 sums, 4 codes, a quad
  static constexpr int64_t kUnexpandedRows = 24;  // at most so many rows meet panels of few bits as they are
  static constexpr bool kSubtracts128 = false;

  using Group = QuadGroup;
  static Quad quad(const Group& group, int64_t i) { return _mm512_set1_epi32(group.quads[i]); }

  static I load(const std::byte* p) { return _mm512_loadu_si512(p); }
  static void store(std::byte* p, I x) { _mm512_storeu_si512(p, x); }
  static I start(int32_t value) { return _mm512_set1_epi32(value); }
  static I dot(I sum, I codes, Quad quad) { return _mm512_dpbusd_epi32(sum, codes, quad); }
  static S::F to_float(I x) { return _mm512_cvtepi32_ps(x); }

  static I low_half(I x) { return _mm512_and_si512(x, _mm512_set1_epi8(15)); }
  // The high halves of bytes in their low halves; the others are anything.
  static I high_halves(I x) { return _mm512_srli_epi16(x, 4); }
  // Sixty-four codes; which sixteen of them a row's half group takes say two bits of its scale, which of these the low
  // half of a byte.
#if defined(__AVX512VBMI__)
  using Books = I;
  using Choice = I;  // in bits 4 and 5 of every byte; the others are anything
  static Books load_books(const uint8_t* codes) { return _mm512_loadu_si512(codes); }
  static Choice choice(const std::byte* scales, int half) {
    const I every_first = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12));
    return _mm512_slli_epi16(_mm512_shuffle_epi8(load_u16(scales), every_first), half == 0 ? 4 : 2);
  }
  static I look_up(const Books& books, const Choice& choice, I x) {
    constexpr int kSelect = 0xca;  // where the first has ones the second, else the third
    const I index = _mm512_ternarylogic_epi32(_mm512_set1_epi8(15), x, choice, kSelect);
    return _mm512_permutexvar_epi8(index, books);  // by the lowest six bits
  }
#else
  struct Books {
    I book[4];
  };
  struct Choice {
    __mmask16 odd, upper;
  };
  static Books load_books(const uint8_t* codes) {
    Books books;
    for (int i = 0; i < 4; ++i)
      books.book[i] = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + 16 * i)));
    return books;
  }
  static Choice choice(const std::byte* scales, int half) {
    const I bits = load_u16(scales);
    return {_mm512_test_epi32_mask(bits, _mm512_set1_epi32(1 << 2 * half)),
            _mm512_test_epi32_mask(bits, _mm512_set1_epi32(2 << 2 * half))};
  }
  static I look_up(const Books& books, const Choice& choice, I x) {
    const I index = low_half(x);
    const auto from = [&](int i) { return _mm512_shuffle_epi8(books.book[i], index); };
    const I lower = _mm512_mask_blend_epi32(choice.odd, from(0), from(1)),
            upper = _mm512_mask_blend_epi32(choice.odd, from(2), from(3));
    return _mm512_mask_blend_epi32(choice.upper, lower, upper);
  }
#endif
  static I load_u16(const std::byte* p) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  // Bits kFirst, kFirst + 1 of each byte.
  template <int kFirst>
  static I two_bits(I x) {
    return _mm512_and_si512(_mm512_srli_epi16(x, kFirst), _mm512_set1_epi8(3));
  }
  // Bits of bytes moved so far to the right (to the left where it is negative); which come from neighbours is open.
  template <int kRight>
  static I shift(I x) {
    if constexpr (kRight < 0)
      return _mm512_slli_epi16(x, -kRight);
    else
      return _mm512_srli_epi16(x, kRight);
  }
  // Six bits, of which the first has the upper four in its upper half and the second the lower two in bits 2 and 3, as
  // a code.
  static I join_six(I upper, I lower) {
    constexpr int kSelect = 0xca;  // where the first has ones the second, else the third
    return _mm512_ternarylogic_epi32(_mm512_set1_epi8(static_cast<char>(0xf0)), upper,
                                     _mm512_and_si512(lower, _mm512_set1_epi8(0x0c)), kSelect);
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
