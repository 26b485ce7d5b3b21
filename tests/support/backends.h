// The backends as test parameters: the plain reference and every CPU path of this architecture, by name. A suite runs
// on all of them; one that this machine lacks is reported as skipped, by its name.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "ops/ops.h"

namespace qwill::test {

// "avx2", "avx2-vnni", "avx512", "avx512-vnni", "avx512-bf16", "amx" on x86, "neon", "neon-dotprod" on Arm.
std::vector<std::string> cpu_paths();
// A CPU path, or "cuda" and "cuda-portable".
bool machine_has(const std::string& path);

// "reference" and cpu_paths().
std::vector<std::string> host_backends();
// The same and, where it is built in, "cuda" and "cuda-portable".
std::vector<std::string> backends();
// backends() without "reference", which is too slow for models.
std::vector<std::string> model_backends();
// What its kernels take.
int64_t max_head_dim(const std::string& name);
// Of caches, beside f32.
std::vector<DType> cache_dtypes(const std::string& name);
bool is_cpu(const std::string& name);
bool has_fp8(const std::string& name);
bool has_fp8_cache(const std::string& name);
bool has_int4(const std::string& name);    // of tensor/int4.h
bool has_panels(const std::string& name);  // int8 and int4 of tensor/panels.h
// "cuda-apart": "cuda" with a kernel for each op in recorded steps of one row too.
std::unique_ptr<Ops> make_backend(const std::string& name, int num_threads = 1);

class BackendTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (GetParam() != "reference" && !machine_has(GetParam())) GTEST_SKIP() << "this machine lacks " << GetParam();
  }
};

// Test names may not hold dashes.
std::string backend_test_name(const testing::TestParamInfo<std::string>& info);

}  // namespace qwill::test
