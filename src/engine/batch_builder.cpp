#include "engine/batch_builder.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace qwill {

void BatchBuilder::add(const Sequence& sequence, int64_t count, Logits logits) {
  if (batch_.row_begin.empty()) batch_.row_begin.push_back(0);
  const int64_t last = sequence.num_cached + count;
  CHECK(last <= static_cast<int64_t>(sequence.pages.size()) * page_size_, "pages cover the rows");
  for (int64_t position = sequence.num_cached; position < last; ++position) {
    if (logits == Logits::all || (logits == Logits::last && position + 1 == last))
      batch_.logit_rows.push_back(static_cast<int32_t>(batch_.num_rows()));
    batch_.tokens.push_back(sequence.token(position));
    batch_.draw_source.push_back(Batch::kFromHost);
    batch_.positions.push_back(static_cast<int32_t>(position));
    batch_.slots.push_back(static_cast<int32_t>(
        sequence.pages[static_cast<size_t>(position / page_size_)] * page_size_ + position % page_size_));
  }
  batch_.row_begin.push_back(static_cast<int32_t>(batch_.num_rows()));
  batch_.seq_lens.push_back(static_cast<int32_t>(last));
  batch_.rope.push_back(sequence.rope);
  batch_.cache_namespace.push_back(0);
  batch_.adapter.push_back(0);
  pages_.push_back(sequence.pages);
  batch_.max_pages = std::max(batch_.max_pages, static_cast<int64_t>(sequence.pages.size()));
}

Batch BatchBuilder::take() {
  for (std::vector<int32_t>& pages : pages_) {
    pages.resize(static_cast<size_t>(batch_.max_pages), 0);
    batch_.page_table.insert(batch_.page_table.end(), pages.begin(), pages.end());
  }
  pages_.clear();
  return std::exchange(batch_, {});
}

}  // namespace qwill
