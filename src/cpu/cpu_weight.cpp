#include "cpu/cpu_weight.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace qwill::cpu {
namespace {

// `count` elements from any alignment to f32.
void widen(const std::byte* from, DType dtype, int64_t count, float* to) {
  if (dtype == DType::f32) {
    std::memcpy(to, from, static_cast<size_t>(count) * 4);
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    uint16_t bits;
    std::memcpy(&bits, from + 2 * i, 2);
    to[i] = dtype == DType::bf16 ? to_float(bf16{bits}) : to_float(f16{bits});
  }
}

const LinearKernel& pick_kernel(const Kernels& kernels, const CpuWeight& weight, Compute compute) {
  if (weight.dtype == DType::f32) return kernels.f32_weights;
  if (weight.dtype == DType::f16) return kernels.f16_weights;
  if (compute == Compute::f32) return kernels.bf16_weights;
  const LinearKernel& tiles = kernels.bf16_tiles;
  const bool tiled =
      tiles.run && weight.cols % tiles.col_multiple == 0 &&
      std::ranges::all_of(weight.segments, [&](const auto& s) { return s.rows % tiles.row_multiple == 0; });
  return tiled ? tiles : kernels.bf16_rounded;
}

}  // namespace

void CpuWeight::read_row(int64_t row, float* out) const {
  for (const Segment& segment : segments) {
    if (row < segment.rows) return widen(segment.data + row * row_bytes(), dtype, cols, out);
    row -= segment.rows;
  }
}

int64_t task_rows(const CpuWeight& weight, int64_t segment_rows, int num_threads) {
  constexpr int64_t kMaxBytes = 512 << 10, kMinBytes = 64 << 10, kTasksPerThread = 3;
  const int64_t fair = segment_rows / (kTasksPerThread * num_threads);
  const int64_t least = kMinBytes / weight.row_bytes(), most = kMaxBytes / weight.row_bytes();
  return std::max<int64_t>(32, std::min(std::max(fair, least), most) / 32 * 32);
}

std::shared_ptr<const CpuWeight> place_weight(const Kernels& kernels, std::span<const WeightSource> sources,
                                              WeightUse use, Compute compute, bool dry) {
  auto weight = std::make_shared<CpuWeight>();
  weight->cols = sources[0].cols;
  for (const WeightSource& source : sources) weight->rows += source.rows;
  if (use == WeightUse::vector) {
    weight->owned_bytes = weight->cols * 4;
    if (dry) return weight;
    weight->vector.resize(static_cast<size_t>(weight->cols));
    widen(static_cast<const std::byte*>(sources[0].data), sources[0].dtype, weight->cols, weight->vector.data());
    return weight;
  }
  if (compute == Compute::fp8 || compute == Compute::int4)
    fail_unsupported("weights in {}: the CPU takes f32 and bf16", compute == Compute::fp8 ? "fp8" : "int4");
  const bool mixed = std::ranges::any_of(sources, [&](const auto& s) { return s.dtype != sources[0].dtype; });
  const bool convert = mixed || (compute == Compute::bf16 && sources[0].dtype != DType::bf16);
  weight->dtype = !convert ? sources[0].dtype : compute == Compute::bf16 ? DType::bf16 : DType::f32;
  if (convert) weight->owned_bytes = weight->rows * weight->row_bytes();
  if (!dry) weight->owned.resize(static_cast<size_t>(weight->owned_bytes));
  std::byte* next = weight->owned.data();
  std::vector<float> row(static_cast<size_t>(weight->cols));
  for (const WeightSource& source : sources) {
    const auto* data = static_cast<const std::byte*>(source.data);
    weight->segments.push_back({convert ? next : data, source.rows});
    if (!convert || dry) continue;
    for (int64_t r = 0; r < source.rows; ++r, next += weight->row_bytes()) {
      widen(data + r * source.cols * dtype_bytes(source.dtype), source.dtype, source.cols, row.data());
      if (weight->dtype == DType::f32) {
        std::memcpy(next, row.data(), static_cast<size_t>(weight->row_bytes()));
      } else {
        for (int64_t c = 0; c < weight->cols; ++c) {
          const bf16 value = to_bf16(row[static_cast<size_t>(c)]);
          std::memcpy(next + 2 * c, &value.bits, 2);
        }
      }
    }
  }
  weight->kernel = &pick_kernel(kernels, *weight, compute);
  return weight;
}

}  // namespace qwill::cpu
