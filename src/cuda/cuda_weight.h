// Weights on the card, and how they get there.
#pragma once

#include <memory>
#include <span>

#include "base/thread_pool.h"
#include "cuda/device.h"
#include "cuda/kernels/fp8.h"
#include "cuda/kernels/gemm.h"
#include "cuda/kernels/rows.h"
#include "ops/ops.h"

namespace qwill::cuda {

struct CudaWeight final : PlacedWeight {
  // bf16: `gemm` is its place; fp8: `fp8`; int4: `int4`, of gemm's shape; f32: `values`, row-major
  Compute compute = Compute::f32;
  WeightUse use = WeightUse::matrix;
  GemmWeight gemm;
  Fp8Weight fp8;
  const void* int4 = nullptr;
  float* values = nullptr;
  int32_t num_segments = 1;

  int64_t read_bytes() const override;
  // Whether activations that meet it are bf16.
  bool takes_bf16() const { return meets_bf16(compute); }
  TableView table() const {
    return {compute == Compute::bf16 ? gemm.data : values, compute == Compute::bf16, gemm.layout,
            static_cast<int32_t>(cols)};
  }
};

// Brings stored weights to the card: several threads fill pinned slots while the card empties others and moves what has
// arrived to its place.
class Loader {
 public:
  // Weights of four bits come by way of `widened`, which grows to hold the largest as bf16.
  Loader(Device& device, Arena& arena, DeviceBuffer& widened);
  ~Loader();

  std::shared_ptr<const CudaWeight> place(std::span<const WeightSource> sources, WeightUse use, Compute compute);
  // Gives back what loading needed.
  void finish();

 private:
  struct Slot {
    explicit Slot(const MemoryPurpose& purpose) : pinned(purpose), staged(purpose) {}
    PinnedBuffer pinned;
    DeviceBuffer staged;
    cudaEvent_t copied = nullptr;  // pinned memory may be filled again
    cudaEvent_t placed = nullptr;  // and so may the card's
  };

  void start();
  // Calls place(device address, first row, rows) for stretches of the source's rows.
  template <typename F>
  void for_stretches(const WeightSource& source, const F& place);
  // Makes room for a matrix, which is `Matrix` to the kernels, by allocate(bytes), and brings its segments there.
  template <typename To, typename Matrix, typename Allocate>
  void place_segments(std::span<const WeightSource> sources, WeightUse use, int64_t atom_cols, Matrix& matrix,
                      const Allocate& allocate);
  void place_segment(const WeightSource& source, const Destination& to, int64_t first_row);
  void place_segment(const WeightSource& source, const Fp8Destination& to, int64_t first_row);
  void place_segment(const WeightSource& source, float* to);

  Device& device_;
  Arena& arena_;
  DeviceBuffer& widened_;
  std::unique_ptr<ThreadPool> pool_;
  std::vector<std::unique_ptr<Slot>> slots_;
  size_t next_slot_ = 0;
  cudaStream_t copies_ = nullptr;  // run while what arrived before is moved to its place
};

}  // namespace qwill::cuda
