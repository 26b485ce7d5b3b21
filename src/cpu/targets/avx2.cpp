#include "cpu/simd/avx2.h"

#include "cpu/kernels/table.h"
#include "cpu/simd/dot_wide.h"

namespace qwill::cpu {
extern const Kernels kAvx2Kernels;
const Kernels kAvx2Kernels = vector_kernels<Avx2, DotWide256>("avx2");
}  // namespace qwill::cpu
