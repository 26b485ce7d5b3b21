// Integer dot products of panels where the processor has none for bytes: codes are widened to 16 bits, two columns at a
// time, and multiplied by VPMADDWD, which is exact (VPMADDUBSW would saturate).
#pragma once

#include "cpu/simd/bytes_avx2.h"

namespace qwill::cpu {
namespace {  // each target compiles its own copy with its own flags; the linker may not merge them

// Four activations of a quad as two pairs of 16 bits: columns 0 and 2, columns 1 and 3.
struct WideGroup {
  int32_t even[8], odd[8];
  float scale;
  int32_t start, half_start;

  int8_t* codes() { return reinterpret_cast<int8_t*>(even); }
  void arrange() {
    int8_t code[32];
    std::memcpy(code, even, 32);
    const auto pair = [](int8_t low, int8_t high) {
      return static_cast<int32_t>(static_cast<uint16_t>(low) | static_cast<uint32_t>(static_cast<uint16_t>(high))
                                                                   << 16);
    };
    for (int i = 0; i < 8; ++i) {
      even[i] = pair(code[4 * i], code[4 * i + 2]);
      odd[i] = pair(code[4 * i + 1], code[4 * i + 3]);
    }
  }
};

struct DotWide256 : BytesAvx2 {
  static constexpr int kRows = 2, kVectors = 2;  // register block: 4 integer sums, 4 sums, 4 codes, a quad
  static constexpr int64_t kUnexpandedRows = 1;
  using Group = WideGroup;
  struct Quad {
    I even, odd;
  };
  static Quad quad(const Group& group, int64_t i) {
    return {_mm256_set1_epi32(group.even[i]), _mm256_set1_epi32(group.odd[i])};
  }
  static I dot(I sum, I codes, Quad quad) {
    const I even = _mm256_madd_epi16(_mm256_and_si256(codes, _mm256_set1_epi16(255)), quad.even);
    const I odd = _mm256_madd_epi16(_mm256_srli_epi16(codes, 8), quad.odd);
    return _mm256_add_epi32(sum, _mm256_add_epi32(even, odd));
  }
};

}  // namespace
}  // namespace qwill::cpu
