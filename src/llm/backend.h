// Which device runs a model, and whether it has room.
#pragma once

#include <memory>
#include <string>

#include "cpu/cpu_ops.h"
#include "cuda/cuda_ops.h"
#include "model/model.h"
#include "qwill/options.h"

namespace qwill {

// The device that options name, opened. "auto" is a CUDA card where there is one.
struct Backend {
  std::unique_ptr<Ops> ops;
  std::string name;  // "cpu (avx512, 8 threads)", "cuda:0 (NVIDIA H100, hopper)"
  bool on_cuda = false;
  CudaOptions cuda;  // where on_cuda
  CpuOptions cpu;    // where not
  int64_t chunk_size = 512;
  int64_t mixed_chunk_size = 512;
};
// Throws Error(unsupported) for a device that this build or machine does not have.
Backend open_backend(const LlmOptions& options);

// Throws Error(device), with what would fit, if the model and a cache of so many tokens are larger than the card.
void require_room(const Backend& backend, const ModelConfig& config, DTypeChoice dtype, DType kv_dtype,
                  int64_t max_seq_len);

}  // namespace qwill
