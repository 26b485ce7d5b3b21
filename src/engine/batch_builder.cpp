#include "engine/batch_builder.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace qwill {

void BatchBuilder::add(const Sequence& sequence, int64_t first, int64_t count, const Logits& logits,
                       int32_t draw_source) {
  if (batch_.row_begin.empty()) batch_.row_begin.push_back(0);
  const int64_t last = first + count;
  CHECK(last <= static_cast<int64_t>(sequence.pages.size()) * page_size_, "pages cover the rows");
  CHECK(draw_source == Batch::kFromHost || count == 1, "a draw gives one token");
  for (int64_t position = first; position < last; ++position) {
    if ((position >= logits.first && position < logits.first + logits.count) || (logits.last && position + 1 == last))
      batch_.logit_rows.push_back(static_cast<int32_t>(batch_.num_rows()));
    const bool known = draw_source == Batch::kFromHost;
    batch_.tokens.push_back(known ? sequence.tokens[static_cast<size_t>(position)] : 0);
    batch_.draw_source.push_back(draw_source);
    batch_.positions.push_back(static_cast<int32_t>(position));
    batch_.slots.push_back(static_cast<int32_t>(
        sequence.pages[static_cast<size_t>(position / page_size_)] * page_size_ + position % page_size_));
  }
  batch_.row_begin.push_back(static_cast<int32_t>(batch_.num_rows()));
  batch_.seq_lens.push_back(static_cast<int32_t>(last));
  batch_.rope.push_back(sequence.prefix.rope);
  batch_.cache_namespace.push_back(sequence.prefix.cache_namespace);
  batch_.adapter.push_back(0);
  const auto num_pages = static_cast<size_t>(pages_for(last, page_size_));
  pages_.push_back(std::span(sequence.pages).first(num_pages));
  batch_.max_pages = std::max(batch_.max_pages, static_cast<int64_t>(num_pages));
}

Batch BatchBuilder::take() {
  const auto max_pages = static_cast<size_t>(batch_.max_pages);
  batch_.page_table.assign(pages_.size() * max_pages, 0);
  for (size_t s = 0; s < pages_.size(); ++s)
    std::ranges::copy(pages_[s], batch_.page_table.begin() + static_cast<int64_t>(s * max_pages));
  pages_.clear();
  return std::exchange(batch_, {});
}

}  // namespace qwill
