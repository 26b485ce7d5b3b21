#include "cpu/kernels/table.h"
#include "cpu/simd/avx2.h"
#include "cpu/simd/dot_vnni256.h"

namespace qwill::cpu {
extern const Kernels kAvx2VnniKernels;
const Kernels kAvx2VnniKernels = vector_kernels<Avx2, DotVnni256>("avx2-vnni");
}  // namespace qwill::cpu
