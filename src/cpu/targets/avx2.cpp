#include "cpu/kernels/table.h"
#include "cpu/simd/avx2.h"

namespace qwill::cpu {
extern const Kernels kAvx2Kernels;
const Kernels kAvx2Kernels = vector_kernels<Avx2>("avx2");
}  // namespace qwill::cpu
