#include "support/backends.h"

#include <algorithm>

#include "cpu/cpu_ops.h"
#include "cpu/dispatch.h"
#include "cuda/cuda_ops.h"
#include "ops/reference.h"

namespace qwill::test {

std::vector<std::string> cpu_paths() {
#if defined(__x86_64__)
  return {"avx2", "avx2-vnni", "avx512", "avx512-vnni", "avx512-bf16", "amx"};
#else
  return {"neon", "neon-dotprod"};
#endif
}

bool machine_has(const std::string& path) {
  if (path.starts_with("cuda")) return cuda_available();
  return std::ranges::any_of(cpu::available_kernels(), [&](const auto* kernels) { return kernels->name == path; });
}

std::vector<std::string> host_backends() {
  std::vector<std::string> names = cpu_paths();
  names.insert(names.begin(), "reference");
  return names;
}

std::vector<std::string> model_backends() {
  std::vector<std::string> names = backends();
  names.erase(names.begin());
  return names;
}

std::vector<std::string> backends() {
  std::vector<std::string> names = host_backends();
  if (cuda_built()) names.insert(names.end(), {"cuda", "cuda-portable"});
  return names;
}

int64_t max_head_dim(const std::string& name) { return name.starts_with("cuda") ? 128 : 256; }
std::vector<DType> cache_dtypes(const std::string& name) {
  if (name.starts_with("cuda")) return {DType::bf16, DType::f8_e4m3};
  return is_cpu(name) ? std::vector{DType::f16, DType::bf16, DType::i8} : std::vector<DType>{};
}
bool is_cpu(const std::string& name) { return std::ranges::count(cpu_paths(), name) > 0; }

bool has_fp8(const std::string& name) { return name == "reference" || name == "cuda" || name == "cuda-apart"; }
bool has_fp8_cache(const std::string& name) { return name == "reference" || name.starts_with("cuda"); }
bool has_panels(const std::string& name) { return name != "reference" && !name.starts_with("cuda"); }
bool has_int4(const std::string& name) { return name == "reference" || name.starts_with("cuda"); }

std::unique_ptr<Ops> make_backend(const std::string& name, int num_threads) {
  if (name.starts_with("cuda"))
    return make_cuda_ops({.portable = name == "cuda-portable", .step_kernel = name != "cuda-apart"});
  return name == "reference" ? make_reference_ops() : make_cpu_ops({.num_threads = num_threads, .path = name});
}

std::string backend_test_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::ranges::replace(name, '-', '_');
  return name;
}

}  // namespace qwill::test
