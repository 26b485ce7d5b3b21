// What a step's kernels read of its batch, in device memory: one block that is copied in one go. Steps of the same
// shape find everything at the same addresses, so that a recorded step may be run again with other contents.
#pragma once

#include <array>
#include <compare>
#include <vector>

#include "cuda/device.h"
#include "cuda/kernels/attention.h"
#include "ops/batch.h"

namespace qwill::cuda {

// Upper bounds of a step: what is beyond the batch is padding (sequences of length 0, rows that store nothing).
struct StepShape {
  int64_t rows = 0;
  int64_t sequences = 0;
  int64_t pages = 0;  // columns of the page table
  int64_t logit_rows = 0;
  int64_t decodes = 0;  // sequences with one row, which attend_decode takes
  int64_t query_tiles = 0;
  int64_t max_context = 0;  // keys of the longest sequence
  auto operator<=>(const StepShape&) const = default;
};

struct StepInputs {
  StepShape shape;
  int32_t *tokens, *draw_source, *positions, *slots, *rope_kinds;  // [rows]
  int32_t *row_begin, *seq_lens, *page_table, *decodes, *logit_rows;
  QueryTile* query_tiles;
};

class StepUploader {
 public:
  explicit StepUploader(const MemoryPurpose& purpose)
      : slots_{Slot(purpose), Slot(purpose), Slot(purpose)}, device_(purpose) {}
  ~StepUploader();
  // `tiles`: the query tiles of the batch.
  StepInputs upload(const Batch& batch, const StepShape& shape, const std::vector<QueryTile>& tiles,
                    const Device& device);
  // Where a batch of that shape would lie; nothing is copied.
  StepInputs lay_out(const StepShape& shape);

 private:
  // One is filled while another may be on its way. That it has been copied is recorded when the step behind it begins:
  // an event between the copy and the kernel behind it would keep these from overlapping.
  static constexpr size_t kSlots = 3;
  struct Slot {
    explicit Slot(const MemoryPurpose& purpose) : pinned(purpose) {}
    PinnedBuffer pinned;
    cudaEvent_t copied = nullptr;
  };
  std::array<Slot, kSlots> slots_;
  size_t next_ = 0;
  DeviceBuffer device_;
};

}  // namespace qwill::cuda
