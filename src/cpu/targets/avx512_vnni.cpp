#include "cpu/kernels/table.h"
#include "cpu/simd/avx512.h"
#include "cpu/simd/dot_vnni512.h"

namespace qwill::cpu {
extern const Kernels kAvx512VnniKernels;
const Kernels kAvx512VnniKernels = vector_kernels<Avx512, DotVnni512>("avx512-vnni");
}  // namespace qwill::cpu
