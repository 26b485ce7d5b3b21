#include "support/backends.h"

#include <algorithm>

#include "cpu/cpu_ops.h"
#include "cpu/dispatch.h"
#include "ops/reference.h"

namespace qwill::test {

std::vector<std::string> cpu_paths() {
#if defined(__x86_64__)
  return {"avx2", "avx512", "avx512-bf16", "amx"};
#else
  return {"neon"};
#endif
}

bool machine_has(const std::string& cpu_path) {
  return std::ranges::any_of(cpu::available_kernels(), [&](const auto* kernels) { return kernels->name == cpu_path; });
}

std::vector<std::string> backends() {
  std::vector<std::string> names = cpu_paths();
  names.insert(names.begin(), "reference");
  return names;
}

std::unique_ptr<Ops> make_backend(const std::string& name, int num_threads) {
  return name == "reference" ? make_reference_ops() : make_cpu_ops({.num_threads = num_threads, .path = name});
}

std::string backend_test_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::ranges::replace(name, '-', '_');
  return name;
}

}  // namespace qwill::test
