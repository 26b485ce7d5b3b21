#include "cpu/cpu_weight.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "cpu/repack.h"

namespace qwill::cpu {
namespace {

using Segment = CpuWeight::Segment;

int64_t source_row_bytes(const WeightSource& source) {
  if (source.format == BlockFormat::none) return source.cols * dtype_bytes(source.dtype);
  if (const auto panels = stored_panels(source.format)) return panel_bytes(*panels, source.cols) / kPanelRows;
  const BlockShape shape = block_shape(source.format);
  return source.cols / shape.cols * shape.bytes;
}

Segment as_stored(const WeightSource& source) {
  return {static_cast<const std::byte*>(source.data),
          source.rows,
          source_row_bytes(source),
          source.dtype,
          source.format,
          stored_panels(source.format),
          nullptr};
}

void narrow(std::span<const float> row, DType dtype, std::byte* to) {
  if (dtype == DType::f32) {
    std::memcpy(to, row.data(), row.size_bytes());
    return;
  }
  for (size_t i = 0; i < row.size(); ++i) {
    const bf16 value = to_bf16(row[i]);
    std::memcpy(to + 2 * i, &value.bits, 2);
  }
}

const LinearKernel& plain_kernel(const Kernels& kernels, const CpuWeight& weight, Compute compute) {
  const DType dtype = weight.segments[0].dtype;
  if (dtype == DType::f32) return kernels.f32_weights;
  if (dtype == DType::f16) return kernels.f16_weights;
  if (compute == Compute::f32) return kernels.bf16_weights;
  const LinearKernel& tiles = kernels.bf16_tiles;
  const bool tiled =
      tiles.run && weight.cols % tiles.col_multiple == 0 &&
      std::ranges::all_of(weight.segments, [&](const auto& s) { return s.rows % tiles.row_multiple == 0; });
  return tiled ? tiles : kernels.bf16_rounded;
}

// Everything as plain numbers of one type: where they lie if they are, else converted.
void place_plain(const Kernels& kernels, ThreadPool& pool, std::span<const WeightSource> sources, Compute compute,
                 bool dry, CpuWeight& weight) {
  const bool alike = std::ranges::all_of(
      sources, [&](const WeightSource& s) { return s.format == BlockFormat::none && s.dtype == sources[0].dtype; });
  const bool convert = !alike || (compute == Compute::bf16 && sources[0].dtype != DType::bf16);
  const DType dtype = !convert ? sources[0].dtype : compute == Compute::bf16 ? DType::bf16 : DType::f32;
  const int64_t row_bytes = weight.cols * dtype_bytes(dtype);
  if (convert) weight.owned_bytes = weight.rows * row_bytes;
  if (convert && !dry) weight.owned = WeightMemory(weight.owned_bytes);
  std::byte* next = weight.owned.data();
  for (const WeightSource& source : sources) {
    const Segment from = as_stored(source);
    Segment to = from;
    if (convert) {
      to = {next, source.rows, row_bytes, dtype, BlockFormat::none, {}, nullptr};
      if (!dry) {
        constexpr int64_t kRows = 16;
        pool.run((source.rows + kRows - 1) / kRows, [&](int64_t task) {
          std::vector<float> row(static_cast<size_t>(weight.cols));
          for (int64_t r = task * kRows; r < std::min(source.rows, (task + 1) * kRows); ++r) {
            read_stored_row(source, r, row.data());
            narrow(row, dtype, next + r * row_bytes);
          }
        });
        next += source.rows * row_bytes;
      }
    }
    weight.segments.push_back(to);
  }
  weight.keeps_sources = !convert;
  const LinearKernel& kernel = plain_kernel(kernels, weight, compute);
  for (Segment& segment : weight.segments) segment.kernel = &kernel;
}

// Everything as panels: where they lie if they are, else repacked.
void place_panels(const Kernels& kernels, ThreadPool& pool, std::span<const WeightSource> sources, Compute compute,
                  bool dry, CpuWeight& weight) {
  weight.keeps_sources = false;
  for (const WeightSource& source : sources) {
    const PanelFormat format = panels_for(source, compute);
    Segment segment = as_stored(source);
    if (segment.panels) {
      weight.keeps_sources = true;
    } else {
      segment = {nullptr, source.rows, panel_bytes(format, source.cols) / kPanelRows, DType::u8, BlockFormat::none,
                 format,  nullptr};
      weight.owned_bytes += panels_bytes(format, source.rows, source.cols);
    }
    segment.kernel = &kernels.panels[static_cast<size_t>(format)];
    weight.segments.push_back(segment);
  }
  if (dry) return;
  weight.owned = WeightMemory(weight.owned_bytes);
  // All in one run: each thread makes what it will multiply with, which then lies near it.
  struct Panels {
    const WeightSource* source;
    const Segment* segment;
    std::byte* to;
    int64_t first;  // number of the first
  };
  std::vector<Panels> made;
  std::byte* next = weight.owned.data();
  int64_t num_panels = 0;
  for (size_t i = 0; i < sources.size(); ++i) {
    Segment& segment = weight.segments[i];
    if (segment.data) continue;
    segment.data = next;
    made.push_back({&sources[i], &segment, next, num_panels});
    num_panels += (segment.rows + kPanelRows - 1) / kPanelRows;
    next += panels_bytes(*segment.panels, segment.rows, weight.cols);
  }
  pool.run(num_panels, [&](int64_t number) {
    const Panels& of = *std::prev(std::ranges::upper_bound(made, number, {}, &Panels::first));
    const int64_t panel = number - of.first;
    repack_panel(kernels, *of.source, *of.segment->panels, panel, of.to + panel * of.segment->row_bytes * kPanelRows);
  });
}

}  // namespace

int64_t CpuWeight::read_bytes() const {
  int64_t bytes = static_cast<int64_t>(vector.size() * sizeof(float));
  for (const Segment& segment : segments) bytes += segment.rows * segment.row_bytes;
  return bytes;
}

int64_t CpuWeight::scratch_bytes() const {
  int64_t bytes = 0;
  for (const Segment& segment : segments)
    if (segment.kernel) bytes = std::max(bytes, segment.kernel->scratch_bytes(cols));
  return bytes;
}

void CpuWeight::read_row(int64_t row, float* out) const {
  for (const Segment& segment : segments) {
    if (row >= segment.rows) {
      row -= segment.rows;
      continue;
    }
    if (segment.panels) return decode_panel_row(*segment.panels, segment.data, row, cols, out);
    return read_stored_row({segment.data, segment.dtype, segment.rows, cols, segment.blocks}, row, out);
  }
}

int64_t task_rows(const CpuWeight::Segment& segment, int num_threads) {
  constexpr int64_t kMaxBytes = 512 << 10, kMinBytes = 32 << 10, kTasksPerThread = 8;
  const int64_t fair = segment.rows / (kTasksPerThread * num_threads);
  const int64_t least = kMinBytes / segment.row_bytes, most = kMaxBytes / segment.row_bytes;
  return std::max<int64_t>(32, std::min(std::max(fair, least), most) / 32 * 32);
}

std::shared_ptr<const CpuWeight> place_weight(const Kernels& kernels, ThreadPool& pool,
                                              std::span<const WeightSource> sources, WeightUse use, Compute compute,
                                              bool dry) {
  auto weight = std::make_shared<CpuWeight>();
  weight->cols = sources[0].cols;
  for (const WeightSource& source : sources) weight->rows += source.rows;
  if (use == WeightUse::vector) {
    weight->owned_bytes = weight->cols * 4;
    weight->keeps_sources = false;
    if (dry) return weight;
    weight->vector.resize(static_cast<size_t>(weight->cols));
    read_stored_row(sources[0], 0, weight->vector.data());
    return weight;
  }
  if (compute == Compute::fp8) fail_unsupported("weights in fp8: the CPU takes f32, bf16, int8 and int4");
  if (use == WeightUse::table)
    for (const WeightSource& source : sources) weight->segments.push_back(as_stored(source));
  else if (compute == Compute::int8 || compute == Compute::int4)
    place_panels(kernels, pool, sources, compute, dry, *weight);
  else
    place_plain(kernels, pool, sources, compute, dry, *weight);
  return weight;
}

}  // namespace qwill::cpu
