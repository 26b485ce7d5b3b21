// Thirty-two activations as integer dot products of bytes meet them: four columns to a word.
#pragma once

#include <cstdint>

namespace qwill::cpu {
namespace {  // each target compiles its own copy with its own flags; the linker may not merge them

struct QuadGroup {
  int32_t quads[8];
  float scale;
  int32_t start, half_start;  // -128 times the sum of the codes, and of the first sixteen

  // Where the codes are written, in order, before they are arranged.
  int8_t* codes() { return reinterpret_cast<int8_t*>(quads); }
  void arrange() {}
};

}  // namespace
}  // namespace qwill::cpu
