// Flattens sequences to a Batch.
#pragma once

#include <span>
#include <vector>

#include "engine/sequence.h"
#include "ops/batch.h"

namespace qwill {

class BatchBuilder {
 public:
  explicit BatchBuilder(int64_t page_size) : page_size_(page_size) {}

  // Positions whose logits are wanted: `count` from `first` on, and that of the last row.
  struct Logits {
    bool last = false;
    int64_t first = 0, count = 0;
  };
  // Rows for positions first … first + count - 1 of a sequence whose pages cover them. Where draw_source is given,
  // there is one row, and its token is what that row of the last draw gave.
  void add(const Sequence& sequence, int64_t first, int64_t count, const Logits& logits,
           int32_t draw_source = Batch::kFromHost);
  // The pages that were added must still be there.
  Batch take();

 private:
  int64_t page_size_;
  Batch batch_;
  std::vector<std::span<const int32_t>> pages_;
};

}  // namespace qwill
