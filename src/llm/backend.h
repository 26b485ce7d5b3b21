// Which device runs a model.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "cpu/cpu_ops.h"
#include "cuda/cuda_ops.h"
#include "model/model.h"
#include "qwill/options.h"

namespace qwill {

// The device that options name ("auto" is a CUDA card where there is one), and the limits that they leave to it.
struct DeviceChoice {
  bool on_cuda = false;
  CudaOptions cuda;     // where on_cuda
  CudaCard card;        // what is known of it
  CpuOptions cpu;       // where not on_cuda
  std::string name;     // "cpu (avx512, 8 threads)", "cuda:0 (NVIDIA H100, hopper)"
  std::string trouble;  // what keeps "auto" from the card that is there, in one line
  int64_t chunk_size = 512;
  int64_t mixed_chunk_size = 512;
  int64_t max_sequences = 1;  // 0: as many as a card's memory suits, which the plan knows
};
// "auto" is the CPU, too, for what no card does: some options, and weights in panels, which are named.
// Throws Error(unsupported) for what no such device does. A card is taken to be an H100: it is not looked at.
DeviceChoice choose_device(const LlmOptions& options, std::string_view panels = {});

// Of cached keys and values; none: what suits the weights.
std::optional<DType> chosen_dtype(KvDTypeChoice choice);

// The same, opened.
struct Backend : DeviceChoice {
  std::unique_ptr<Ops> ops;
};
// Throws Error(unsupported) for a device that this build or machine does not have.
Backend open_backend(const LlmOptions& options, std::string_view panels = {});

}  // namespace qwill
