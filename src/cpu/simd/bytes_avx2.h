// Bytes of panels over 256 bits, for the dot policies of AVX2.
#pragma once

#include <cstddef>

#include "cpu/simd/avx2.h"

namespace qwill::cpu {
namespace {  // each target compiles its own copy with its own flags; the linker may not merge them

struct BytesAvx2 {
  using S = Avx2;
  using I = __m256i;
  static constexpr bool kSubtracts128 = false;

  static I load(const std::byte* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static void store(std::byte* p, I x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x); }
  static I start(int32_t value) { return _mm256_set1_epi32(value); }
  static S::F to_float(I x) { return _mm256_cvtepi32_ps(x); }

  static I low_half(I x) { return _mm256_and_si256(x, _mm256_set1_epi8(15)); }
  // The high halves of bytes in their low halves; the others are anything.
  static I high_halves(I x) { return _mm256_srli_epi16(x, 4); }
  // Sixty-four codes; which sixteen of them a row's half group takes say two bits of its scale, which of these the low
  // half of a byte.
  struct Books {
    I book[4];
  };
  struct Choice {
    __m256 odd, upper;  // in the sign of every lane
  };
  static Books load_books(const uint8_t* codes) {
    Books books;
    for (int i = 0; i < 4; ++i)
      books.book[i] = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + 16 * i)));
    return books;
  }
  static Choice choice(const std::byte* scales, int half) {
    const I bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(scales)));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(bits, 31 - 2 * half)),
            _mm256_castsi256_ps(_mm256_slli_epi32(bits, 30 - 2 * half))};
  }
  static I look_up(const Books& books, const Choice& choice, I x) {
    const I index = low_half(x);
    const auto from = [&](int i) { return _mm256_castsi256_ps(_mm256_shuffle_epi8(books.book[i], index)); };
    const __m256 lower = _mm256_blendv_ps(from(0), from(1), choice.odd),
                 upper = _mm256_blendv_ps(from(2), from(3), choice.odd);
    return _mm256_castps_si256(_mm256_blendv_ps(lower, upper, choice.upper));
  }
  template <int kFirst>
  static I two_bits(I x) {
    return _mm256_and_si256(_mm256_srli_epi16(x, kFirst), _mm256_set1_epi8(3));
  }
  // Bits of bytes moved so far to the right (to the left where it is negative); which come from neighbours is open.
  template <int kRight>
  static I shift(I x) {
    if constexpr (kRight < 0)
      return _mm256_slli_epi16(x, -kRight);
    else
      return _mm256_srli_epi16(x, kRight);
  }
  // Six bits, of which the first has the upper four in its upper half and the second the lower two in bits 2 and 3, as
  // a code.
  static I join_six(I upper, I lower) {
    return _mm256_or_si256(_mm256_and_si256(upper, _mm256_set1_epi8(static_cast<char>(0xf0))),
                           _mm256_and_si256(lower, _mm256_set1_epi8(0x0c)));
  }
  static I or_shifted_4(I low, I upper) { return _mm256_or_si256(low, _mm256_slli_epi16(upper, 4)); }
  static I offset_96(I x) { return _mm256_add_epi8(x, _mm256_set1_epi8(96)); }
  static S::F load_u8(const std::byte* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }
  static S::F load_i8(const std::byte* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }
};

}  // namespace
}  // namespace qwill::cpu
