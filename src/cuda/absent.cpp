// Stands in for the backend in a build without CUDA.
#include "base/error.h"
#include "cuda/cuda_ops.h"

namespace qwill {
namespace {

[[noreturn]] void fail_absent() {
  fail_unsupported("this build has no CUDA: build it where nvcc is found (./dev build), or use --device cpu");
}

}  // namespace

bool cuda_built() { return false; }
bool cuda_exists() { return false; }
bool cuda_available() { return false; }
std::string cuda_trouble() { return ""; }
std::unique_ptr<Ops> make_cuda_ops(const CudaOptions&) { fail_absent(); }
std::string cuda_device_name(const CudaOptions&) { fail_absent(); }
CudaCard cuda_card(const CudaOptions&) { fail_absent(); }
int64_t cuda_device_allocations() { return 0; }
int64_t cuda_device_bytes() { return 0; }
int64_t cuda_free_bytes(const CudaOptions&) { fail_absent(); }
double cuda_read_bandwidth(const CudaOptions&, int64_t) { fail_absent(); }
double cuda_matrix_rate(const CudaOptions&) { fail_absent(); }

}  // namespace qwill
