#include "cpu/dispatch.h"

#include <string>
#include <vector>

#include "base/cpu_features.h"
#include "base/error.h"

namespace qwill::cpu {

extern const Kernels kAvx2Kernels, kAvx2VnniKernels, kAvx512Kernels, kAvx512VnniKernels, kAvx512Bf16Kernels,
    kAmxKernels, kNeonKernels, kNeonDotprodKernels;

namespace {

std::vector<const Kernels*> detect() {
  std::vector<const Kernels*> tables;
#if defined(__x86_64__)
  const CpuFeatures& features = cpu_features();
  if (features.amx) tables.push_back(&kAmxKernels);
  if (features.avx512_bf16) tables.push_back(&kAvx512Bf16Kernels);
  if (features.avx512_vnni) tables.push_back(&kAvx512VnniKernels);
  if (features.avx512) tables.push_back(&kAvx512Kernels);
  if (features.avx_vnni) tables.push_back(&kAvx2VnniKernels);
  if (features.avx2) tables.push_back(&kAvx2Kernels);
#elif defined(__aarch64__)
  if (cpu_features().dotprod) tables.push_back(&kNeonDotprodKernels);
  tables.push_back(&kNeonKernels);
#endif
  if (tables.empty()) fail_unsupported("this processor has neither AVX2 with FMA nor NEON; qwill needs one of them");
  return tables;
}

}  // namespace

std::span<const Kernels* const> available_kernels() {
  static const std::vector<const Kernels*> tables = detect();
  return tables;
}

const Kernels& select_kernels(std::string_view name) {
  if (name.empty() || name == "auto") return *available_kernels().front();
  std::string names;
  for (const Kernels* table : available_kernels()) {
    if (table->name == name) return *table;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", table->name);
  }
  fail_unsupported("CPU path {}: not on this machine, which has {}", name, names);
}

}  // namespace qwill::cpu
