#include "llm/backend.h"

#include <algorithm>

#include "base/error.h"

namespace qwill {
namespace {

constexpr int64_t kCpuChunk = 512, kCudaChunk = 2048;
// While others decode: their next token waits for this many prompt rows, some 8 ms on an H100 with 8B.
constexpr int64_t kCpuMixedChunk = 64, kCudaMixedChunk = 256;

constexpr int64_t kStepBytes = int64_t{1} << 30;  // activations, logits and what a driver keeps: less than this

}  // namespace

Backend open_backend(const LlmOptions& options) {
  Backend backend;
  backend.on_cuda = options.device.starts_with("cuda") || (options.device == "auto" && cuda_available());
  backend.chunk_size = options.chunk_size > 0 ? options.chunk_size : backend.on_cuda ? kCudaChunk : kCpuChunk;
  backend.mixed_chunk_size = std::min(backend.chunk_size, backend.on_cuda ? kCudaMixedChunk : kCpuMixedChunk);
  if (backend.on_cuda) {
    const size_t colon = options.device.find(':');
    backend.cuda = {.device = colon == std::string::npos ? 0 : std::stoi(options.device.substr(colon + 1)),
                    .portable = options.cuda_portable};
    with_context(options.device, [&] {
      backend.ops = make_cuda_ops(backend.cuda);
      backend.name = cuda_device_name(backend.cuda);
    });
  } else {
    if (options.dtype == DTypeChoice::int4)
      fail_unsupported("--dtype int4: needs a CUDA card so far; on the CPU use auto, bf16 or f32");
    if (options.dtype == DTypeChoice::fp8)
      fail_unsupported("--dtype fp8: only on CUDA cards of the Hopper generation; on the CPU use auto, bf16 or f32");
    backend.cpu = {.num_threads = options.num_threads, .path = options.cpu_path};
    backend.ops = make_cpu_ops(backend.cpu);
    backend.name = cpu_device_name(backend.cpu);
  }
  return backend;
}

void require_room(const Backend& backend, const ModelConfig& config, DTypeChoice dtype, DType kv_dtype,
                  int64_t max_seq_len) {
  if (!backend.on_cuda) return;
  const auto gb = [](int64_t bytes) { return static_cast<double>(bytes) / 1e9; };
  const int64_t free_bytes = cuda_free_bytes(backend.cuda),
                weights = placed_bytes(config, dtype) + widened_bytes(config, dtype),
                token = config.kv_elements_per_token() * dtype_bytes(kv_dtype),
                left = free_bytes - weights - kStepBytes;
  if (token * max_seq_len <= left) return;
  const std::string needs =
      fmt::format("{}: the weights need {:.1f} GB and a cache of {} tokens {:.1f} GB, and {:.1f} GB are free",
                  backend.name, gb(weights), max_seq_len, gb(token * max_seq_len), gb(free_bytes));
  if (left < token * 256) fail(ErrorKind::device, "{}: use a smaller model, or --device cpu", needs);
  fail(ErrorKind::device, "{}: --max-seq-len {} would fit", needs, left / token / 64 * 64);
}

}  // namespace qwill
