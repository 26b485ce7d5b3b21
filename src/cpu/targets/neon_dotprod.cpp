#include "cpu/kernels/table.h"
#include "cpu/simd/dot_neon.h"
#include "cpu/simd/neon.h"

namespace qwill::cpu {
extern const Kernels kNeonDotprodKernels;
const Kernels kNeonDotprodKernels = vector_kernels<Neon, DotNeon>("neon-dotprod");
}  // namespace qwill::cpu
