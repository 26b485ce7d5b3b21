// Which device runs a model.
#include "base/error.h"
#include "llm/llm.h"

namespace qwill {
namespace {

constexpr int64_t kCpuChunk = 512, kCudaChunk = 2048;

// Whether the machine has a card that this build can use.
bool cuda_available() {
  if (!cuda_built()) return false;
  try {
    return !cuda_devices().empty();
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

Backend open_backend(const LlmOptions& options) {
  Backend backend;
  backend.on_cuda = options.device.starts_with("cuda") || (options.device == "auto" && cuda_available());
  backend.chunk_size = options.chunk_size > 0 ? options.chunk_size : backend.on_cuda ? kCudaChunk : kCpuChunk;
  if (backend.on_cuda) {
    const size_t colon = options.device.find(':');
    backend.cuda = {.device = colon == std::string::npos ? 0 : std::stoi(options.device.substr(colon + 1)),
                    .portable = options.cuda_portable};
    backend.ops = make_cuda_ops(backend.cuda);
    backend.name = cuda_device_name(backend.cuda);
  } else {
    backend.cpu = {.num_threads = options.num_threads, .path = options.cpu_path};
    backend.ops = make_cpu_ops(backend.cpu);
    backend.name = cpu_device_name(backend.cpu);
  }
  return backend;
}

}  // namespace qwill
