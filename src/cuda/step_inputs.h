// What a step's kernels read of its batch, in device memory: one block that is sent in one go, and what the card makes
// of it (begin_rows). Steps of the same shape find everything at the same addresses, so that a recorded step may be run
// again with other contents.
#pragma once

#include <compare>
#include <vector>

#include "cuda/kernels/attention.h"
#include "cuda/kernels/rows.h"
#include "cuda/sent_words.h"
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
  int32_t *tokens, *draw_source, *rope_kinds;  // [rows]
  int32_t *row_begin, *page_table, *decodes, *logit_rows;
  QueryTile* query_tiles;
  SentRows sent;                          // as of the last step that was sent; `steps` ago
  int32_t *positions, *slots, *seq_lens;  // of this step
};

class StepUploader {
 public:
  explicit StepUploader(const MemoryPurpose& purpose) : words_(purpose) {}
  // `tiles`: the query tiles of the batch. What begin_rows makes is left to the caller.
  StepInputs upload(const Batch& batch, const StepShape& shape, int64_t page_size, const std::vector<QueryTile>& tiles,
                    const Device& device);
  // Where a batch of that shape would lie; nothing is copied.
  StepInputs lay_out(const StepShape& shape);

 private:
  SentWords words_;
};

}  // namespace qwill::cuda
