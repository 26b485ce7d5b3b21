#include "cuda/cuda_weight.h"

#include <algorithm>
#include <cstring>

#include "base/cpu_features.h"
#include "cuda/kernels/int4.h"

namespace qwill::cuda {
namespace {

constexpr int64_t kSlotBytes = int64_t{32} << 20;
constexpr int kSlots = 3;
constexpr int kMaxReaders = 8;
constexpr int64_t kReadBytes = int64_t{1} << 20;  // one reader's task

SourceType source_type(DType dtype) {
  return dtype == DType::f32 ? SourceType::f32 : dtype == DType::bf16 ? SourceType::bf16 : SourceType::f16;
}

int64_t blocks_of(int64_t rows) { return (rows + kAtomRows - 1) / kAtomRows; }

}  // namespace

Loader::Loader(const Device& device, Arena& arena, DeviceBuffer& widened)
    : device_(device), arena_(arena), widened_(widened) {}

Loader::~Loader() { finish(); }

void Loader::start() {
  if (!slots_.empty()) return;
  pool_ = std::make_unique<ThreadPool>(std::clamp(available_cpus(), 1, kMaxReaders));
  slots_.resize(kSlots);
  for (Slot& slot : slots_) {
    check(cudaHostAlloc(reinterpret_cast<void**>(&slot.pinned), kSlotBytes, cudaHostAllocDefault),
          "allocate pinned memory");
    check(cudaMalloc(reinterpret_cast<void**>(&slot.staged), kSlotBytes), "allocate memory for loading");
    check(cudaEventCreateWithFlags(&slot.free, cudaEventDisableTiming), "create an event");
  }
}

void Loader::finish() {
  if (slots_.empty()) return;
  cudaStreamSynchronize(device_.stream);
  for (Slot& slot : slots_) {
    if (slot.pinned) cudaFreeHost(slot.pinned);
    if (slot.staged) cudaFree(slot.staged);
    if (slot.free) cudaEventDestroy(slot.free);
  }
  slots_.clear();
  pool_.reset();
}

template <typename F>
void Loader::for_stretches(const WeightSource& source, const F& place) {
  start();
  const int64_t row_bytes = source.cols * dtype_bytes(source.dtype);
  if (row_bytes > kSlotBytes) fail_unsupported("a row of {} values is beyond what the loader takes", source.cols);
  const int64_t stretch = kSlotBytes / row_bytes;
  for (int64_t first = 0; first < source.rows; first += stretch) {
    const int64_t rows = std::min(stretch, source.rows - first), bytes = rows * row_bytes;
    Slot& slot = slots_[next_slot_++ % slots_.size()];
    check(cudaEventSynchronize(slot.free), "load weights");
    const char* from = static_cast<const char*>(source.data) + first * row_bytes;
    pool_->run((bytes + kReadBytes - 1) / kReadBytes, [&](int64_t task) {
      const int64_t begin = task * kReadBytes, size = std::min(kReadBytes, bytes - begin);
      std::memcpy(slot.pinned + begin, from + begin, static_cast<size_t>(size));
    });
    check(cudaMemcpyAsync(slot.staged, slot.pinned, static_cast<size_t>(bytes), cudaMemcpyHostToDevice, device_.stream),
          "load weights");
    place(slot.staged, first, rows);
    check(cudaEventRecord(slot.free, device_.stream), "load weights");
  }
}

void Loader::place_segment(const WeightSource& source, const Destination& to, int64_t first_row) {
  if (!source.data) {
    check(random_bf16(to, first_row, source.rows, source.cols, source.random.seed, source.random.centre,
                      source.random.spread, device_.stream),
          "make random weights");
    return;
  }
  for_stretches(source, [&](const char* staged, int64_t first, int64_t rows) {
    check(place_bf16(to, staged, source_type(source.dtype), first_row + first, rows, source.cols, device_.stream),
          "place weights");
  });
}

void Loader::place_segment(const WeightSource& source, float* to) {
  if (!source.data) {
    check(random_f32(to, source.rows * source.cols, source.random.seed, source.random.centre, source.random.spread,
                     device_.stream),
          "make random weights");
    return;
  }
  for_stretches(source, [&](const char* staged, int64_t first, int64_t rows) {
    check(widen(to + first * source.cols, staged, source_type(source.dtype), rows * source.cols, device_.stream),
          "place weights");
  });
}

std::shared_ptr<const CudaWeight> Loader::place(std::span<const WeightSource> sources, WeightUse use, Compute compute) {
  auto weight = std::make_shared<CudaWeight>();
  weight->cols = sources[0].cols;
  for (const WeightSource& source : sources) weight->rows += source.rows;
  weight->use = use;
  weight->compute = use == WeightUse::vector ? Compute::f32 : compute;
  if (use == WeightUse::vector && weight->cols > kMaxNormCols)
    fail_unsupported("a norm over {} values: the CUDA kernels take up to {}", weight->cols, kMaxNormCols);
  weight->num_segments = static_cast<int32_t>(sources.size());

  if (weight->compute == Compute::f32) {
    weight->values = static_cast<float*>(arena_.allocate(weight->rows * weight->cols * 4));
    float* to = weight->values;
    for (const WeightSource& source : sources) {
      place_segment(source, to);
      to += source.rows * source.cols;
    }
    return weight;
  }

  // Segments of one matrix follow each other row by row; each expert begins with a block of its own, and blocks of gate
  // and up alternate.
  GemmWeight& gemm = weight->gemm;
  const bool gated = use == WeightUse::gated, experts = use == WeightUse::experts;
  const int64_t segment_blocks = blocks_of(sources[0].rows);
  gemm.layout.col_blocks = (weight->cols + kAtomCols - 1) / kAtomCols;
  gemm.layout.row_blocks =
      gated || experts ? segment_blocks * static_cast<int64_t>(sources.size()) : blocks_of(weight->rows);
  gemm.rows = gated ? 2 * segment_blocks * kAtomRows : experts ? sources[0].rows : weight->rows;
  const bool int4 = compute == Compute::int4;
  void* data = int4 ? widened_.get<char>(gemm.layout.bytes()) : arena_.allocate(gemm.layout.bytes());
  check(cudaMemsetAsync(data, 0, static_cast<size_t>(gemm.layout.bytes()), device_.stream), "clear a weight");
  int64_t first_row = 0;
  for (int64_t i = 0; const WeightSource& source : sources) {
    if (gated) {
      place_segment(source, {data, gemm.layout, i / 2 * 2 * segment_blocks + i % 2, 2}, 0);
    } else if (experts) {
      place_segment(source, {data, gemm.layout, i * segment_blocks, 1}, 0);
    } else {
      place_segment(source, {data, gemm.layout, 0, 1}, first_row);
    }
    first_row += source.rows;
    ++i;
  }
  if (int4) {
    void* rounded = arena_.allocate(Int4Layout::of(gemm.layout).bytes());
    check(round_to_int4(rounded, data, gemm.layout, device_.stream), "round a weight to four bits");
    weight->int4 = rounded;
    return weight;
  }
  gemm.data = data;
  if (device_.hopper) check(make_weight_map(data, gemm.layout, gemm.map), "describe a weight to the copy engine");
  return weight;
}

}  // namespace qwill::cuda
