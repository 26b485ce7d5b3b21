#include "cpu/simd/avx512.h"

#include "cpu/kernels/table.h"
#include "cpu/simd/dot_wide.h"

namespace qwill::cpu {
extern const Kernels kAvx512Kernels;
const Kernels kAvx512Kernels = vector_kernels<Avx512, DotWide256>("avx512");
}  // namespace qwill::cpu
