// A weight on the CPU: segments of rows where they were mapped, the kernel that multiplies with them, and the tasks
// that one product is cut into.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "cpu/kernels.h"
#include "ops/ops.h"

namespace qwill::cpu {

struct CpuWeight final : PlacedWeight {
  struct Segment {
    const std::byte* data;  // [rows, cols] of dtype, any alignment
    int64_t rows;
  };

  std::vector<Segment> segments;
  DType dtype = DType::bf16;
  const LinearKernel* kernel = nullptr;  // null for vectors
  std::vector<std::byte> owned;          // what a conversion made; empty when everything lies in the sources
  std::vector<float> vector;             // WeightUse::vector
  int64_t owned_bytes = 0;               // of these two

  int64_t row_bytes() const { return cols * dtype_bytes(dtype); }
  int64_t read_bytes() const override { return kernel ? rows * row_bytes() : cols * 4; }
  // One stored row as f32.
  void read_row(int64_t row, float* out) const;
};

// Rows of outputs that one task computes, of a segment of so many: few enough that their weights stay in the
// second-level cache and that every thread gets some, many enough to be worth a task. A multiple of 32.
int64_t task_rows(const CpuWeight& weight, int64_t segment_rows, int num_threads);

// dry: nothing is read or made, only owned_bytes counted.
std::shared_ptr<const CpuWeight> place_weight(const Kernels& kernels, std::span<const WeightSource> sources,
                                              WeightUse use, Compute compute, bool dry);

}  // namespace qwill::cpu
