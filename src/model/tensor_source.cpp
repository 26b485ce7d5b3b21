#include "model/tensor_source.h"

#include <sys/mman.h>

#include <array>
#include <cmath>
#include <cstring>
#include <thread>
#include <vector>

#include "base/cpu_features.h"
#include "base/error.h"
#include "tensor/panels.h"

namespace qwill {

int64_t source_bytes(const WeightSource& source) {
  if (const auto panels = stored_panels(source.format)) return panels_bytes(*panels, source.rows, source.cols);
  if (source.format == BlockFormat::none) return source.rows * source.cols * dtype_bytes(source.dtype);
  const BlockShape shape = block_shape(source.format);
  return source.rows * (source.cols / shape.cols) * shape.bytes;
}

namespace {

// Matrices whose rounding costs most for their size (bench/results/2026-11-26-cpu-quality.txt): the head, keys, values
// and the last layer's MLP; beside experts, where it is few of the weights, also the attention's output.
bool is_sensitive(const std::string& name, const ModelConfig& config) {
  if (name == head_name(config)) return true;
  if (!name.ends_with("_proj.weight")) return false;
  return name.ends_with("v_proj.weight") || name.ends_with("k_proj.weight") ||
         (config.moe && name.ends_with("o_proj.weight")) ||
         name.starts_with(fmt::format("model.layers.{}.mlp.", config.num_layers - 1));
}

}  // namespace

WeightSource CheckpointTensors::get(const std::string& name, int64_t rows, int64_t cols) const {
  const std::array<int64_t, 2> matrix{rows, cols};
  const std::array<int64_t, 1> vector{cols};
  const StoredTensor& tensor =
      rows == 1 && name.ends_with("norm.weight") ? checkpoint_.tensor(name, vector) : checkpoint_.tensor(name, matrix);
  return {tensor.bytes.data(), tensor.dtype, rows, cols, tensor.format, is_sensitive(name, checkpoint_.config())};
}

namespace {

// Whole pages of a mapping are forgotten: a file's are read again if anyone asks, others become zeros.
void forget_pages(const void* data, int64_t bytes) {
  constexpr uintptr_t kPage = 4096;
  const auto begin = (reinterpret_cast<uintptr_t>(data) + kPage - 1) / kPage * kPage,
             end = (reinterpret_cast<uintptr_t>(data) + static_cast<uintptr_t>(bytes)) / kPage * kPage;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

struct Distribution {
  float centre, spread;
};
Distribution distribution(const std::string& name, int64_t cols) {
  if (name.ends_with("norm.weight")) return {1.0f, 0.1f};
  return {0.0f, std::sqrt(3.0f / static_cast<float>(cols))};
}

}  // namespace

WeightSource RandomValues::get(const std::string& name, int64_t rows, int64_t cols) const {
  const auto [centre, spread] = distribution(name, cols);
  next_seed_ += uint64_t{1} << 40;
  return {
      nullptr, DType::bf16, rows, cols, BlockFormat::none, is_sensitive(name, config_), {next_seed_, centre, spread}};
}

RandomTensors::RandomTensors(const ModelConfig& config) : config_(config) {
  for (const ExpectedTensor& tensor : expected_tensors(config)) bytes_ += (tensor.num_elements() * 2 + 63) / 64 * 64;
  void* data = ::mmap(nullptr, static_cast<size_t>(bytes_), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) fail(ErrorKind::io, "cannot reserve {} bytes for random weights", bytes_);
  data_ = static_cast<char*>(data);
}

void CheckpointTensors::release(const WeightSource& source) const { forget_pages(source.data, source_bytes(source)); }
void RandomTensors::release(const WeightSource& source) const { forget_pages(source.data, source_bytes(source)); }

RandomTensors::~RandomTensors() { ::munmap(data_, static_cast<size_t>(bytes_)); }

WeightSource RandomTensors::get(const std::string& name, int64_t rows, int64_t cols) const {
  char* out = data_ + used_;
  const int64_t count = rows * cols;
  used_ += (count * 2 + 63) / 64 * 64;
  CHECK(used_ <= bytes_, "random weights fit the expected tensors");
  const auto [centre, scale] = distribution(name, cols);
  const int num_threads = available_cpus();
  std::vector<std::thread> threads;
  for (int i = 0; i < num_threads; ++i) {
    threads.emplace_back([=, this, centre = centre, scale = scale] {
      // Xorshift64 (Marsaglia 2003), one stream per thread and tensor.
      uint64_t state = 0x9e3779b97f4a7c15ull * static_cast<uint64_t>(used_ + i + 1);
      for (int64_t k = count * i / num_threads; k < count * (i + 1) / num_threads; ++k) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        const float uniform = static_cast<float>(static_cast<int32_t>(state >> 32)) * 0x1p-31f;
        const bf16 value = to_bf16(centre + scale * uniform);
        std::memcpy(out + 2 * k, &value.bits, 2);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return {out, DType::bf16, rows, cols, BlockFormat::none, is_sensitive(name, config_)};
}

std::unique_ptr<TensorSource> random_source(const ModelConfig& config, bool on_cuda) {
  if (on_cuda) return std::make_unique<RandomValues>(config);
  return std::make_unique<RandomTensors>(config);
}

}  // namespace qwill
