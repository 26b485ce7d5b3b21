#include "engine/page_pool.h"

namespace qwill {

PagePool::PagePool(int64_t num_pages) {
  free_.reserve(static_cast<size_t>(num_pages));
  for (int64_t page = num_pages - 1; page >= 0; --page) free_.push_back(static_cast<int32_t>(page));
}

std::optional<int32_t> PagePool::take() {
  if (free_.empty()) return std::nullopt;
  const int32_t page = free_.back();
  free_.pop_back();
  return page;
}

}  // namespace qwill
