// The CUDA backend as the rest of the program sees it: no CUDA header needed, and nothing fails to start where there is
// no driver.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "ops/ops.h"

namespace qwill {

// What the size of buffers depends on. The default is an H100.
struct CudaCard {
  int num_sms = 132;
  bool hopper = true;  // of that generation
};

struct CudaOptions {
  int device = 0;
  // The kernels for any card from sm_80 on (mma.sync), also where those for Hopper (wgmma) would run. The same bits.
  bool portable = false;
  // A recorded step of one row as one kernel on Hopper (kernels/decode_step.h). The same bits.
  bool step_kernel = true;
  // Only counts the memory that such a card would hold, see Ops::memory: no driver is needed.
  std::optional<CudaCard> dry = {};
};

// Whether the backend was compiled in.
bool cuda_built();

// Whether there is a card, be it one that others have.
bool cuda_exists();
// Whether the first card can be used.
bool cuda_available();
// Why the first card cannot be used although there is a driver, in one line; else empty.
std::string cuda_trouble();

// Throws Error(unsupported) that says why there is no such card: not compiled in, no driver, one that is too old or
// does not start, a card that is too old, or a number too high; Error(device) if others have the card.
std::unique_ptr<Ops> make_cuda_ops(const CudaOptions& options);

// "cuda:0 (NVIDIA H100 80GB HBM3, hopper)"; throws as make_cuda_ops does.
std::string cuda_device_name(const CudaOptions& options);
CudaCard cuda_card(const CudaOptions& options);
// Memory of the card that nobody uses.
int64_t cuda_free_bytes(const CudaOptions& options);

// Times that device memory was asked for, in the whole process: none once an engine is ready.
int64_t cuda_device_allocations();
// Bytes of it that are held.
int64_t cuda_device_bytes();

// Bytes per second that the card reads from its memory, the best of plain and bulk loads over `bytes` of it.
double cuda_read_bandwidth(const CudaOptions& options, int64_t bytes);
// Operations per second of its tensor cores on bf16: a product of 8192-cubed random matrices by our own kernel.
double cuda_matrix_rate(const CudaOptions& options);

}  // namespace qwill
