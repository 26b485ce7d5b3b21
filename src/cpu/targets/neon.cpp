#include "cpu/simd/neon.h"

#include "cpu/kernels/table.h"
#include "cpu/simd/dot_neon.h"

namespace qwill::cpu {
extern const Kernels kNeonKernels;
const Kernels kNeonKernels = vector_kernels<Neon, DotNeon>("neon");
}  // namespace qwill::cpu
