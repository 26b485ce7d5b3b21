// Integer dot products of panels by VPDPBUSD over 256 bits: AVX-VNNI, of processors that have no AVX-512.
#pragma once

#include "cpu/simd/bytes_avx2.h"
#include "cpu/simd/quad_group.h"

namespace qwill::cpu {
namespace {  // each target compiles its own copy with its own flags; the linker may not merge them

struct DotVnni256 : BytesAvx2 {
  using Quad = I;
  static constexpr int kRows = 2, kVectors = 2;  // register block: 4 integer sums, 4 sums, 4 codes, a quad
  static constexpr int64_t kUnexpandedRows = 1;

  using Group = QuadGroup;
  static Quad quad(const Group& group, int64_t i) { return _mm256_set1_epi32(group.quads[i]); }
  static I dot(I sum, I codes, Quad quad) { return _mm256_dpbusd_avx_epi32(sum, codes, quad); }
};

}  // namespace
}  // namespace qwill::cpu
