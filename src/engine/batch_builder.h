// Flattens sequences to a Batch.
#pragma once

#include "engine/sequence.h"
#include "ops/batch.h"

namespace qwill {

class BatchBuilder {
 public:
  explicit BatchBuilder(int64_t page_size) : page_size_(page_size) {}

  enum class Logits : uint8_t { none, last, all };
  // Rows for positions num_cached … num_cached + count - 1 of the sequence, whose pages cover them.
  void add(const Sequence& sequence, int64_t count, Logits logits);
  Batch take();

 private:
  int64_t page_size_;
  Batch batch_;
  std::vector<std::vector<int32_t>> pages_;
};

}  // namespace qwill
