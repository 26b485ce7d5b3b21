#include "llm/backend.h"

#include <algorithm>

#include "base/error.h"

namespace qwill {
namespace {

constexpr int64_t kCpuChunk = 512, kCudaChunk = 2048;
// While others decode: their next token waits for this many prompt rows, some 8 ms on an H100 with 8B.
constexpr int64_t kCpuMixedChunk = 64, kCudaMixedChunk = 256;
constexpr int64_t kCpuSequences = 8;

// What is wanted and no card does, as what to do instead on one; empty if there is nothing.
std::string kept_from_cards(const LlmOptions& options, std::string_view panels) {
  if (options.kv_dtype == KvDTypeChoice::f16 || options.kv_dtype == KvDTypeChoice::int8)
    return fmt::format("--kv-dtype {}: only on the CPU; on a card use auto, fp8, bf16 or f32",
                       options.kv_dtype == KvDTypeChoice::f16 ? "f16" : "int8");
  if (options.dtype == DTypeChoice::int8) return "--dtype int8: only on the CPU so far; on a card use fp8 or int4";
  if (!panels.empty())
    return fmt::format("{}: weights in {}: only on the CPU; on a card use the model that it was made of", options.model,
                       panels);
  return "";
}

}  // namespace

DeviceChoice choose_device(const LlmOptions& options, std::string_view panels) {
  DeviceChoice choice;
  const std::string kept = kept_from_cards(options, panels);
  if (options.device == "auto") {
    const bool available = cuda_available();
    choice.trouble = available ? kept : cuda_trouble();
    choice.on_cuda = available && kept.empty();
  } else if (options.device.starts_with("cuda")) {
    if (!kept.empty()) fail_unsupported("{}", kept);
    choice.on_cuda = true;
  }
  const auto or_default = [&](int64_t wanted, int64_t on_cpu, int64_t on_cuda) {
    return wanted > 0 ? wanted : choice.on_cuda ? on_cuda : on_cpu;
  };
  choice.chunk_size = or_default(options.chunk_size, kCpuChunk, kCudaChunk);
  choice.mixed_chunk_size =
      std::min(choice.chunk_size, or_default(options.mixed_chunk_size, kCpuMixedChunk, kCudaMixedChunk));
  choice.max_sequences = or_default(options.max_sequences, kCpuSequences, 0);
  if (choice.on_cuda) {
    const size_t colon = options.device.find(':');
    choice.cuda = {.device = colon == std::string::npos ? 0 : std::stoi(options.device.substr(colon + 1)),
                   .portable = options.cuda_portable};
    choice.card.hopper = !options.cuda_portable;
    choice.name = fmt::format("cuda:{}", choice.cuda.device);
  } else {
    if (options.dtype == DTypeChoice::fp8)
      fail_unsupported("--dtype fp8: only on CUDA cards of the Hopper generation; on the CPU use int8");
    if (options.kv_dtype == KvDTypeChoice::fp8)
      fail_unsupported("--kv-dtype fp8: only on CUDA cards; on the CPU use int8");
    choice.cpu = {.num_threads = options.num_threads, .path = options.cpu_path};
    choice.name = cpu_device_name(choice.cpu);
  }
  return choice;
}

std::optional<DType> chosen_dtype(KvDTypeChoice choice) {
  switch (choice) {
    case KvDTypeChoice::f32: return DType::f32;
    case KvDTypeChoice::bf16: return DType::bf16;
    case KvDTypeChoice::f16: return DType::f16;
    case KvDTypeChoice::fp8: return DType::f8_e4m3;
    case KvDTypeChoice::int8: return DType::i8;
    case KvDTypeChoice::automatic: break;
  }
  return std::nullopt;
}

Backend open_backend(const LlmOptions& options, std::string_view panels) {
  Backend backend{choose_device(options, panels), nullptr};
  if (backend.on_cuda) {
    with_context(options.device, [&] {
      backend.ops = make_cuda_ops(backend.cuda);
      backend.card = cuda_card(backend.cuda);
      backend.name = cuda_device_name(backend.cuda);
    });
  } else {
    backend.ops = make_cpu_ops(backend.cpu);
  }
  return backend;
}

}  // namespace qwill
