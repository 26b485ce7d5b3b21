#include "cpu/kernels/linear_amx.h"
#include "cpu/kernels/linear_bf16.h"
#include "cpu/kernels/table.h"
#include "cpu/simd/dot_amx.h"

namespace qwill::cpu {
namespace {

constexpr Kernels amx_kernels() {
  Kernels kernels = vector_kernels<Avx512, DotAmx>("amx");
  kernels.bf16_rounded = kBf16Linear;
  kernels.bf16_tiles = kTileLinear;
  return kernels;
}

}  // namespace
extern const Kernels kAmxKernels;
const Kernels kAmxKernels = amx_kernels();
}  // namespace qwill::cpu
