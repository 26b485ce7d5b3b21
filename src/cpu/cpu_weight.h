// A weight on the CPU: segments of rows where they were mapped or as they were repacked, the kernels that multiply with
// them, and the tasks that one product is cut into.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "cpu/kernels.h"
#include "cpu/weight_memory.h"
#include "ops/ops.h"

namespace qwill::cpu {

struct CpuWeight final : PlacedWeight {
  struct Segment {
    const std::byte* data;  // rows of dtype or of blocks, any alignment, or panels
    int64_t rows;
    int64_t row_bytes;  // of panels: a 32nd of a panel
    DType dtype;
    BlockFormat blocks;
    std::optional<PanelFormat> panels;
    const LinearKernel* kernel;  // null where nothing is multiplied with it
  };

  std::vector<Segment> segments;
  WeightMemory owned;         // what was repacked; empty when everything lies in the sources
  std::vector<float> vector;  // WeightUse::vector
  int64_t owned_bytes = 0;    // of these two

  int64_t read_bytes() const override;
  // Its operands are those of all segments.
  const LinearKernel& kernel() const { return *segments[0].kernel; }
  // Bytes of scratch that a product needs.
  int64_t scratch_bytes() const;
  // One row as f32.
  void read_row(int64_t row, float* out) const;
};

// Rows of outputs that one task computes: few enough that their weights stay in the second-level cache and that every
// thread gets some, many enough to be worth a task. A multiple of 32.
int64_t task_rows(const CpuWeight::Segment& segment, int num_threads);

// dry: nothing is read or made, only owned_bytes counted.
std::shared_ptr<const CpuWeight> place_weight(const Kernels& kernels, ThreadPool& pool,
                                              std::span<const WeightSource> sources, WeightUse use, Compute compute,
                                              bool dry);

}  // namespace qwill::cpu
