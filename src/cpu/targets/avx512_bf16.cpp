#include "cpu/kernels/linear_bf16.h"
#include "cpu/kernels/table.h"
#include "cpu/simd/dot_vnni512.h"

namespace qwill::cpu {
namespace {

constexpr Kernels bf16_kernels() {
  Kernels kernels = vector_kernels<Avx512, DotVnni512>("avx512-bf16");
  kernels.bf16_rounded = kBf16Linear;
  return kernels;
}

}  // namespace
extern const Kernels kAvx512Bf16Kernels;
const Kernels kAvx512Bf16Kernels = bf16_kernels();
}  // namespace qwill::cpu
