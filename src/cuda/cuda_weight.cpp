#include "cuda/cuda_weight.h"

#include <algorithm>
#include <cstring>

#include "base/cpu_features.h"
#include "cuda/kernels/int4.h"
#include "tensor/block_format.h"
#include "tensor/int4.h"

namespace qwill::cuda {
namespace {

// Slots as short as copies at full speed allow: pinned memory takes 10 ms for 32 MB.
constexpr int64_t kSlotBytes = int64_t{16} << 20;
constexpr size_t kSlots = 4;
// A thread copies 5 to 7 GB/s out of the page cache, and the bus takes 55: eight threads would bind it.
constexpr int kMaxReaders = 16;
constexpr int64_t kReadBytes = int64_t{512} << 10;  // one reader's task

// How a source's rows come to the card: as they are stored, blocks as what they stand for.
DType staged_dtype(const WeightSource& source) {
  return source.format == BlockFormat::none ? source.dtype : DType::f32;
}
SourceType staged_type(const WeightSource& source) {
  const DType dtype = staged_dtype(source);
  return dtype == DType::f32 ? SourceType::f32 : dtype == DType::bf16 ? SourceType::bf16 : SourceType::f16;
}

// Rows [first, first + count), to memory of the host.
void stage_rows(const WeightSource& source, int64_t first, int64_t count, char* to) {
  const auto* data = static_cast<const std::byte*>(source.data);
  const int64_t staged_bytes = source.cols * dtype_bytes(staged_dtype(source));
  if (source.format == BlockFormat::none) {
    std::memcpy(to, data + first * staged_bytes, static_cast<size_t>(count * staged_bytes));
    return;
  }
  const BlockShape shape = block_shape(source.format);
  const int64_t stored_bytes = source.cols / shape.cols * shape.bytes;
  for (int64_t r = 0; r < count; ++r)
    decode_blocks(source.format, data + (first + r) * stored_bytes, source.cols,
                  reinterpret_cast<float*>(to + r * staged_bytes));
}

int64_t blocks_of(int64_t rows) { return (rows + kAtomRows - 1) / kAtomRows; }

}  // namespace

Loader::Loader(Device& device, Arena& arena, DeviceBuffer& widened)
    : device_(device), arena_(arena), widened_(widened) {}

Loader::~Loader() { finish(); }

void Loader::start() {
  if (copies_) return;
  finish();  // where starting failed halfway before
  pool_ = std::make_unique<ThreadPool>(std::clamp(available_cpus(), 1, kMaxReaders));
  while (slots_.size() < kSlots) {
    Slot& slot = *slots_.emplace_back(std::make_unique<Slot>(MemoryPurpose{device_.memory, "loading"}));
    slot.pinned.get<char>(kSlotBytes);
    slot.staged.get<char>(kSlotBytes);
    for (cudaEvent_t* event : {&slot.copied, &slot.placed})
      check(cudaEventCreateWithFlags(event, cudaEventDisableTiming), "create an event");
  }
  check(cudaStreamCreateWithFlags(&copies_, cudaStreamNonBlocking), "create a stream");
}

void Loader::finish() {
  if (slots_.empty()) return;
  if (copies_) {
    cudaStreamSynchronize(copies_);
    cudaStreamDestroy(copies_);
    copies_ = nullptr;
  }
  cudaStreamSynchronize(device_.stream);
  for (const auto& slot : slots_)
    for (const cudaEvent_t event : {slot->copied, slot->placed})
      if (event) cudaEventDestroy(event);
  slots_.clear();
  pool_.reset();
}

template <typename F>
void Loader::for_stretches(const WeightSource& source, const F& place) {
  start();
  const int64_t row_bytes = source.cols * dtype_bytes(staged_dtype(source));
  if (row_bytes > kSlotBytes) fail_unsupported("a row of {} values is beyond what the loader takes", source.cols);
  const int64_t stretch = kSlotBytes / row_bytes, task_rows = std::max<int64_t>(kReadBytes / row_bytes, 1);
  for (int64_t first = 0; first < source.rows; first += stretch) {
    const int64_t rows = std::min(stretch, source.rows - first), bytes = rows * row_bytes;
    Slot& slot = *slots_[next_slot_++ % slots_.size()];
    char *pinned = slot.pinned.get<char>(kSlotBytes), *staged = slot.staged.get<char>(kSlotBytes);
    check(cudaEventSynchronize(slot.copied), "load weights");
    pool_->run((rows + task_rows - 1) / task_rows, [&](int64_t task) {
      const int64_t row = task * task_rows;
      stage_rows(source, first + row, std::min(task_rows, rows - row), pinned + row * row_bytes);
    });
    check(cudaStreamWaitEvent(copies_, slot.placed), "load weights");
    check(cudaMemcpyAsync(staged, pinned, static_cast<size_t>(bytes), cudaMemcpyHostToDevice, copies_), "load weights");
    check(cudaEventRecord(slot.copied, copies_), "load weights");
    check(cudaStreamWaitEvent(device_.stream, slot.copied), "load weights");
    place(staged, first, rows);
    check(cudaEventRecord(slot.placed, device_.stream), "load weights");
  }
}

void Loader::place_segment(const WeightSource& source, const Destination& to, int64_t first_row) {
  if (device_.dry()) return;
  if (!source.data) {
    check(random_bf16(to, first_row, source.rows, source.cols, source.random.seed, source.random.centre,
                      source.random.spread, device_.stream),
          "make random weights");
    return;
  }
  for_stretches(source, [&](const char* staged, int64_t first, int64_t rows) {
    check(place_bf16(to, staged, staged_type(source), first_row + first, rows, source.cols, device_.stream),
          "place weights");
  });
}

void Loader::place_segment(const WeightSource& source, const Fp8Destination& to, int64_t first_row) {
  if (device_.dry()) return;
  if (!source.data) {
    check(random_fp8(to, first_row, source.rows, source.cols, source.random.seed, source.random.centre,
                     source.random.spread, device_.stream),
          "make random weights");
    return;
  }
  for_stretches(source, [&](const char* staged, int64_t first, int64_t rows) {
    check(place_fp8(to, staged, staged_type(source), first_row + first, rows, source.cols, device_.stream),
          "place weights");
  });
}

void Loader::place_segment(const WeightSource& source, float* to) {
  if (device_.dry()) return;
  if (!source.data) {
    check(random_f32(to, source.rows * source.cols, source.random.seed, source.random.centre, source.random.spread,
                     device_.stream),
          "make random weights");
    return;
  }
  for_stretches(source, [&](const char* staged, int64_t first, int64_t rows) {
    check(widen(to + first * source.cols, staged, staged_type(source), rows * source.cols, device_.stream),
          "place weights");
  });
}

int64_t CudaWeight::read_bytes() const {
  switch (compute) {
    case Compute::f32: return rows * cols * 4;
    case Compute::bf16: return rows * cols * 2;
    case Compute::fp8:
    case Compute::int8: return rows * cols;
    case Compute::int4: return static_cast<int64_t>(static_cast<double>(rows * cols) * kInt4Bytes);
  }
  return 0;
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

  const auto in_arena = [&](int64_t bytes) { return arena_.allocate(bytes); };
  GemmWeight& gemm = weight->gemm;
  switch (weight->compute) {
    case Compute::f32: break;  // done
    case Compute::int8: fail_unsupported("weights in int8: only the CPU takes them so far");
    case Compute::bf16:
      place_segments<Destination>(sources, use, kAtomCols, gemm, in_arena);
      if (device_.hopper && !device_.dry())
        check(make_weight_map(gemm.data, gemm.layout, gemm.map), "describe a weight to the copy engine");
      break;
    case Compute::fp8: {
      Fp8Weight& fp8 = weight->fp8;
      place_segments<Fp8Destination>(sources, use, kFp8AtomCols, fp8, in_arena);
      if (!device_.dry())
        check(make_weight_map(fp8.data, {fp8.layout.row_blocks, fp8.layout.col_blocks}, fp8.map),
              "describe a weight to the copy engine");
      break;
    }
    case Compute::int4: {
      place_segments<Destination>(sources, use, kAtomCols, gemm,
                                  [&](int64_t bytes) -> void* { return widened_.get<char>(bytes); });
      void* rounded = arena_.allocate(Int4Layout::of(gemm.layout).bytes());
      if (!device_.dry())
        check(round_to_int4(rounded, gemm.data, gemm.layout, device_.stream), "round a weight to four bits");
      weight->int4 = rounded;
      gemm.data = nullptr;  // the next weight's
      break;
    }
  }
  return weight;
}

// Segments of one matrix follow each other row by row; each expert begins with a block of its own, and blocks of gate
// and up alternate.
template <typename To, typename Matrix, typename Allocate>
void Loader::place_segments(std::span<const WeightSource> sources, WeightUse use, int64_t atom_cols, Matrix& matrix,
                            const Allocate& allocate) {
  const bool gated = use == WeightUse::gated, experts = use == WeightUse::experts;
  const int64_t segment_blocks = blocks_of(sources[0].rows);
  int64_t rows = 0;
  for (const WeightSource& source : sources) rows += source.rows;
  matrix.layout.col_blocks = (sources[0].cols + atom_cols - 1) / atom_cols;
  matrix.layout.row_blocks = gated || experts ? segment_blocks * static_cast<int64_t>(sources.size()) : blocks_of(rows);
  matrix.rows = gated ? 2 * segment_blocks * kAtomRows : experts ? sources[0].rows : rows;

  const auto allocate_zeros = [&](int64_t bytes) {
    void* data = allocate(bytes);
    if (!device_.dry()) check(cudaMemsetAsync(data, 0, static_cast<size_t>(bytes), device_.stream), "clear a weight");
    return data;
  };
  To to;
  matrix.data = to.data = allocate_zeros(matrix.layout.bytes());
  to.layout = matrix.layout;
  if constexpr (requires { to.scales; }) {
    to.scales = static_cast<float*>(allocate_zeros(matrix.layout.rows() * 4));
    matrix.scales = to.scales;
  }
  int64_t first_row = 0;
  for (int64_t i = 0; const WeightSource& source : sources) {
    to.first_block = gated ? i / 2 * 2 * segment_blocks + i % 2 : experts ? i * segment_blocks : 0;
    to.block_stride = gated ? 2 : 1;
    place_segment(source, to, gated || experts ? 0 : first_row);
    first_row += source.rows;
    ++i;
  }
}

}  // namespace qwill::cuda
