// The CUDA backend as the rest of the program sees it: no CUDA header needed, and nothing fails to start where there is
// no driver.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ops/ops.h"

namespace qwill {

struct CudaOptions {
  int device = 0;
  // The kernels for any card from sm_80 on (mma.sync), also where those for Hopper (wgmma) would run. The same bits.
  bool portable = false;
};

// Whether the backend was compiled in.
bool cuda_built();

struct CudaDevice {
  std::string name;
  int64_t total_bytes = 0;
  int64_t free_bytes = 0;
};
// The cards that the backend can use. Throws Error(unsupported) that says why there are none: not compiled in, no
// driver, a driver that is too old, a card that is too old.
std::vector<CudaDevice> cuda_devices();

// Throws Error(unsupported) as cuda_devices does, or for a card that does not exist.
std::unique_ptr<Ops> make_cuda_ops(const CudaOptions& options);

// "cuda:0 (NVIDIA H100 80GB HBM3, hopper)"
std::string cuda_device_name(const CudaOptions& options);

// Times that device memory was asked for, in the whole process: none once an engine is ready.
int64_t cuda_device_allocations();

// Bytes per second that the card reads from its memory, the best of plain and bulk loads over `bytes` of it.
double cuda_read_bandwidth(const CudaOptions& options, int64_t bytes);
// Operations per second of its tensor cores on bf16: a product of 8192-cubed random matrices by our own kernel.
double cuda_matrix_rate(const CudaOptions& options);

}  // namespace qwill
