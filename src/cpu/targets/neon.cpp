#include "cpu/simd/neon.h"

#include "cpu/kernels/table.h"

namespace qwill::cpu {
extern const Kernels kNeonKernels;
const Kernels kNeonKernels = vector_kernels<Neon>("neon");
}  // namespace qwill::cpu
